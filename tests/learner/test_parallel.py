"""Several processes are one: the same run up to rounding, the same weights to the bit, and no hang where one fails.

Two processes are started by torchrun and do one of the jobs below; one that hangs is found by a timeout.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dlt_core.agents import RandomAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.blocks import build_gpt2
from dlt_core.experiments import Experiment, build_learner, load_data
from dlt_core.learner import parallel
from dlt_core.learner.evaluation import evaluate
from dlt_core.records import checkpoints
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.stopping import RunStopped
from dlt_core.tie_map import TieMap
from dlt_core.tying import read_tie_map, tie_layers

ROOT = Path(__file__).parents[2]
SMOKE = Experiment.preset("gpt2-embedded", "smoke", device="cpu")
COMMAND = ["-m", "dlt_core", "train", "--experiment", "gpt2-embedded", "--preset", "smoke", "--device", "cpu"]
CHANGES = {
    "shared": {},
    "source": {"gradient": "source"},
    "accumulated": {"gradient_accumulation_steps": 2},
    "bf16": {"precision": "bf16"},
    "dropout": {"dropout": 0.5},
}


def start(*command: object) -> subprocess.CompletedProcess:
    """Run a command in two processes. Raises TimeoutExpired if they hang, and ends them."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*torchrun, *map(str, command)], env=environment, **pipes) as process:
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends what it has started
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start_job(name: str, folder: Path, *, timeout: float = 60) -> subprocess.CompletedProcess:
    """Do a job of this module in two processes; what a rank returns is in found-<rank>.json."""
    script = folder / f"{name}.py"
    script.write_text(f"""
import json, pathlib
from dlt_core.learner import parallel
from tests.learner.test_parallel import {name}

folder = pathlib.Path({str(folder)!r})
with parallel.process_group("cpu", timeout={timeout}):
    found = {name}(folder)
    (folder / f"found-{{parallel.rank()}}.json").write_text(json.dumps(found))
""")
    return start(script)


# --- the jobs ---


def fifty_actions(experiment: Experiment, data) -> dict:
    """Random actions, each with a training step."""
    learner = build_learner(experiment, data)
    masks = []
    learner.model.transformer.drop.register_forward_hook(lambda _, __, out: masks.append(sha256(out == 0)))
    dice = random.Random(0)
    maps, losses = [TieMap.all_tied(4)], []
    for _ in range(50):
        layer = dice.randrange(1, 4)
        maps.append(maps[-1].with_action(layer, dice.randrange(layer + 1)))
        learner.tie(maps[-1])
        losses += learner.train(1)
    tensors = {name: sha256(tensor.float()) for name, tensor in learner.state_dict()["tensors"].items()}
    record = RunRecord({}, "", 0, {}, history={"tie_map": [list(m) for m in maps]})
    return {
        **record.transitions(),
        "tensors": tensors,
        "tie_map": list(learner.tie_map),
        "losses": [*losses, learner.probe(0)],
        "masks": masks,
    }


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def evaluations(data) -> list[list]:
    """Of 1 and of 5 batches: the result, and how many went through this process's model."""
    model, found = build_learner(SMOKE, data).model, []
    for batches in (1, 5):
        calls = []
        hook = model.transformer.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        tokens = data.tokens["test"][: batches * 4 * 32 + 1]
        result = evaluate(model, tokens, block_size=32, batch_size=4, token_bytes=data.token_bytes)
        hook.remove()
        found.append([result.nll, result.tokens, result.bytes, len(calls)])
    return found


def functions(folder: Path) -> dict:
    """What the functions of `parallel` give."""
    rank = parallel.rank()
    parameters = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))]
    for n, p in enumerate(parameters):
        p.grad = torch.full_like(p, 10 * n + 1 + rank)
    frozen = nn.Parameter(torch.zeros(1))
    parallel.average_gradients([frozen, *parameters])
    with parallel.one_first():
        file = folder / "first"
        cached = file.exists()
        time.sleep(0.5 if rank == 0 else 0)
        file.touch()
    return {
        "world_size": parallel.world_size(),
        "share": parallel.share(np.arange(6)).tolist(),
        "from_rank_0": parallel.from_rank_0(7 + rank),
        "total": parallel.total(torch.tensor([1 / 3, rank])).tolist(),
        "gradients": [p.grad.unique().tolist() for p in parameters] + [frozen.grad],
        "cached": cached,
    }


def everything(folder: Path) -> dict:
    data = load_data(SMOKE)
    found = {name: fifty_actions(SMOKE.replace(**changes), data) for name, changes in CHANGES.items()}
    found["functions"] = functions(folder)
    found["evaluations"] = evaluations(data)
    found["dice"] = train_dynamic(SMOKE, agent=RandomAgent(4, seed=parallel.rank()), data=data).history["tie_map"]
    found["stopped"] = asked_to_stop(data, folder / "stopped")
    found["parts"] = in_parts(data, folder / "parts")
    return found


