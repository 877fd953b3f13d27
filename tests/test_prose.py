"""No measured number is typed into prose: what stands there is published, a setting, a definition or computed here."""

import re

import nbformat
import pytest
from scipy import stats

from dlt_core import CHECKOUT, Experiment, expected_independent
from dlt_core.learner.accounting import block_parameters
from dlt_core.studies.claim import MARGIN
from dlt_core.studies.diagnosis import independent_by_chance

PAPER = Experiment.preset("gpt2-wikitext2", "paper")
PAGES = [CHECKOUT / name for name in ("README.md", "figures/README.md", "notebooks/README.md", "dlt_core/README.md")]
WRITTEN = [*sorted((CHECKOUT / "notebooks").glob("*.ipynb")), *PAGES]
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+(?: ?%|(?!\w))| ?%)")

PUBLISHED = {
    "49.37": "test perplexity of the paper's GPT-2 on WikiText-2: Basis Sharing (arXiv 2410.03765), table 5",
    "86.68": "word-level LSTM on WikiText-2, PyTorch's examples",
    "2.4": "millions of GPT-2 tokens of WikiText-2's training text",
    "0.4 %": "words of WikiText-103 that were replaced: Merity et al. 2016",
    "2.6 %": "words of WikiText-2 that were replaced: Merity et al. 2016",
    "50 %": "how much faster BERT trained than conventional: the paper's reviews",
    **dict.fromkeys(("19.69", "20.24", "21.13", "23.84"), "fixed patterns, WikiText-103: quoted second-hand in 10"),
    "0.01": "the released code's floor of ε; 1 - γ",
    "1.0": "where the released code clips gradients",
}
EXAMPLES = {
    "0.02": "03: the true difference of experiments that are made up",
    "0.03": "14: a price for a weight set",
    "0.2": "02: a learning rate of the toy's agent",
    "0.5": "14: a discount other than the paper's",
    "2.05": "09: how to read a column",
    "0 %": "11: how to read a column",
}
CONVENTIONS = {"95 %": "the interval", "0.05": "below which p counts", "3.11": "the oldest Python"}
IN_TEST_README = {
    **dict.fromkeys(("7.6", "24.8", "49.7", "99.3", "11.3", "91.1", "1.3"), "passes over a text, from the records"),
    "10.0": "the largest count of independent layers by chance, computed",
    **dict.fromkeys(("10 %", "0.025"), "what a look costs, simulated"),
}


def computed():
    """Number as it is written -> whether it is right."""
    logits = 4 * PAPER.batch_size * PAPER.block_size * 50_257 / 1e9
    by_chance = independent_by_chance(48)
    return {
        "0.95": PAPER.epsilon_decay == 0.95,
        "0.1": PAPER.epsilon_min == 0.1,
        "0.99": PAPER.gamma == 0.99,
        "0.001": PAPER.q_learning_rate == 0.001,
        "3 %": MARGIN == 3,
        "1.96": f"{stats.norm.ppf(0.975):.2f}" == "1.96",
        "0.84": f"{stats.norm.ppf(0.8):.2f}" == "0.84",
        "4.3": f"{stats.t.ppf(0.975, 2):.1f}" == "4.3",
        "0.58": abs(expected_independent(10_000) - 9.2103 - 0.58) < 0.005,  # ln 10,000
        "4.46": f"{expected_independent(48):.2f}" == "4.46",
        "0.25": f"{by_chance[6:].sum():.2f}" == "0.25",
        "0.11": f"{by_chance[7:11].sum():.2f}" == "0.11",
        "0.8": f"{logits:.1f}" == "0.8",
        "5.9": f"{4 * 48 * block_parameters(1600) / 1e9:.1f}" == "5.9",
    }


def prose(path):
    """The words of a notebook or a page, without code, formulas, the addresses of links, and tables that are made."""
    if path in PAGES:
        made = r"<!-- (\S+): begin -->.*?<!-- \1: end -->|```.*?```|https?://\S+"
        text = re.sub(made, " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    else:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"\]\([^)]*\)|`[^`]*`|\$[^$]*\$|arXiv \S+", " ", text)


def numbers(text):
    return [re.sub(r"\s*%", " %", found) for found in NUMBER.findall(text)]


def test_the_scan_sees_what_is_typed():
    assert numbers("saves 12.5 or 30% or 2.5 % of 1,234.5 in 3 runs, 2.1e-3, v5.23.0") == [
        "12.5",
        "30 %",
        "2.5 %",
        "1,234.5",
    ]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_no_number_in_prose_was_measured(path):
    known = {**PUBLISHED, **EXAMPLES, **CONVENTIONS, **IN_TEST_README, **computed()}
    unknown = sorted(set(numbers(prose(path))) - known.keys())
    assert not unknown, "print what was measured by a cell, from a record"


def test_what_is_computed_is_right_and_what_is_known_is_said():
    assert all(computed().values()), computed()
    said = {number for path in WRITTEN for number in numbers(prose(path))}
    assert not ({**PUBLISHED, **EXAMPLES, **CONVENTIONS, **IN_TEST_README} | computed()).keys() - said
