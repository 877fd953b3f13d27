"""The first four minutes on a GPU that this code has never seen, `python -m dlt_core first-light`.

Part by part, most important first; each row of a result is written before the next is made. Parts run in a process of
their own, which is replaced when one fails or takes longer than it may: a part that fails is named and the others go
on. Only "precisions" needs data or a tokenizer.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from dlt_core.corpora.files import write_json_atomically
from dlt_core.studies.side_by_side import Worker, free_memory

Row = dict[str, Any]
CLAIM = "up to ten times less memory"  # the paper's abstract
# name -> (layers, heads, width); GPT-2's vocabulary except at smoke
SHAPES = {"12 x 768": (12, 12, 768), "12 x 384": (12, 6, 384), "48 x 256": (48, 4, 256), "48 x 1600": (48, 25, 1600)}
SMOKE_SHAPES = {"12 x 768": (4, 2, 32), "12 x 384": (4, 2, 16), "48 x 256": (8, 2, 16), "48 x 1600": (8, 2, 64)}


def _learner(scale: str, shape: str, **changes: Any) -> Any:
    """A learner on tokens drawn at random, its model made on the device itself; at B = 16, T = 256, dropout 0.2."""
    from dlt_core.blocks import build_gpt2
    from dlt_core.learner import Learner, parallel
    from dlt_core.studies.benchmark.trainers import noise

    smoke = scale == "smoke"
    layers, heads, width = (SMOKE_SHAPES if smoke else SHAPES)[shape]
    vocab_size, length = (512, 32) if smoke else (50257, 1024 if shape == "48 x 1600" else 256)
    build = functools.partial(build_gpt2, vocab_size=vocab_size, n_positions=length, n_layer=layers, n_head=heads,
                              n_embd=width, dropout=0.2, device=parallel.device())  # fmt: skip
    return Learner(build, noise(vocab_size), seed=0, batch_size=2 if smoke else 16, block_size=32 if smoke else 256,
                   learning_rate=1e-4, precision="bf16", **changes)  # fmt: skip


def _step_times(learner: Any, turns: int = 5, k: int = 5, warm_up: int = 3) -> Row:
    """ms a step over turns of k steps each, after some to warm up."""
    started = time.perf_counter()
    learner.train(warm_up)  # waits for the device at its end
    row = {"first steps, s": time.perf_counter() - started, "steps": turns * k}
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        learner.train(k)
        times.append(1e3 * (time.perf_counter() - started) / k)
    low, median, high = np.quantile(times, [0, 0.5, 1])
    return {"ms a step": float(median), "least": float(low), "most": float(high), **row}


def machine(scale: str) -> Iterator[Row]:
    """What there is."""
    import torch

    from dlt_core import records
    from dlt_core.learner import parallel

    device = parallel.device()
    yield {"hardware": records.hardware(device), "versions": records.versions()}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        about = torch.cuda.get_device_properties(device)
        yield {"free GB": free / 1e9, "total GB": total / 1e9, "capability": f"{about.major}.{about.minor}"}
        yield {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "sms": about.multi_processor_count}
    printed = subprocess.run("nvidia-smi; which gcc cc", shell=True, capture_output=True, text=True, timeout=20)
    yield {"nvidia-smi and compiler": printed.stdout}


def agreement(scale: str) -> Iterator[Row]:
    """Loss, the same in chunks, and gradients in fp32, on the device against the CPU: loss within 1e-4, gradients
    within 1 % of the largest entry. `ok` says whether."""
    from dlt_core.experiments import Experiment, build_learner
    from dlt_core.learner.parallel import device
    from dlt_core.studies.benchmark.trainers import noise
    from dlt_core.tie_map import TieMap

    data = noise(512)
    for name, tie_map, limit in (
        ("independent", TieMap.independent(4), 2**28),
        ("tied", TieMap([0, 1, 1, 0]), 2**28),
        ("tied, in chunks", TieMap([0, 1, 1, 0]), 2**14),
    ):
        results = []
        for where in ("cpu", str(device())):
            learner = build_learner(Experiment.preset("gpt2-embedded", "smoke", device=where, n_embd=64), data)
            learner.tie(tie_map)
            learner.logits_at_once = limit
            learner.probe_gradient(0)
            gradients = {n: p.grad.cpu() for n, p in learner.model.named_parameters() if p.grad is not None}
            results.append((learner.probe(0), gradients, learner.train(5)))
        (ours, g, losses), (theirs, h, there) = results
        largest = max(float(x.abs().max()) for x in g.values())
        of_gradients = max(float((g[n] - h[n]).abs().max()) for n in g) / largest
        of_steps = max(abs(a / b - 1) for a, b in zip(losses, there, strict=True))
        ok = abs(ours / theirs - 1) < 1e-4 and of_gradients < 1e-2 and of_steps < 1e-3
        yield {"what": name, "ok": ok, "loss": abs(ours / theirs - 1), "gradients": of_gradients, "steps": of_steps}


def precisions(scale: str) -> Iterator[Row]:
    """The smoke run of Algorithm 1 with a random agent in each precision, against fp32 on the CPU; then its Q-agent."""
    from dlt_core.agents import RandomAgent
    from dlt_core.algorithm1 import train_dynamic
    from dlt_core.experiments import Experiment, load_data
    from dlt_core.learner import PRECISIONS
    from dlt_core.learner.parallel import device

    e = Experiment.preset("gpt2-wikitext2", "smoke", train_bytes=2**18)
    data = load_data(e)
    plain = None
    for where, precision in [("cpu", "fp32"), *((str(device()), p) for p in PRECISIONS)]:
        run = e.replace(device=where, precision=precision)
        record = train_dynamic(run, agent=RandomAgent(4, seed=0), data=data)
        losses = np.array(record.curves["train"]["loss"])
        plain = losses if plain is None else plain
        yield {
            "device": where, "precision": precision, "test perplexity": record.required(record.test)["perplexity"],
            "last loss": float(losses[-1]), "largest difference to the CPU": float(abs(losses / plain - 1).max()),
            "seconds": record.seconds, "bytes": record.bytes,
        }  # fmt: skip
    record = train_dynamic(e.replace(device=str(device()), precision="bf16"), data=data)
    yield {
        "agent": "QAgent", "test perplexity": record.required(record.test)["perplexity"],
        "td_loss": record.history["td_loss"][-1], "seconds": record.seconds, "timing": record.timing,
    }  # fmt: skip


def steps(scale: str) -> Iterator[Row]:
    """ms a training step in bf16, blocks as they are; for the first model also a reward and an evaluation."""
    for shape in ("12 x 768", "12 x 384", "48 x 256"):
        learner = _learner(scale, shape)
        yield from _tied_and_not(learner, shape)
        if shape == "12 x 768":
            yield _looks(learner, shape)
        del learner
        free_memory()


def compiled(scale: str) -> Iterator[Row]:
    """The same with compiled blocks; reward and evaluation are compiled anew, for they record no gradients."""
    learner = _learner(scale, "12 x 768", compile_mode="default")
    yield from _tied_and_not(learner, "12 x 768")
    yield _looks(learner, "12 x 768")


def _tied_and_not(learner: Any, shape: str) -> Iterator[Row]:
    from dlt_core.tie_map import TieMap

    yield {"model": shape, "ties": "none", **_step_times(learner)}
    learner.tie(TieMap.all_tied(len(learner.tie_map)))
    yield {"model": shape, "ties": "all tied", **_step_times(learner)}


def _looks(learner: Any, shape: str) -> Row:
    """Seconds of the first and of a later probe, and of an evaluation about as long as a quarter of WikiText-2's."""
    learner.evaluation_tokens = 2**16 if learner.data.vocab_size > 512 else 2**12
    row: Row = {"model": shape}
    for name in ("first", "second"):
        started = time.perf_counter()
        learner.probe(0)
        row[f"{name} probe, s"] = time.perf_counter() - started
        started = time.perf_counter()
        learner.evaluate("validation")
        row[f"{name} evaluation of {learner.evaluation_tokens} tokens, s"] = time.perf_counter() - started
    return row


