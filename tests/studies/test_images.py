"""The study of images: its folder of images, its runs in the Trainer, its file and its table."""

import json

import numpy as np
import pytest
from PIL import Image

from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.studies import images
from dlt_core.tie_map import TieMap

SIDE = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Dark and light images, of another size than the model's."""
    root = tmp_path_factory.mktemp("images")
    for split, number in (("train", 6), ("test", 2)):
        for label, grey in (("dark", 20), ("light", 230)):
            (root / split / label).mkdir(parents=True)
            for i in range(number):
                Image.fromarray(np.full((SIDE, SIDE), grey + i, np.uint8)).save(root / split / label / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def data(folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        return images.load_images(folder)


def test_a_folder_of_images(data, folder):
    assert data["labels"] == ["dark", "light"]
    assert data["source"] == f"the images of the folder {folder.name} (12 train, 4 test)"
    first, last = data["test"][0], data["test"][3]
    assert first["pixel_values"].shape == (3, images.IMAGE, images.IMAGE)
    assert (first["labels"], last["labels"]) == (0, 1)
    assert first["pixel_values"].unique().tolist() == pytest.approx([20 / 127.5 - 1])
    assert last["pixel_values"].unique().tolist() == pytest.approx([231 / 127.5 - 1])


def test_a_folder_without_test_images_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"test is no folder: put the test images there, a folder a label"):
        images.load_images(tmp_path)


def test_without_folder_and_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(CorpusUnavailable, match=r"CIFAR-10 is not here: .*--data FOLDER"):
        images.load_images()


@pytest.fixture(scope="module")
def measured(data, tmp_path_factory):
    """Two steps of each method, two of them on one seed and all of the third begun with."""
    out = tmp_path_factory.mktemp("out") / "images.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "WIDTH", 8)
        patch.setattr(images, "PATCH", 16)
        patch.setattr(images, "BATCH", 4)
        patch.setattr(images, "STEPS_PER_ACTION", 1)
        said = []
        images.measure(data, out, seeds=[3], steps=2, methods=["conventional"], say=said.append)
        first = json.loads(out.read_text())["rows"][0]
        found = images.measure(data, out, seeds=[3], steps=2, say=said.append)
        assert found["rows"][0] == first, "what is there is not made again"
        assert [line.partition(",")[0] for line in said] == list(images.METHODS)
        with pytest.raises(ValueError, match=r"images.json is of the images of .* and 2 steps: name another file"):
            images.measure(data, out, steps=3)
    return found


def test_a_row_for_each_run(measured):
    rows = {row["method"]: row for row in measured["rows"]}
    sets = {method: TieMap(row["tie_map"]).num_independent for method, row in rows.items()}
    assert (sets["conventional"], sets["shallow-2"], sets["sandwich-2"]) == (6, 2, 2)
    assert rows["shallow-2"]["parameters"] == rows["sandwich-2"]["parameters"] < rows["conventional"]["parameters"]
    for method in ("dynamic", "random"):
        after_two = [[i, j] for i in (0, 1) for j in range(3)]
        assert rows[method]["tie_map"][1:3] in after_two, "two decisions, of layers 1 and 2"
        assert rows[method]["tie_map"][3:] == [0, 0, 0]
    assert all(0 <= row["accuracy"] <= 1 for row in rows.values())


def test_the_table(measured):
    table = images.images_markdown(measured)
    conventional = next(row for row in measured["rows"] if row["method"] == "conventional")
    assert f"| `conventional` | 1 | {100 * conventional['accuracy']:.1f} |" in table
    assert "what the agent adds | `dynamic` minus `random`" in table
    assert "(12 train, 4 test); 2 steps with 64 images each. By the gate this *cannot tell*" in table
    assert table.count(": cannot tell |") == 2, "one seed shows nothing"


def test_more_accuracy_is_better():
    rows = [
        {"method": method, "seed": seed, "accuracy": base + 0.01 * seed, "parameters": 10, "tie_map": [0, 1]}
        for method, base in zip(images.METHODS, (0.5, 0.4, 0.3, 0.2, 0.35), strict=True)
        for seed in range(3)
    ]
    table = images.images_markdown({"rows": rows, "source": "x", "steps": 1})
    assert "cannot tell" not in table
    lines = table.splitlines()
    verdicts = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in lines if " minus " in line}
    assert verdicts == {
        "what four more layers are worth": "+10.0 ± 0.0: better",
        "what ties moved by chance cost": "-30.0 ± 0.0: worse",
        "what sharing costs": "-20.0 ± 0.0: worse",
        "what the agent adds": "+15.0 ± 0.0: better",
    }


def test_an_unknown_method(data):
    with pytest.raises(ValueError, match="unknown method 'shallow-3'; known: conventional"):
        images.train("shallow-3", 0, data, steps=1)
