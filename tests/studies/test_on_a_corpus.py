"""What notebooks 04 to 08 share: what it says must be in the runs, and what it checks must be able to fail."""

import pytest

from dlt_core.experiments import Experiment
from dlt_core.figures import Figure
from dlt_core.studies import on_a_corpus
from tests.studies.conftest import made_up, table_cells


@pytest.fixture
def three(tiny_data):
    """Dynamic, random, conventional, as `compare` gives them."""
    runs = [made_up(method, 0, bits) for method, bits in (("dynamic", 2.1), ("random", 2.2), ("conventional", 2.0))]
    for run in runs:
        run.timing = {"training": 10.0, "control": 0.5}
        run.test["selected_by"] = "validation"
        run.corpus["sha256"] = tiny_data.corpus.sha256
        run.budget["tokens"] = on_a_corpus.tokens_of(experiment_of(run))
        run.curves = {
            "train": {"step": [10, 20, 30], "loss": [6.0, 5.0, 4.0]},
            "validation": {"step": [15, 30], "loss": [5.0, 4.5], "perplexity": [148.0, 90.0],
                           "bits_per_byte": [2.5, 2.3]},
        }  # fmt: skip
    dynamic = runs[0]
    dynamic.history = {
        "layer": [1, 2, 3], "action": [1, 0, 3], "explored": [False] * 3, "reward": [-90.0, -80.0, -70.0],
        "q_values": [[0.1, 0.2], [0.3, 0.1, 0.1], [1.5, 0.0, 0.0, 0.0]], "td_loss": [1.0, 2.0, 3.0],
        "tie_map": [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0]],
        "num_independent": [2, 1, 2],
    }  # fmt: skip
    return runs


def experiment_of(run):
    return Experiment.preset(run.experiment["name"], "laptop")


def test_the_closing_says_what_the_runs_say(three, tiny_data):
    text = on_a_corpus.closing(three, tiny_data, "More.", "")
    first, at_random, q, more, last = text.splitlines()
    assert first.startswith("- In this one run dynamic tying is not better than conventional training: dynamic 105.0, ")
    assert "conventional 100.0 per token of a 4,096-piece BPE (2.100 and 2.000 bits per byte), with 21% of" in first
    assert "dynamic 105.0, random 110.0" in at_random
    assert "above 1.50, no |reward| below 70" in q
    assert more == "- More."
    assert on_a_corpus.about(tiny_data) in last
    assert "*cannot tell*" in last
    assert "only shows" not in last
    three[0].history["q_values"][0] = [50.0, 0.0]
    assert "Q never" not in on_a_corpus.closing(three, tiny_data)
    three[0].experiment["preset"] = "smoke"
    assert on_a_corpus.closing(three, tiny_data).endswith("only shows that everything works.")


def test_the_checks_pass_and_each_can_fail(three, tiny_data):
    experiment = experiment_of(three[0])
    assert on_a_corpus.checked(three, experiment, tiny_data).startswith("1 ties, 2 unties, 3 Q updates")
    for break_it in (
        lambda: three[1].budget.update(tokens=1),
        lambda: three[1].corpus.update(sha256="other"),
        lambda: three[0].history.update(td_loss=[0.0]),
        lambda: three[0].history.update(tie_map=[[0] * 6]),
    ):
        saved = [dict(d) for d in (three[1].budget, three[1].corpus, three[0].history)]
        break_it()
        with pytest.raises(AssertionError):
            on_a_corpus.checked(three, experiment, tiny_data)
        three[1].budget, three[1].corpus, three[0].history = saved


