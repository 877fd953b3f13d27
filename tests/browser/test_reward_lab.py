"""The reward lab on a plain page: it computes, obeys mouse and keys, and shows what it computed."""

import pytest

from dlt_core.tie_map import all_maps
from dlt_core.widgets.reward_lab import RewardLab
from tests.browser.alone import alone


@pytest.fixture
def page(browser):
    losses = {m: 5.0 + 0.2 * (4 - m.num_independent) / 3 for m in all_maps(4)}
    return alone(browser, RewardLab(losses, seeds=3, decisions=900), "reward_lab")


def computed(page) -> dict:
    page.wait_for_function("window.state.summary.settings && !document.querySelector('#widget').dataset.busy")
    return page.evaluate("window.state.summary")


def settled(page, name: str, value) -> dict:
    """The summary once it is that of this setting."""
    page.wait_for_function(
        "([name, value]) => window.state.summary.settings && window.state.summary.settings[name] === value",
        arg=[name, value],
    )
    return computed(page)


def test_it_computes_by_itself_and_shows_each_map_once(page):
    summary = computed(page)
    words = page.inner_text("[data-role=verdict]")
    assert f"{abs(summary['difference']):.4f} ± {summary['half']:.4f}" in words
    assert page.locator("[role=option]").count() == 15
    shares = [float(row.get_attribute("data-share")) for row in page.locator("[role=option]").all()]
    assert sum(shares) == pytest.approx(1)
    most = ",".join(map(str, summary["most_visited"]))
    assert (
        float(page.get_attribute(f"[data-map='{most}']", "data-share"))
        == pytest.approx(summary["share"])
        == max(shares)
    )


def test_a_button_changes_the_reward_and_a_menu_the_table(page):
    before = computed(page)
    page.click("[data-preset=log_improvement]")
    assert settled(page, "reward", "log_improvement")["difference"] != before["difference"]
    page.select_option("[data-setting=table]", "turned")
    after = settled(page, "table", "turned")
    assert after["settings"]["reward"] == "log_improvement"


def test_keys_move_sliders_and_the_chosen_state(page):
    computed(page)
    page.focus("[data-setting=gamma]")
    page.keyboard.press("ArrowLeft")
    assert settled(page, "gamma", 0.98)["settings"]["gamma"] == 0.98
    values = "els => els.map((e) => e.dataset.value).join()"
    before = page.eval_on_selector_all("[data-kind=believed]", values)
    page.focus("[role=option][aria-selected=true]")
    page.keyboard.press("ArrowUp")
    chosen = page.get_attribute("[role=option][aria-selected=true]", "data-map")
    assert chosen != "0,0,0,0"
    assert page.eval_on_selector_all("[data-kind=believed]", values) != before
    assert page.evaluate("document.activeElement.dataset.map") == chosen


@pytest.mark.parametrize("width", [1400, 900])
def test_nothing_sticks_out(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    computed(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
