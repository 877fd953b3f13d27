"""The package as others install it: what is in the wheel, what it needs, and what `import dlt_core` waits for."""

import ast
import doctest
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import dlt_core
from dlt_core import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
# Modules without a test file of their own -> where they are tested.
TESTED_ELSEWHERE = {
    "__init__.py": "test_package.py",  # names that are loaded late
    "corpora/__init__.py": "test_package.py",
    "studies/__init__.py": "test_package.py",
    "corpora/hub.py": "corpora/test_sources.py",  # what a hub gives or refuses shows in the corpora
    "learner/out_of_memory.py": "faults/test_run_refusals.py",
    "records/stopping.py": "faults/test_run_stops.py",
    "records/refusals.py": "records/test_record.py",  # the words are those of a record that cannot be
    "reproduce/cluster.py": "reproduce/test_workers.py",  # a cluster does what local processes do
    "reproduce/folder.py": "faults/test_batch_refusals.py",
    "reproduce/jobs.py": "reproduce/test_workers.py",  # a job is what a worker does
    "reproduce/progress.py": "faults/test_batch_refusals.py",
    "reproduce/reference.py": "reproduce/test_site.py",  # whose pages it makes
    "reproduce/stopping.py": "faults/test_batch_signals.py",
    "reproduce/train.py": "test_main.py",  # the command; several processes: learner/test_parallel.py
    "widgets/__init__.py": "test_package.py",
    "tying/layout.py": "tying/test_layers.py",  # what is found there shows in what is tied
    "studies/first_light.py": "test_cuda.py",  # which it runs, on a new GPU; `--scale smoke` rehearses it
    # parts of one benchmark, whose rows are tested together
    "studies/benchmark/ddp.py": "studies/benchmark/test_report.py",
    "studies/benchmark/memory.py": "studies/benchmark/test_report.py",
    "studies/benchmark/timings.py": "studies/benchmark/test_report.py",
    "studies/benchmark/trainers.py": "studies/benchmark/test_report.py",
}
HEAVY = {"torch", "transformers", "numpy", "pandas", "matplotlib", "scipy", "gymnasium", "tokenizers", "pydantic"}


