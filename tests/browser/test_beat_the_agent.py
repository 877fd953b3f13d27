"""The game's page: it asks the kernel by click and by key, waits for the answer, and says where it has no kernel."""

import pytest

from dlt_core.experiments import Experiment
from dlt_core.widgets.beat_the_agent import BeatTheAgent, Game
from tests.browser.alone import alone


@pytest.fixture
def widget(tiny_data):
    tiny = Experiment.preset("gpt2-embedded", "smoke", device="cpu", n_layer=3, episodes=1, evaluation_tokens=256)
    return BeatTheAgent(Game(tiny, data=tiny_data), chance=2)


def answer(page, widget) -> None:
    """Let Python answer what the page asked, and give the page its new state."""
    widget.request = page.evaluate("window.state.request")
    page.evaluate(
        "state => Object.keys(state).forEach((name) => name === 'request' || window.model.set(name, state[name]))",
        widget.state(),
    )


def test_a_game_by_click_and_key_to_its_end(browser, widget):
    page = alone(browser, widget, "beat_the_agent", kernel=True)
    page.click("[data-action='1']")
    assert page.evaluate("window.state.request.action") == 1
    assert page.is_disabled("[data-action='0']"), "until there is an answer"
    answer(page, widget)
    assert page.get_attribute("#widget", "data-decision") == "1"
    assert "layer 2" in page.inner_text("[data-role=message]")
    assert page.evaluate("document.activeElement.dataset.action") == "0", (
        "who plays by keys need not look for the buttons"
    )
    points = page.get_attribute("[data-player=you]", "points").split()
    assert len(points) == len(widget.game.players["you"].losses) == 2
    page.keyboard.press("7")
    assert page.evaluate("window.state.request.number") == 1, "layer 2 has no action 7"
    page.keyboard.press("2")
    answer(page, widget)
    assert widget.game.over
    assert "you are number" in page.inner_text("[data-role=message]")
    page.click("[data-action=chance]")
    answer(page, widget)
    label = page.get_attribute("[data-role=chance]", "aria-label")
    assert f"yours {widget.game.players['you'].losses[-1]:.3f}" in label
    assert f"mean {widget.game.score()['chance_mean']:.3f}" in label
    page.click("[data-action=new]")
    answer(page, widget)
    assert page.get_attribute("#widget", "data-decision") == "0"
    assert "seed 1" in page.inner_text("#widget")


def test_without_a_kernel_it_says_so_and_asks_nothing(browser, widget):
    page = alone(browser, widget, "beat_the_agent")
    assert "needs a kernel" in page.inner_text("[data-role=message]")
    assert page.is_disabled("[data-action='0']")
    page.focus("#widget")
    page.keyboard.press("0")
    assert page.evaluate("Object.keys(window.state.request).length") == 0
