"""Which code, packages and hardware a run was computed with."""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt_core

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "gymnasium", "numpy")
# What does not decide the course of a run, of all that lies in dlt_core: what looks at runs, and what starts them.
ONLOOKERS = ("__main__.py", "figures", "records/statistics.py", "reproduce", "studies/benchmark", "studies/claim.py",
             "studies/contrasts.py", "studies/diagnosis.py", "studies/findings.py", "studies/first_light.py",
             "studies/gate.py", "studies/layer_zero.py", "studies/moving.py", "studies/regimes.py",
             "studies/released_tables.py", "studies/rivals.py", "studies/rule/report.py", "studies/seeds.py",
             "studies/side_by_side.py", "studies/tables.py", "widgets")  # fmt: skip


def decisive() -> list[Path]:
    """The source files that decide the course of a run, beside its settings: all of dlt_core but the onlookers."""
    folder = Path(dlt_core.__file__).parent
    onlookers = [folder / name for name in ONLOOKERS]
    return [path for path in sorted(folder.rglob("*.py")) if not any(path.is_relative_to(one) for one in onlookers)]


@functools.cache
def code() -> str:
    """A fingerprint of the files that decide the course of a run."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in decisive())).hexdigest()[:12]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    installed = {"python": platform.python_version(), "dlt_core": f"{dlt_core.__version__}+{code()}"}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def stamp() -> str:
    """One line for the head of a notebook: versions and hardware."""
    import torch

    machine = hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    packages = " · ".join(f"{name} {version}" for name, version in versions().items())
    return f"{packages} · {machine['device']}, {machine['threads']} threads, {machine['system']} {machine['machine']}"


def refuse_unknown_parameters() -> None:
    """In a notebook of ours that papermill executes, see whether its parameters are the notebook's.

    Papermill would only warn, and set what nothing uses. It puts them into a cell of their own, behind the one that
    says which there are. Raises ValueError, listing these, for one that is not among them.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    for shown, given in itertools.pairwise([] if shell is None else shell.user_ns.get("In", [])):
        if not given.startswith("# Parameters\n"):  # papermill's own head
            continue
        known = _assigned(shown)
        if {"preset", "seed", "out_dir"} <= {*known} and (unknown := [n for n in _assigned(given) if n not in known]):
            raise ValueError(f"this notebook has no parameter {', '.join(unknown)}; it has {', '.join(known)}")


def _assigned(cell: str) -> list[str]:
    """The names that a cell of Python sets at its top level."""
    try:
        lines = ast.parse(cell).body
    except SyntaxError:
        return []
    targets = [t for line in lines for t in getattr(line, "targets", [getattr(line, "target", None)])]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def hardware(device: torch.device) -> dict[str, Any]:
    """What the run is computed on."""
    import torch

    cuda = device.type == "cuda"
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "processes": torch.distributed.get_world_size() if together else 1,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