def python(code: str, folder: Path, path: Path) -> str:
    """What the code prints in a fresh interpreter in another folder, with only `path` before the installed packages."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package installed from its wheel, without a trace of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"
    listing = ["git", "ls-files", "-co", "--exclude-standard", "dlt_core", "pyproject.toml", "README.md", "LICENSE"]
    files = subprocess.run(listing, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:  # built elsewhere: setuptools leaves build/ beside what it builds
        if (CHECKOUT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((CHECKOUT / name).read_bytes())
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def test_the_wheel_holds_every_room_and_its_types(installed):
    there = {p.relative_to(installed).as_posix() for p in (installed / "dlt_core").rglob("*") if p.suffix != ".pyc"}
    source = CHECKOUT / "dlt_core"
    assert {p.relative_to(CHECKOUT).as_posix() for p in source.rglob("*.py")} <= there
    assert "dlt_core/py.typed" in there
    static = {p.relative_to(CHECKOUT).as_posix() for p in (source / "widgets" / "static").iterdir()}
    assert static
    assert static <= there
    (scripts,) = installed.glob("dlt_core-*.dist-info/entry_points.txt")
    assert "dlt = dlt_core.__main__:main" in scripts.read_text()


def test_the_installed_package_trains_from_another_folder(installed, tmp_path):
    code = (
        "import dlt_core\n"
        "from dlt_core import Experiment, TieMap, tie_layers, train_dynamic\n"
        "record = train_dynamic(Experiment.preset('gpt2-embedded', 'smoke', episodes=1, device='cpu'))\n"
        "print(dlt_core.__file__, record.status)"
    )
    assert python(code, tmp_path, installed).split() == [str(installed / "dlt_core" / "__init__.py"), "finished"]


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = map(Requirement, lines)
    return {re.sub(r"[-_.]+", "-", requirement.name).lower(): requirement for requirement in found}


def test_the_pins_lie_within_the_ranges():
    lines = (CHECKOUT / "requirements.txt").read_text().splitlines()
    pins = requirements([line for line in lines if line and not line.startswith(("#", "-e"))])
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    ranges = requirements([*PROJECT["dependencies"], *extras])
    for name, pin in pins.items():
        (version,) = (specifier.version for specifier in pin.specifier)
        assert ranges[name].specifier.contains(version), name
    assert ranges.keys() - pins.keys() == {"dlt-core"}


def test_every_package_that_is_imported_is_a_dependency():
    """Those of extras only within functions, so that the core does without."""
    distributions = metadata.packages_distributions()
    needed = requirements(PROJECT["dependencies"])
    extras = requirements([line for lines in PROJECT["optional-dependencies"].values() for line in lines])
    for path in (CHECKOUT / "dlt_core").rglob("*.py"):
        tree = ast.parse(path.read_text())
        lazy = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module]
            else:
                continue
            for module in {m.partition(".")[0] for m in modules} - sys.stdlib_module_names - {"dlt_core"}:
                names = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions[module]}
                optional = id(node) in lazy or module == "distributed" or path.parent.name == "widgets"
                allowed = needed | extras if optional else needed
                # dask comes with distributed, which names its version
                assert names & allowed.keys() or names == {"dask"}, f"{path.name} imports {module}"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import dlt_core; dir(dlt_core)", HEAVY),
        ("from dlt_core import TieMap, expected_independent", HEAVY),
        ("import dlt_core.corpora; dir(dlt_core.corpora)", HEAVY),
        ("import dlt_core.widgets; dir(dlt_core.widgets)", HEAVY),
        ("from dlt_core.widgets import MemoryExplorer, Stepper, TieMapEditor; TieMapEditor()", {"torch", "matplotlib"}),
        ("from dlt_core import RunRecord", {"torch", "transformers", "pandas", "matplotlib", "scipy", "tokenizers"}),
    ],
)
def test_a_light_name_does_not_wait_for_heavy_packages(code, heavy, tmp_path):
    assert python(f"{code}\nimport sys; print({heavy!r} & {{*sys.modules}})", tmp_path, CHECKOUT) == "set()"


def test_the_environments_are_registered_whichever_is_imported_first(tmp_path):
    code = (
        "import importlib.util, sys, dlt_core\n"
        "assert 'gymnasium' not in sys.modules\n"
        "assert importlib.util.find_spec('gymnasium') is not None\n"  # to ask for it changes nothing
        "import gymnasium\n"
        "ours = [name for name in gymnasium.registry if name.startswith('dlt_core/')]\n"
        "for name in ours: del gymnasium.registry[name]\n"
        "importlib.reload(dlt_core)\n"
        "assert all(name in gymnasium.registry for name in ours), 'gymnasium was there before'\n"
        "print(*ours, {'torch'} & {*sys.modules})"
    )
    assert python(code, tmp_path, CHECKOUT) == "dlt_core/LayerTying-v0 dlt_core/SurrogateTying-v0 set()"


def test_a_module_of_studies_is_there_without_being_imported(tmp_path):
    code = "import dlt_core; print(dlt_core.studies.released_code.__name__, hasattr(dlt_core.studies, 'nothing'))"
    assert python(code, tmp_path, CHECKOUT) == "dlt_core.studies.released_code False"


def test_every_public_name_is_there():
    assert sorted(dlt_core.__all__) == sorted([*dlt_core._HOME, *dlt_core._ROOMS])
    assert sorted(dlt_core.corpora.__all__) == sorted(dlt_core.corpora._HOME)
    assert sorted(dlt_core.widgets.__all__) == sorted(dlt_core.widgets._HOME)
    for module in (dlt_core, dlt_core.corpora, dlt_core.widgets):
        assert set(module.__all__) <= {*dir(module)}
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            module.nothing  # noqa: B018


@pytest.mark.parametrize("name", dlt_core.__all__)
def test_every_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    """One to four lines at the end of its docstring, after `from dlt_core import *` and `import torch`."""
    monkeypatch.chdir(tmp_path)
    names = {public: getattr(dlt_core, public) for public in dlt_core.__all__} | {"torch": torch}
    found = doctest.DocTestFinder(recurse=False).find(names[name], name, module=False, globs=names)
    assert found, f"{name} has no example in its docstring"
    assert 1 <= sum(example.source.count("\n") for example in found[0].examples) <= 4
    said: list[str] = []
    assert doctest.DocTestRunner().run(found[0], out=said.append).failed == 0, "".join(said)


def test_type_checkers_see_what_is_loaded_late():
    """The imports under TYPE_CHECKING are the names that __getattr__ knows, from the same modules."""
    for module in (dlt_core, dlt_core.corpora, dlt_core.widgets):
        seen = {}
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(module.__name__):
                home = node.module.removeprefix(module.__name__).removeprefix(".")
                seen |= {alias.name: home for alias in node.names}
        rooms = dict.fromkeys(getattr(module, "_ROOMS", ()), "")
        assert seen == module._HOME | rooms


def test_the_tests_mirror_the_package():
    """Each module with functions has its tests at the same place, or is one of the few that are tested elsewhere."""
    package, tests = CHECKOUT / "dlt_core", CHECKOUT / "tests"
    alone = set()
    for path in package.rglob("*.py"):
        place = path.relative_to(package)
        functions = any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))
        if functions and not (tests / place.with_name(f"test_{place.stem.strip('_')}.py")).exists():
            alone.add(place.as_posix())
    assert alone == TESTED_ELSEWHERE.keys()
    assert all((tests / elsewhere).exists() for elsewhere in TESTED_ELSEWHERE.values())
    of_no_module = {"cuda", "notebooks", "package", "prose", "readme"}
    for path in tests.rglob("test_*.py"):
        place, name = path.relative_to(tests), path.stem.removeprefix("test_")
        if place.parts[0] in ("browser", "faults"):  # by what a reader opens, or what happens to a user
            continue
        there = any((package / place).with_name(f"{stem}.py").exists() for stem in (name, f"__{name}__"))
        assert there != (name in of_no_module), f"{place} tests no module of that name"


@pytest.mark.parametrize(
    ("given", "then"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_waiting_threads_fall_asleep_soon_unless_the_user_says_otherwise(given, then):
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | given
    asked = "import os, dlt_core; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == then