def asked_to_stop(data, folder: Path) -> list:
    """Process 1 alone is asked, at the seventh decision: by what, and how far this process has come."""

    def ask(record: RunRecord) -> None:
        if parallel.rank() == 1 and len(record.history["action"]) == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunStopped) as stopped:
        train_dynamic(SMOKE, data=data, on_decision=ask, **in_folder(folder))
    return [stopped.value.signal, len(stopped.value.record.history["action"])]


def in_folder(folder: Path) -> dict[str, Path]:
    return {"checkpoint": folder / "checkpoint.safetensors", "record_path": folder / "records"}


def in_parts(data, folder: Path) -> list[str]:
    """A run that stops twice, and takes long to write: what happens in this process."""
    found = []

    def slowly(save, what):
        return lambda *arguments: (found.append(what), time.sleep(0.5), save(*arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", slowly(checkpoints.save, "checkpoint"))
        patch.setattr(RunRecord, "save", slowly(RunRecord.save, "record"))
        while found[-1:] != ["finished"]:
            found.append(train_dynamic(SMOKE, data=data, max_decisions=10, **in_folder(folder)).status)
    return found


def run_in_which_one_dies(folder: Path) -> None:
    run_until_the_fifth_decision(folder, lambda: os._exit(3))


def run_in_which_one_hangs(folder: Path) -> None:
    def hang() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # or torchrun waits for 30 s before it kills
        time.sleep(1000)

    run_until_the_fifth_decision(folder, hang)


def run_until_the_fifth_decision(folder: Path, of_process_1) -> None:
    def fail(record: RunRecord) -> None:
        if parallel.rank() == 1 and len(record.history["action"]) == 5:
            (folder / "fifth").touch()
            of_process_1()

    train_dynamic(SMOKE, record_path=folder / "records", on_decision=fail)


# --- what comes out ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_data) -> Path:
    """Where two processes have done everything."""
    folder = tmp_path_factory.mktemp("two")
    done = start_job("everything", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def both(folder) -> list[dict]:
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(tiny_data) -> RunRecord:
    return train_dynamic(SMOKE, data=tiny_data)


@pytest.mark.parametrize("name", CHANGES)
def test_weights_moments_and_ties_are_equal_to_the_bit_after_fifty_actions(both, name):
    first, second = (found[name] for found in both)
    assert first["ties"] > 5
    assert first["unties"] > 5
    assert first["tie_map"] == second["tie_map"]
    assert {key.split(".")[1] for key in first["tensors"]} >= {"exp_avg", "exp_avg_sq", "step"}
    assert first["tensors"] == second["tensors"]
    assert first["losses"] == second["losses"]


@pytest.mark.parametrize("name", ["shared", "source", "accumulated"])
def test_two_processes_with_half_of_each_batch_train_as_one_does(both, tiny_data, name):
    expected = fifty_actions(SMOKE.replace(**CHANGES[name]), tiny_data)
    assert both[0][name]["tie_map"] == expected["tie_map"]
    assert both[0][name]["losses"] == pytest.approx(expected["losses"], abs=1e-5)


def test_each_process_has_its_own_dropout(both):
    first, second = (found["dropout"]["masks"] for found in both)
    assert len(first) == len(second) == 51
    assert all(one != other for one, other in zip(first[:50], second[:50], strict=True))
    assert len({*first, *second}) == 101
    assert first[50] == second[50]  # none in the probe


def test_the_functions_of_two_processes(both):
    first, second = (found["functions"] for found in both)
    assert first["world_size"] == second["world_size"] == 2
    assert (first["share"], second["share"]) == ([0, 1, 2], [3, 4, 5])
    assert first["from_rank_0"] == second["from_rank_0"] == 7
    assert first["total"] == second["total"] == pytest.approx([2 / 3, 1])
    assert first["gradients"] == second["gradients"] == [[1.5], [11.5], None]
    assert (first["cached"], second["cached"]) == (False, True)


def test_the_action_is_that_of_process_0(both, tiny_data):
    maps = [train_dynamic(SMOKE, agent=RandomAgent(4, seed=s), data=tiny_data).history["tie_map"] for s in (0, 1)]
    assert both[0]["dice"] == both[1]["dice"] == maps[0] != maps[1]


def test_an_evaluation_is_shared_also_by_more_processes_than_batches(both, tiny_data):
    expected = evaluations(tiny_data)
    assert [calls for *_, calls in expected] == [1, 5]
    assert [[calls for *_, calls in found["evaluations"]] for found in both] == [[1, 3], [0, 2]]
    for found in both:
        for (nll, *sizes, _), (expected_nll, *expected_sizes, _) in zip(found["evaluations"], expected, strict=True):
            assert nll == pytest.approx(expected_nll, rel=1e-6)
            assert sizes == expected_sizes


def assert_same_run(record: RunRecord, expected: RunRecord) -> None:
    """Equal ties and actions, and numbers up to rounding."""
    assert record.status == expected.status == "finished"
    for name in ("layer", "action", "explored", "tie_map", "num_independent"):
        assert record.history[name] == expected.history[name]
    assert record.history["reward"] == pytest.approx(expected.history["reward"], rel=1e-5)
    for curve in ("train", "validation"):
        assert record.curves[curve]["loss"] == pytest.approx(expected.curves[curve]["loss"], rel=1e-5)
    assert record.test["perplexity"] == pytest.approx(expected.test["perplexity"], rel=1e-5)
    assert record.tie_map == expected.tie_map
    assert record.budget == expected.budget


def test_processes_stop_at_the_same_decision_whichever_was_asked(both):
    assert [found["stopped"] for found in both] == [[signal.SIGTERM, 7]] * 2


def test_a_run_that_two_processes_stopped_is_finished_by_one(folder, tiny_data, alone, tmp_path):
    shutil.copytree(folder / "stopped", tmp_path, dirs_exist_ok=True)
    (stopped,) = load_all(tmp_path / "records")
    assert stopped.status == "stopped"
    assert len(stopped.history["action"]) == 7
    assert_same_run(train_dynamic(SMOKE, data=tiny_data, **in_folder(tmp_path)), alone)


def test_the_first_process_writes_and_the_other_goes_on_with_it(both, folder, alone):
    assert both[0]["parts"] == [*["checkpoint", "record", "stopped"] * 2, "record", "finished"]
    assert both[1]["parts"] == ["stopped", "stopped", "finished"]
    (record,) = load_all(folder / "parts" / "records")
    assert_same_run(record, alone)


def test_the_command_runs_in_two_processes_and_takes_what_is_finished(tiny_data, alone, tmp_path):
    done = start(*COMMAND, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test perplexity") == 1
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    record = RunRecord.load(path)
    assert_same_run(record, alone)
    assert record.hardware["processes"] == 2
    written = path.read_bytes()
    again = start(*COMMAND, "--out", tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert path.read_bytes() == written  # another run would have taken other seconds


@pytest.mark.parametrize("name", ["run_in_which_one_dies", "run_in_which_one_hangs"])
def test_a_process_that_fails_ends_the_job(tiny_data, tmp_path, name):
    done = start_job(name, tmp_path, timeout=5)
    assert done.returncode != 0
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {f"{name}.py", "fifth"}  # no record


def test_a_batch_that_cannot_be_shared_is_refused(tiny_data, tmp_path):
    done = start(*COMMAND, "--batch-size", "3", "--out", tmp_path)
    assert done.returncode != 0
    assert "batch_size=3 cannot be shared by 2 processes with gradient_accumulation_steps=1" in done.stderr
    assert list(tmp_path.rglob("*.json")) == []


def test_alone_everything_is_the_identity(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.process_group(), parallel.one_first():
        assert not distributed.is_initialized()
        assert (parallel.rank(), parallel.world_size()) == (0, 1)
        batch, values, p = np.arange(3), torch.tensor([0.1]), nn.Parameter(torch.zeros(2))
        assert np.array_equal(parallel.share(batch), batch)
        assert parallel.from_rank_0(7) == 7
        assert parallel.total(values) is values
        p.grad = torch.tensor([0.1, 0.2])
        parallel.average_gradients([p])
        assert p.grad.tolist() == torch.tensor([0.1, 0.2]).tolist()
        assert parallel.device("meta") == torch.device("meta")
        assert parallel.device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with (
        pytest.raises(ValueError, match="process 1 of this machine has no GPU: there are 1"),
        parallel.process_group("cuda"),
    ):
        pass


# --- PyTorch's own ways ---


@pytest.fixture
def group():
    """A process group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def three_layers(*, tied_before: bool = False) -> nn.Module:
    model = build_gpt2(vocab_size=50, n_positions=8, n_layer=3, n_head=2, n_embd=8, dropout=0.0)
    if tied_before:
        tie_layers(model, TieMap.independent(3))
    return model


@pytest.mark.filterwarnings("ignore:FSDP is switching to use:UserWarning")
@pytest.mark.parametrize("tied_before", [False, True])
@pytest.mark.parametrize("kind", ["model", "blocks", "wrapper"])
def test_fsdp_is_refused_with_the_reason(group, kind, tied_before):
    from torch.distributed.device_mesh import init_device_mesh  # here, since they take a second
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    model = three_layers(tied_before=tied_before)
    if kind == "wrapper":
        model = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    for module in {"model": [model], "blocks": [*model.transformer.h], "wrapper": []}[kind]:
        fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(ValueError, match=r"FSDP gives each process a piece .* see python -m dlt_core train"):
        tie_layers(model, TieMap.all_tied(3))


def test_ddp_is_refused_but_the_model_inside_can_be_tied(group):
    wrapped = DistributedDataParallel(three_layers())
    with pytest.raises(ValueError, match=r"tie the model inside \(\.module\), and wrap it anew"):
        tie_layers(wrapped, TieMap.all_tied(3))
    tie_layers(wrapped.module, TieMap.all_tied(3))
    assert read_tie_map(wrapped.module) == TieMap.all_tied(3)
    with pytest.raises(ValueError, match="DDP"):
        tie_layers(wrapped, TieMap.independent(3))


def test_a_kind_of_device_that_nothing_was_tried_on_comes_with_a_warning(monkeypatch):
    monkeypatch.setattr(torch.mps, "device_count", lambda: 1)
    with pytest.warns(UserWarning, match="nothing of this project was tried on mps: compare the first losses"):
        assert parallel.device("mps") == torch.device("mps")