def graph(scale: str) -> Iterator[Row]:
    """The same from one CUDA graph a decision, against steps one by one: their losses over ties and unties, ms a step
    by turns of k = 15, and the turn in which a step is captured."""
    from dlt_core.tie_map import TieMap

    for shape in ("12 x 768", "12 x 384"):
        plain, captured = _learner(scale, shape), _learner(scale, shape, cuda_graph=True)
        n_layer, losses = len(plain.tie_map), []
        for learner in (plain, captured):
            trained = []
            for tie_map in (TieMap.all_tied(n_layer), TieMap.pattern("cycle", n_layer, 2), TieMap.independent(n_layer)):
                learner.tie(tie_map)
                trained += learner.train(5)
            losses.append(trained)
        largest = max(abs(a / b - 1) for a, b in zip(*losses, strict=True))
        yield {"model": shape, "graph": captured.graph_note, "largest difference": largest, "ok": largest < 1e-2}
        for name, learner in (("one by one", plain), ("graph", captured)):
            row = _step_times(learner, turns=5, k=15)
            learner.tie(TieMap.all_tied(n_layer))
            started = time.perf_counter()
            learner.train(15)
            row["ms of a turn after a re-tie"] = 1e3 * (time.perf_counter() - started)
            yield {"model": shape, "steps taken": name, **row}
        del plain, captured, learner
        free_memory()


