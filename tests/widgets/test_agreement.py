"""Agreement shows the committed looks: their cosines, the maps that the rule chose, and the means of both."""

import json

import numpy as np
import pytest

from dlt_core import CHECKOUT
from dlt_core.studies.rule import study
from dlt_core.tie_map import TieMap
from dlt_core.widgets.agreement import Agreement, looks_of, mean_cosines

MEASURED = json.loads((CHECKOUT / "figures" / "looks.json").read_text(encoding="utf-8"))


def test_the_means_are_over_pairs_of_different_layers():
    cosines = [[1.0, 0.1, 0.2], [0.1, 1.0, 0.6], [0.2, 0.6, 1.0]]
    assert mean_cosines(cosines, TieMap([0, 1, 1])) == pytest.approx({"within": 0.6, "across": 0.15})
    assert mean_cosines(cosines, TieMap.all_tied(3)) == {"within": pytest.approx(0.3), "across": None}
    assert mean_cosines(cosines, TieMap.independent(3)) == {"within": None, "across": pytest.approx(0.3)}


def test_every_committed_look_with_cosines_is_shown_as_it_was_measured():
    shown = looks_of(MEASURED)
    few = [name for name, (_, changed) in study.MODELS.items() if changed.get("n_layer", 0) <= study.MANY]
    assert list(shown) == few, "48 layers are too many for a picture"
    for name, looks in shown.items():
        rows = {row["warm_up"]: row for row in MEASURED[f"maps: {name}"]["rows"] if "cosines" in row}
        assert [look["warm_up"] for look in looks] == list(study.WARM_UPS)
        for look in looks:
            row = rows[look["warm_up"]]
            assert look["cosines"] == row["cosines"]
            assert {sets: choice["map"] for sets, choice in look["choices"].items()} == row["maps"]


def test_once_trained_the_chosen_map_ties_the_layers_that_agree():
    """What the widget is there to show, and notebook 15 says of it."""
    for looks in looks_of(MEASURED).values():
        for look in looks:
            if look["warm_up"] >= study.LATE:
                for choice in look["choices"].values():
                    assert choice["within"] > choice["across"]
    six = looks_of(MEASURED)["GPT-2, 6 layers, width 64, embedded"]
    alone = [np.argmin(np.array(look["cosines"]).sum(0)) for look in six if look["warm_up"] >= study.LATE]
    assert set(alone) == {0}, "layer 0 agrees least with the others"


def test_the_state_is_json_and_begins_where_it_is_told():
    widget = Agreement(MEASURED, "BERT", warm_up=300, sets=3)
    state = json.loads(json.dumps(widget.state(), allow_nan=False))
    assert (state["model"][:4], state["warm_up"], state["sets"]) == ("BERT", 300, 3)
    for wrong, words in (({"model": "T5"}, "there are: GPT-2"), ({"warm_up": 7}, "there are: 0, 10, 30"),
                         ({"sets": 9}, "there are: 2, 3")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Agreement(MEASURED, **wrong)
    with pytest.raises(ValueError, match="python -m dlt_core looks"):
        Agreement({"truth": MEASURED["truth"]})