def test_the_recorded_seeds_come_in_pairs_with_what_is_still_allowed(tmp_path):
    assert "No runs" in on_a_corpus.several_seeds("gpt2-wikitext2", tmp_path)
    for method, bits in (("dynamic", 2.1), ("random", 2.2), ("conventional", 2.0)):
        for seed in (0, 1):
            made_up(method, seed, bits + 0.02 * seed).save(tmp_path)
    made_up("dynamic", 0, 9.0, gamma=0.5).save(tmp_path)  # another setting, which does not count
    text = on_a_corpus.several_seeds("gpt2-wikitext2", tmp_path)
    conventional, at_random = table_cells(text)[1:]
    assert conventional[:2] == ["conventional", "2"]
    assert conventional[2].startswith("+0.100 ± 0.000: cannot tell (perplexity +")
    assert at_random[2].startswith("-0.100 ± 0.000: cannot tell (perplexity -")
    assert "what depth is worth is not measured (no model of fewer layers was trained like these)" in text
    for seed in (0, 1):
        shallow = made_up("shallow-2", seed, 2.1 + 0.02 * seed)
        shallow.tie_map = [0, 1]
        shallow.save(tmp_path)
    text = on_a_corpus.several_seeds("gpt2-wikitext2", tmp_path)
    assert ": worse (perplexity +" in text, "now it can tell"
    assert "annot tell" not in text


def test_passes_are_tokens_over_words():
    smoke, laptop = (Experiment.preset("gpt2-wikitext2", preset) for preset in ("smoke", "laptop"))
    first, second = table_cells(
        on_a_corpus.passes([smoke, laptop], {"one": on_a_corpus.tokens_of(smoke) / 4, "two": 1e6})
    )[1:]
    assert first[:3] == ["smoke", f"{on_a_corpus.tokens_of(smoke):,}", "4"]
    assert second[3] == f"{on_a_corpus.tokens_of(laptop) / 1e6:.3g}"


def test_tables_of_gaps_and_times(three):
    assert table_cells(on_a_corpus.gaps({"one": three[0]}))[1][:4] == ["one", "5.00", "4.50", "-0.50"]
    three[1].timing = {"training": 9.0, "control": 0.0}
    times = on_a_corpus.step_times(three)
    assert table_cells(times)[2] == ["random", "300.0", "0.00", "-14%"]
    assert "dynamic and random, which do nearly the same work, differ by **14%**" in times
    assert "A step of the dynamic run, control included, took 0% less time than one of the conventional run." in times
    assert "5.0% of the time of the training" in times
    assert "took 5.0% of the time" in on_a_corpus.results(three)


def test_pictures_are_drawn_and_saved(three, tmp_path):
    experiment = experiment_of(three[0])
    three[1].history = three[0].history
    drawn = on_a_corpus.pictures(three)
    assert all(isinstance(figure, Figure) for figure in drawn.values())
    on_a_corpus.save({"curves": drawn["curves"]}, experiment, None)
    on_a_corpus.save({"curves": drawn["curves"]}, experiment, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fig_gpt2-wikitext2_curves.png"]


def test_decisions_on_other_texts_are_compared_with_untaught_networks(three, tmp_path):
    assert "No runs" in on_a_corpus.decisions_on_other_texts(tmp_path)
    for name, action in (("gpt2-lambada", 3), ("gpt2-lm1b", 0)):
        run = made_up(name=name)
        run.agent = {"class": "QAgent", "hidden": 8, "seed": 0}
        run.history = three[0].history | {"action": [1, 0, action], "explored": [True, False, False]}
        run.save(tmp_path)
    text = on_a_corpus.decisions_on_other_texts(tmp_path)
    assert text.startswith("**50% are the same**, of 2 decisions")
    assert "learned anything, 100% would be" in text


@pytest.mark.parametrize(
    ("limit", "in_full", "words"),
    [
        (64, True, "the first 64 tokens of validation and all of test"),
        (64, False, "the first 64 tokens of validation and test"),
        (None, False, "all tokens of validation and test"),
    ],
)
def test_the_setting_says_what_is_evaluated(tiny_data, limit, in_full, words):
    experiment = Experiment.preset("gpt2-embedded", "smoke", evaluation_tokens=limit, test_in_full=in_full)
    assert f"Evaluated on {words}." in on_a_corpus.setting(experiment, tiny_data)
