"""Drawings say what they mean, in colours for every page; nothing overlaps or is cut off, and each has a text."""

import io
import itertools

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from dlt_core import figures
from dlt_core.figures import drawings

DRAWINGS = [
    "agent_and_model",
    "gradients_add_up",
    "one_storage",
    "stack_and_sets",
    "tie_of_two_layers",
    "two_gradients",
]


def words(drawing) -> list[str]:
    return [text.get_text() for text in drawing.axes[0].texts]


@pytest.mark.parametrize("name", DRAWINGS)
def test_words_can_be_read_and_are_within_the_drawing(name):
    drawing = getattr(figures, name)()
    assert len(drawing.alt) > 100
    assert repr(drawing) == drawing.alt
    texts = drawing.axes[0].texts
    boxes = [text.get_window_extent() for text in texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    inside = drawing.bbox.padded(-4)
    assert all(inside.contains(*corner) for box in boxes for corner in (box.min, box.max))
    assert min(text.get_fontsize() for text in texts) >= 9.5
    assert {text.get_color() for text in texts} <= {*figures.COLOURS, "black", "white"}
    filled = [patch.get_bbox() for patch in drawing.axes[0].patches if isinstance(patch, FancyBboxPatch)
              and patch.get_facecolor()[3] == 1]  # fmt: skip
    for text in texts:  # black and white only on a colour of their own
        if text.get_color() in ("black", "white"):
            assert any(box.contains(*text.get_position()) for box in filled)


def test_a_drawing_is_shown_twice_as_fine_with_its_text_and_saved_as_vectors(tmp_path):
    drawing = figures.tie_of_two_layers()
    data, metadata = DisplayFormatter().format(drawing)
    assert data["text/plain"] == drawing.alt
    assert metadata["image/png"] == {"width": drawings.WIDTH, "alt": drawing.alt}
    image = Image.open(io.BytesIO(data["image/png"]))
    assert image.width == 2 * drawings.WIDTH
    assert np.asarray(image.convert("RGBA"))[[0, -1], :, 3].max() == 0, "there is a background"
    saved = figures.save(drawing, tmp_path / "new.svg").read_text(encoding="utf-8")
    assert f"<title>{drawing.alt}</title>" in saved
    assert "<image" not in saved


def test_the_stacks_have_six_layers_each_and_as_many_books_as_weight_sets():
    boxes = [patch for patch in figures.stack_and_sets().axes[0].patches if isinstance(patch, FancyBboxPatch)]
    colour = [to_hex(figures.weight_set_colours(6)(j)) for j in range(6)]
    for left, sources in ((True, [0, 1, 2, 3, 4, 5]), (False, [0, 0, 2, 2, 2, 5])):
        side = [patch for patch in boxes if (patch.get_x() < drawings.WIDTH / 2) == left]
        layers = [to_hex(patch.get_edgecolor()) for patch in side if patch.get_facecolor()[3] == 0]
        books = [to_hex(patch.get_facecolor()) for patch in side if patch.get_facecolor()[3] == 1]
        assert layers == [colour[j] for j in sources]
        assert books == [colour[j] for j in sorted({*sources})]


def test_the_loop_has_each_line_of_algorithm_1_once():
    bold = [text.get_text() for text in figures.agent_and_model().axes[0].texts if text.get_weight() == "bold"]
    assert sorted(bold) == [*"123456789", "agent", "model"]


def test_of_two_gradients_the_sum_is_long_or_short():
    patches = [patch for patch in figures.two_gradients().axes[0].patches if isinstance(patch, FancyArrowPatch)]
    found = [np.subtract(*patch._posA_posB[::-1]) for patch in patches]
    for first, second, total in (found[:3], found[3:]):
        assert np.allclose(first + second, total)
    lengths = [np.linalg.norm(arrow) for arrow in found]
    assert lengths[2] > 1.7 * max(lengths[:2])
    assert lengths[5] < 0.6 * min(lengths[3:5])


def test_the_storage_stays_shared_when_the_state_says_independent():
    said = words(figures.one_storage())
    assert [word for word in said if word.startswith("state")] == ["state (0, 1)", "state (0, 0)", "state (0, 1)"]
    assert [word[:12] for word in said if "in memory" in word] == ["2 weight set", "1 weight set", "1 weight set"]
