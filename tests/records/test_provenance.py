"""The fingerprint of the code: all that decides a run is in it, and nothing that only looks at runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import IPython
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

import dlt_core
from dlt_core.records import provenance

PACKAGE = Path(dlt_core.__file__).parent


@pytest.fixture(scope="module")
def imported() -> set[Path]:
    """The files of dlt_core that a process has loaded after training by several methods."""
    program = """
import json, sys
import dlt_core.algorithm1
from dlt_core import Experiment, compare
experiment = Experiment.preset("agents-embedded", "smoke", device="cpu", evaluation_tokens=64)
compare(experiment, ["dynamic", "released", "halving-2", "dqn", "thompson", "evolution", "conventional"])
print(json.dumps([m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "dlt_core"]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(map(Path, json.loads(run.stdout.splitlines()[-1])))


def test_all_that_training_loads_is_in_the_fingerprint(imported):
    decisive = set(provenance.decisive())
    assert imported - decisive == set()
    assert {PACKAGE / name for name in ("algorithm1.py", "experiments.py", "corpora/hub.py")} <= imported & decisive


def test_the_onlookers_exist_or_are_to_come_and_are_not_in_it():
    names = {path.relative_to(PACKAGE).as_posix() for path in provenance.decisive()}
    assert not any(name.startswith(provenance.ONLOOKERS) for name in names)
    assert [one for one in provenance.ONLOOKERS if one.startswith("studies/") and not (PACKAGE / one).exists()] == []


def test_touching_any_decisive_file_changes_the_fingerprint_and_touching_an_onlooker_does_not(tmp_path, monkeypatch):
    copy = tmp_path / "dlt_core"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(dlt_core, "__file__", str(copy / "__init__.py"))
    fingerprint = provenance.code.__wrapped__  # without its cache
    original, decisive = fingerprint(), provenance.decisive()
    assert len(decisive) > 20
    for path in decisive:
        before = path.read_bytes()
        path.write_bytes(before + b"#")
        assert fingerprint() != original, path
        path.write_bytes(before)
    assert fingerprint() == original
    for path in set(copy.rglob("*.py")) - set(decisive):
        path.write_bytes(b"")
    assert fingerprint() == original
    (copy / "new.py").write_text("")
    assert fingerprint() != original, "a new module counts without being listed"


def test_papermills_unknown_parameter_stops_a_notebook_of_ours(monkeypatch):
    """Papermill itself only warns; here with the cells that it would execute."""

    def begin(**parameters):
        nb = load_notebook_node(str(dlt_core.CHECKOUT / "notebooks" / "04_gpt2_wikitext2.ipynb"))
        nb = parameterize_notebook(nb, parameters, kernel_name="python3", language="python")
        cells = [cell.source for cell in nb.cells if cell.cell_type == "code"]
        monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(user_ns={"In": ["", *cells]}))
        return dlt_core.Experiment.preset("gpt2-embedded", "smoke")

    assert begin(preset="smoke", seed=3, corpus="embedded").preset_name == "smoke"
    with pytest.raises(ValueError, match="this notebook has no parameter sead; it has preset, seed, out_dir, corpus"):
        begin(preset="smoke", sead=3)
    for cells in (["x = 1", "# Parameters\ny = 2"], ["preset = seed = out_dir = 1", "# Parameters\n!ls"], [""]):
        monkeypatch.setattr(IPython, "get_ipython", lambda cells=cells: SimpleNamespace(user_ns={"In": cells}))
        provenance.refuse_unknown_parameters()
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    provenance.refuse_unknown_parameters()
