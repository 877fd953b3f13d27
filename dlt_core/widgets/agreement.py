"""Whose gradients agree while all layers are tied, beside the map that the rule would choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import traitlets

from dlt_core.tie_map import TieMap
from dlt_core.widgets.base import Widget, module

PREFIX = "maps: "  # of the parts of figures/looks.json that are models


def mean_cosines(cosines: Sequence[Sequence[float]], tie_map: TieMap) -> dict[str, float | None]:
    """Mean cosine of two different layers "within" one weight set, and "across" two; None where there are no such
    pairs. cosines: shape (L, L)."""
    roots = list(tie_map)
    pairs = [(i, j) for j in range(len(roots)) for i in range(j)]
    within = [cosines[i][j] for i, j in pairs if roots[i] == roots[j]]
    across = [cosines[i][j] for i, j in pairs if roots[i] != roots[j]]
    return {"within": fmean(within) if within else None, "across": fmean(across) if across else None}


def looks_of(measured: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Model -> its looks in the order of training, each with "warm_up" (optimiser steps with all layers tied),
    "cosines" (L, L) and "choices": number of weight sets -> the chosen "map" with its `mean_cosines`.

    measured: figures/looks.json, in which the looks of the first seed have cosines. Raises ValueError for none.
    """
    models: dict[str, list[dict[str, Any]]] = {}
    for part, found in measured.items():
        if not part.startswith(PREFIX):
            continue
        for row in sorted((r for r in found["rows"] if "cosines" in r), key=lambda r: r["warm_up"]):
            choices = {
                sets: {"map": list(chosen), **mean_cosines(row["cosines"], TieMap(chosen))}
                for sets, chosen in row["maps"].items()
            }
            look = {"warm_up": row["warm_up"], "seed": row["seed"], "cosines": row["cosines"], "choices": choices}
            models.setdefault(part.removeprefix(PREFIX), []).append(look)
    if not models:
        raise ValueError("no look with cosines: measure them with python -m dlt_core looks")
    return models


class Agreement(Widget):
    """Move through the training and see which layers' gradients agree, and which map the rule makes of it.

        Agreement(json.loads((CHECKOUT / "figures" / "looks.json").read_text()))

    measured: see `looks_of`. model: the beginning of a model's name; the first one if left out. warm_up: the look to
    begin with, in optimiser steps; sets: the number of weight sets. Raises ValueError for what was not measured.
    """

    _esm = module("agreement")
    models: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    warm_up = traitlets.Int(0).tag(sync=True)
    sets = traitlets.Int(2).tag(sync=True)

    def __init__(self, measured: Mapping[str, Any], model: str = "", warm_up: int = 0, sets: int = 2) -> None:
        models = looks_of(measured)
        name = next((name for name in models if name.startswith(model)), None)
        if name is None:
            raise ValueError(f"no model begins with {model!r}; there are: {'; '.join(models)}")
        known = {look["warm_up"]: look["choices"] for look in models[name]}
        if warm_up not in known:
            raise ValueError(f"no look after {warm_up} steps; there are: {', '.join(map(str, known))}")
        if str(sets) not in known[warm_up]:
            raise ValueError(f"no map with {sets} weight sets was chosen; there are: {', '.join(known[warm_up])}")
        super().__init__(models=models, model=name, warm_up=warm_up, sets=sets)
