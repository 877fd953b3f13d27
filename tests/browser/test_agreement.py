"""Agreement on a plain page: each look with its cosines and its map, by slider, click and key."""

import json

from dlt_core import CHECKOUT
from dlt_core.widgets.agreement import Agreement
from tests.browser.alone import alone


def test_look_model_and_number_of_sets_can_be_chosen(browser, picture):
    widget = Agreement(json.loads((CHECKOUT / "figures" / "looks.json").read_text(encoding="utf-8")))
    page = alone(browser, widget, "agreement")

    def shows(model: str, warm_up: int, sets: int) -> None:
        assert page.evaluate("[state.model, state.warm_up, state.sets]") == [model, warm_up, sets]
        (look,) = (look for look in widget.models[model] if look["warm_up"] == warm_up)
        found = page.eval_on_selector_all("[data-cosine]", "els => els.map((e) => Number(e.dataset.cosine))")
        assert found == [cosine for row in look["cosines"] for cosine in row]
        maps = page.eval_on_selector_all("[data-map]", "els => els.map((e) => e.dataset.map)")
        of = [look["choices"][str(sets)] for look in widget.models[model]]
        assert maps == [",".join(map(str, choice["map"])) for choice in of]
        assert page.locator("[aria-pressed=true]").get_attribute("data-look") == str(warm_up)
        choice = look["choices"][str(sets)]
        words = page.inner_text("[data-role=verdict]").replace("−", "-")
        assert f"choose {choice['map']}" in words
        assert f"would share: {choice['within']:+.2f}; of two that would not: {choice['across']:+.2f}" in words

    six, *_, bert = widget.models
    shows(six, 0, 2)
    page.focus("[data-choice=warm_up]")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    shows(six, 60, 2)
    picture(page, "agreement-six")
    page.select_option("[data-choice=sets]", "3")
    shows(six, 60, 3)
    page.locator("[data-look='300']").click()
    shows(six, 300, 3)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    shows(six, 150, 3)
    page.select_option("[data-choice=model]", bert)
    shows(bert, 150, 3)
    page.evaluate("model.set('warm_up', 10)")
    shows(bert, 10, 3)
    page.close()