def paper(scale: str) -> Iterator[Row]:
    """48 layers of width 1600 in bf16, k = 5: one model, re-tied from 48 weight sets to 12, 6, 1. State, peak of a
    step, ms a step, and whole decisions (agent, re-tie, k steps, reward; one that unties and one that ties a layer)."""
    import torch

    from dlt_core.agents import QAgent
    from dlt_core.learner import accounting
    from dlt_core.studies.benchmark.trainers import wait_for
    from dlt_core.tie_map import TieMap

    learner, k = _learner(scale, "48 x 1600"), 5
    n_layer = len(learner.tie_map)
    whole: Row = {}
    agent = QAgent(n_layer, seed=0)
    for sets in (48, 12, 6, 1) if n_layer == 48 else (8, 4, 2, 1):
        tie_map = TieMap.pattern("cycle", n_layer, sets)
        learner.tie(tie_map)
        learner.optimizer.zero_grad(set_to_none=True)
        free_memory()
        row = {"weight sets": sets, "parameters": sum(p.numel() for p in learner.model.parameters())}
        row |= _step_times(learner, turns=4, k=k, warm_up=2)
        row["state GB"] = accounting.measured_bytes(learner.model, learner.optimizer)["total"] / 1e9
        row["peak GB"] = accounting.step_peak_bytes(learner) / 1e9
        if learner.device.type == "cuda":
            row["reserved GB"] = torch.cuda.memory_reserved() / 1e9
        whole = whole or row
        row |= {"state, ÷": whole["state GB"] / row["state GB"], "peak, ÷": whole["peak GB"] / row["peak GB"]}
        row["claim"] = CLAIM
        yield dict(row)  # before the decisions, which need more memory
        layer = n_layer - 1
        for name, action in (("ties", 0), ("unties", layer)):
            wait_for(learner.device)
            started = time.perf_counter()
            agent.act(tie_map, layer)
            after = tie_map.with_action(layer, action)
            learner.tie(after)
            learner.train(k)
            agent.learn(tie_map, layer, action, -learner.probe(0), after)
            tie_map = after
            row[f"decision that {name}, ms"] = 1e3 * (time.perf_counter() - started)
        yield row


