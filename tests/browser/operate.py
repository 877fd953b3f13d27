"""What a student does with each widget, and that the page then shows Python's own numbers. root: the widget's place."""

from dlt_core.tie_map import TieMap
from dlt_core.widgets import MemoryExplorer, TieMapEditor
from dlt_core.widgets.stepper import decisions, frames

PAPER = "paper, GPT-2: 48 x 1600"


def value(root, output: str) -> str:
    return root.locator(f'[data-output="{output}"]').get_attribute("data-value")


def layer(root, number: int):
    return root.locator(f'svg [data-layer="{number}"]')


def slide(root, control: str, to: int) -> None:
    slider = root.locator(f'[data-control="{control}"]')
    slider.evaluate("(el, to) => { el.value = to; el.dispatchEvent(new Event('input', {bubbles: true})); }", to)


def shows_map(root, sources, model: str, **how) -> None:
    """The list, the tiles and every number are those of this map."""
    expected = TieMapEditor(model, sources, **how)
    assert root.locator('[data-output="list"]').text_content() == str(list(sources))
    assert [int(tile.get_attribute("data-source")) for tile in root.locator("svg [data-layer]").all()] == list(sources)
    for name, number in expected.numbers().items():
        if root.locator(f'[data-output="{name}"]').count():
            assert int(value(root, name)) == number, name
    conventional = TieMapEditor(model, TieMap.independent(len(sources)), **how).numbers()
    assert int(value(root, "conventional-total")) == conventional["total"]


def tie_map_editor(root) -> list[int]:
    """Click three ties, drag one, undo one with the keyboard; returns the map that it is left with."""
    root.scroll_into_view_if_needed()
    shows_map(root, [0, 0, 2, 2, 2, 5], "laptop")
    for tied, to in ((5, 2), (1, 3), (4, 0)):
        layer(root, tied).click()
        assert layer(root, tied).get_attribute("aria-pressed") == "true"
        layer(root, to).click()
    shows_map(root, [0, 1, 1, 1, 0, 1], "laptop")
    layer(root, 3).drag_to(layer(root, 4))
    shows_map(root, [0, 1, 1, 0, 0, 1], "laptop")
    layer(root, 4).click()
    for key in ("ArrowLeft", "End", "Enter"):  # layer 4 to 5
        root.page.keyboard.press(key)
    shows_map(root, [0, 1, 1, 0, 1, 1], "laptop")
    root.page.keyboard.press("Enter")
    root.page.keyboard.press("Escape")
    root.page.keyboard.press("Enter")
    root.page.keyboard.press("Enter")  # the same layer twice: weights of its own
    shows_map(root, [0, 1, 1, 0, 1, 5], "laptop")
    slide(root, "batch", 3)
    root.locator('[data-control="checkpointing"]').check()
    shows_map(root, [0, 1, 1, 0, 1, 5], "laptop", batch_size=3, checkpointing=True)

    root.locator('[data-control="model"]').select_option(PAPER)
    root.locator('[data-control="groups"]').fill("7")
    root.locator('[data-control="pattern"]').select_option("cycle_rev")
    left = TieMap.pattern("cycle_rev", 48, 7)
    shows_map(root, list(left), "paper, GPT-2", checkpointing=True)
    return list(left)


def stepper(root, record) -> None:
    """Step, go to the next decision, scrub, play and pause; what a later line finds out is hidden until then."""
    root.scroll_into_view_if_needed()
    told, shown = decisions(record), frames(record)

    def press(name: str) -> None:
        root.locator(f'[data-control="{name}"]').click()

    def is_at(t: int, line: int) -> None:
        assert (int(root.get_attribute("data-decision")), int(root.get_attribute("data-line"))) == (t, line)
        lit = root.locator('li[aria-current="step"]')
        assert lit.count() == 1
        assert root.locator("li").all_text_contents().index(lit.text_content()) == line - 1
        now = told[t]
        for name, known_from in (("reward", 6), ("target", 7), ("error", 7), ("epsilon", 3), ("action", 3)):
            written = value(root, name)
            assert (written is None) == (line < known_from or now[name] is None), name
            assert written is None or float(written) == now[name], name
        if line >= 3:
            assert value(root, "explored") == str(now["explored"]).lower()
        if line >= 2:
            bars = [float(bar.get_attribute("data-q")) for bar in root.locator("[data-q]").all()]
            assert bars == now["q_values"]
        for name, since in (("before", 0), ("after", 4)):
            tiles = root.locator(f'[data-map="{name}"]').all()
            sources = [tile.get_attribute("data-source") for tile in tiles]
            assert sources == ([str(j) for j in now[name]] if line >= since else [None] * len(tiles)), name
        curve = root.locator("[data-points]")
        assert int(curve.get_attribute("data-points")) == t + (line >= 5)

    press("first")
    is_at(0, 1)
    for line in range(2, 8):
        press("step")
        is_at(0, line)
    press("back")
    is_at(0, 6)
    press("decision")
    is_at(1, 2)
    ended = shown.index([14, 9])
    slide(root, "position", ended)
    is_at(14, 9)
    root.locator('[data-control="position"]').press("ArrowLeft")
    is_at(14, 8)
    root.locator('[data-control="speed"]').select_option("fast")
    press("play")
    root.page.wait_for_function("root => Number(root.dataset.decision) > 14", arg=root.element_handle())
    press("play")
    stood = root.locator('[data-control="position"]').input_value()
    root.page.wait_for_timeout(400)
    assert root.locator('[data-control="position"]').input_value() == stood, "paused"
    is_at(*shown[int(stood)])
    slide(root, "position", len(shown) - 1)
    is_at(*shown[-1])


def memory_explorer(root) -> None:
    """Choose weight sets by mouse and keyboard, a batch, checkpointing, another model."""
    root.scroll_into_view_if_needed()

    def shows(model: str, groups: int, **how) -> None:
        expected = MemoryExplorer(model, groups, **how)
        numbers = expected.numbers()
        for name in ("parameters", "weights", "gradients", "optimizer", "activations", "state", "peak"):
            assert int(value(root, name)) == numbers[name], name
        verdict = root.locator('[data-output="verdict"]')
        assert int(verdict.get_attribute("data-state")) == expected.tenfold("state")
        assert int(verdict.get_attribute("data-peak")) == expected.tenfold("peak")
        heights = {
            bar.get_attribute("data-part"): float(bar.get_attribute("height"))
            for bar in root.locator(f'[data-groups="{groups}"] [data-part]').all()
        }
        for part in heights:
            share = heights[part] / heights["weights"]
            assert abs(share - numbers[part] / numbers["weights"]) < 1e-3 * share, part

    shows("paper, GPT-2", 6)
    root.locator('[data-groups="2"]').click()
    shows("paper, GPT-2", 2)
    root.page.keyboard.press("ArrowRight")
    shows("paper, GPT-2", 3)
    slide(root, "batch", 1)
    root.locator('[data-control="checkpointing"]').check()
    shows("paper, GPT-2", 3, batch_size=1, checkpointing=True)
    root.locator('[data-control="activations"]').uncheck()
    shows("paper, GPT-2", 3, batch_size=1, checkpointing=True)
    root.locator('[data-control="activations"]').check()
    root.locator('[data-control="model"]').select_option("paper, BERT: 12 x 768")
    shows("paper, BERT", 3, checkpointing=True)
