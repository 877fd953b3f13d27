"""Compare runs on a plain page: what is chosen is shown, with Python's own numbers."""

import pytest

from dlt_core.widgets.compare_runs import CompareRuns, by_method
from tests.browser.alone import alone
from tests.widgets.test_compare_runs import run


@pytest.fixture
def widget():
    seeds = range(4)
    records = [run("dynamic", seed, 2.0 + 0.01 * seed) for seed in seeds]
    records += [run("random", seed, 2.1 + 0.02 * seed) for seed in seeds]
    return CompareRuns(by_method([*records, run("conventional", 9, 1.9)]))


def test_the_verdict_is_pythons(browser, widget):
    page = alone(browser, widget, "compare_runs")
    found = widget.runs["differences"]["dynamic minus random"]
    words = page.inner_text("[data-role=verdict]").replace("−", "-")
    assert f"{found['mean']:+.4f} ± {found['half']:.4f}, {found['verdict']} (4 pairs)" in words
    dots = page.eval_on_selector_all("[data-seed]", "els => els.map((e) => Number(e.dataset.value))")
    assert dots == pytest.approx(found["values"])


def test_others_can_be_chosen_and_without_pairs_it_says_so(browser, widget):
    page = alone(browser, widget, "compare_runs")
    page.select_option("[data-choice=second]", "conventional")
    assert page.evaluate("window.state.second") == "conventional"
    assert "no seed in common" in page.inner_text("[data-role=verdict]")
    assert page.locator("[data-seed]").count() == 0
    assert page.locator("[data-curve]").count() == 2
    page.select_option("[data-choice=measure]", "perplexity")
    assert page.locator("text=Validation perplexity, wikitext-2").count() == 1
    page.select_option("[data-choice=second]", "dynamic")
    assert "another one" in page.inner_text("[data-role=verdict]")