def benchmark(scale: str) -> Iterator[Row]:
    """The benchmark's parts machine, steps and control, three repetitions."""
    from dlt_core.studies.benchmark.report import run
    from dlt_core.studies.benchmark.timings import Bench

    bench = Bench("tiny" if scale == "smoke" else "gpu", 3)
    with tempfile.TemporaryDirectory() as folder:
        for part in ("machine", "steps", "control"):
            benchmark_results = run(bench, [part], Path(folder) / f"{part}.json")
            yield {"part": part, **benchmark_results["parts"][part]}
            free_memory()


def tests(scale: str) -> Iterator[Row]:
    """The tests marked `cuda`."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-m", "cuda", "-p", "no:cacheprovider",
               "tests/test_cuda.py", "tests/learner/test_accounting.py"]  # fmt: skip
    environment = {"CUDA_VISIBLE_DEVICES": "0"} if scale != "smoke" and "CUDA_VISIBLE_DEVICES" not in os.environ else {}
    limit = 240 if scale == "smoke" else 60
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=limit)
    yield {"status": done.returncode, "output": (done.stdout + done.stderr)[-6000:]}


# name -> (what it does, seconds that it may take)
PARTS: dict[str, tuple[Callable[[str], Iterator[Row]], float]] = {
    "machine": (machine, 60),
    "agreement": (agreement, 60),
    "precisions": (precisions, 50),
    "steps": (steps, 45),
    "graph": (graph, 60),
    "paper": (paper, 60),
    "compiled": (compiled, 75),
    "tests": (tests, 65),
    "benchmark": (benchmark, 90),
}


def _work(connection: Connection, scale: str) -> None:
    """The process that runs parts: receives their names, sends their rows, then None, or the traceback of a failure."""
    while True:
        name = connection.recv()
        try:
            for row in PARTS[name][0](scale):
                connection.send(row)
            free_memory()
            connection.send(None)
        except BaseException:
            connection.send(traceback.format_exc())
            return  # the device may be in no state to go on


def _rows(worker: Worker, part: str, deadline: float) -> Iterator[Row | str]:
    """The part's rows, and if it fails what happened, at the end."""
    worker.connection.send(part)
    while worker.connection.poll(max(0.0, deadline - time.perf_counter())):
        try:
            message = worker.connection.recv()
        except EOFError:
            message = f"the process ended with status {worker.process.exitcode}"
        if message is not None:
            yield message
        if not isinstance(message, dict):
            return
    yield "took too long"


def measure(scale: str, parts: Sequence[str], max_seconds: float, out: Path) -> list[str]:
    """Run the parts, and write what they find to out/first_light.json; the names of those that failed."""
    started = time.perf_counter()
    results: dict[str, Any] = {"scale": scale, "claim": CLAIM, "parts": {}}
    worker = None

    def say(text: str) -> None:
        print(f"{time.perf_counter() - started:6.1f} s  {text}", flush=True)

    for name in parts:
        begun = time.perf_counter()
        left = max_seconds - (begun - started)
        part: dict[str, Any] = {"status": "running", "rows": []}
        results["parts"][name] = part
        if left < 8:
            part["status"] = "no time left"
            say(f"{name}: no time left")
            continue
        say(f"{name} ...")
        worker = worker or Worker(_work, scale)
        limit = PARTS[name][1] * (4 if scale == "smoke" else 1)  # a laptop does something else beside
        for row in _rows(worker, name, begun + min(left, limit)):
            if isinstance(row, dict):
                part["rows"].append(row)
                part["seconds"] = time.perf_counter() - begun
                say(f"{name}: {row}")
                write_json_atomically(out / "first_light.json", results)
            else:
                part["error"] = row
                say(f"{name} FAILED: {row.strip()}")
        part["status"] = "failed" if "error" in part else "done"
        if part["status"] == "failed":
            worker.end()
            worker = None
        part["seconds"] = time.perf_counter() - begun
        write_json_atomically(out / "first_light.json", results)
    if worker is not None:
        worker.end()
    results["seconds"] = time.perf_counter() - started
    write_json_atomically(out / "first_light.json", results)
    failed = [name for name, part in results["parts"].items() if part["status"] == "failed"]
    say(f"done; failed: {', '.join(failed) or 'nothing'}")
    return failed
