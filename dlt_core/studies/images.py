"""Does it carry over to images? A small ViT on CIFAR-10 or on your own folders of images, in transformers' Trainer.

We know of no such result in the paper. A GPT-2 and a ViT differ in all but their stack of layers, so this shows that
nothing in tying, agent and callback is about text. The measure is accuracy: the share of test images that get the right
label, of the model after the last step.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dlt_core.agents import QAgent
from dlt_core.corpora.files import write_json_atomically
from dlt_core.corpora.hub import CorpusUnavailable, offline_if_unreachable
from dlt_core.records.statistics import mean_interval, plus_minus, verdict
from dlt_core.studies.gate import Gate
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import TieMap
from dlt_core.tying import read_tie_map, tie_layers
from dlt_core.tying.layout import count_parameters

HUB = "uoft-cs/cifar10"
METHODS = ("conventional", "shallow-2", "sandwich-2", "random", "dynamic")
CONTRASTS = (
    ("conventional", "shallow-2", "what four more layers are worth"),
    ("random", "conventional", "what ties moved by chance cost"),
    ("sandwich-2", "conventional", "what sharing costs"),
    ("dynamic", "random", "what the agent adds"),
)
"""Named before they were run: the gate's two, then the two questions."""
N_LAYER, WIDTH, IMAGE, PATCH, BATCH = 6, 64, 32, 8, 64  # patch, image: pixels a side
STEPS_PER_ACTION, EPSILON_DECAY = 15, 0.8  # as in gpt2-embedded, preset laptop, which has as many decisions


class Images(torch.utils.data.Dataset[dict[str, Any]]):
    """pixels: (N, 3, 32, 32), 0 to 255. labels: (N,). An item is what a ViT takes, each channel from -1 to 1."""

    def __init__(self, pixels: np.ndarray, labels: Sequence[int]) -> None:
        self.pixels, self.labels = torch.from_numpy(pixels), list(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": self.pixels[index].float() / 127.5 - 1, "labels": self.labels[index]}


def load_images(folder: Path | None = None) -> dict[str, Any]:
    """{"train": Images, "test": Images, "labels": names, "source": words} from a folder, or CIFAR-10 from the hub.

    folder: holds train and test, and each of them a folder of images for each label. Images of another size are made
    32 pixels a side. Raises CorpusUnavailable without a folder and a hub, ValueError for a folder that lacks one of the
    two.
    """
    import datasets

    if folder is not None:
        if missing := [split for split in ("train", "test") if not (folder / split).is_dir()]:
            raise ValueError(f"{folder / missing[0]} is no folder: put the {missing[0]} images there, a folder a label")
        loaded = datasets.load_dataset("imagefolder", data_dir=str(folder))
        source = f"the images of the folder {folder.resolve().name}"
    else:
        with offline_if_unreachable() as offline:
            try:
                loaded = datasets.load_dataset(HUB)
            except Exception as error:
                raise CorpusUnavailable(
                    f"CIFAR-10 is not here: {offline or f'loading {HUB} failed ({error})'}. Name a folder of images, "
                    "--data FOLDER, or connect to the internet; it is then downloaded once"
                ) from error
        source = f"{HUB} from the Hugging Face hub"
    image, label = loaded["train"].column_names[:2]
    splits = {}
    for split in ("train", "test"):
        rows = loaded[split]
        pixels = [np.asarray(one.convert("RGB").resize((IMAGE, IMAGE))) for one in rows[image]]
        splits[split] = Images(np.stack(pixels).transpose(0, 3, 1, 2).copy(), rows[label])
    sizes = ", ".join(f"{len(images):,} {split}" for split, images in splits.items())
    return {**splits, "labels": loaded["train"].features[label].names, "source": f"{source} ({sizes})"}


def train(method: str, seed: int, data: Mapping[str, Any], *, steps: int) -> dict[str, Any]:
    """One run: a row of figures/images.json. Runs of one seed begin with the same weights and see the same batches.

    Raises ValueError for a method that is not in METHODS.
    """
    from transformers import Trainer, TrainingArguments, set_seed  # seconds that whoever only reads the table is spared

    from dlt_core.huggingface.trainer import DynamicLayerTyingCallback

    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    set_seed(seed)
    model = vit(2 if method == "shallow-2" else N_LAYER, len(data["labels"]))
    callbacks: list[Any] = []
    if method in ("dynamic", "random"):
        agent = QAgent(N_LAYER, seed=seed, epsilon_decay=EPSILON_DECAY) if method == "dynamic" else "random"
        callbacks = [DynamicLayerTyingCallback(agent, steps_per_action=STEPS_PER_ACTION, seed=seed)]
    elif method == "sandwich-2":
        tie_layers(model, TieMap.pattern("sandwich", N_LAYER, 2))
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=500,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            weight_decay=0.01,
            seed=seed,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = Trainer(model, arguments, train_dataset=data["train"], callbacks=callbacks, compute_metrics=_accuracy)
        trainer.train()
        tested = trainer.evaluate(data["test"])
    return {
        "method": method,
        "seed": seed,
        "accuracy": tested["eval_accuracy"],
        "loss": tested["eval_loss"],
        "parameters": count_parameters(model),
        "tie_map": list(read_tie_map(model)),
    }


def vit(layers: int, labels: int) -> nn.Module:
    """A ViT of width 64 whose tokens are the patches of an image."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        image_size=IMAGE,
        patch_size=PATCH,
    )
    config.num_labels = labels
    return ViTForImageClassification(config)


def _accuracy(predicted: Any) -> dict[str, float]:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def measure(
    data: Mapping[str, Any],
    out: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 1_200,
    methods: Sequence[str] = METHODS,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """All runs, each added to the file `out` as soon as it is there; those that it has are not made again.

    Raises ValueError if the file is of other images or of another number of steps.
    """
    what = {"source": data["source"], "steps": steps}
    measured = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {**what, "rows": []}
    if {name: measured[name] for name in what} != what:
        raise ValueError(f"{out} is of {measured['source']} and {measured['steps']} steps: name another file")
    there = {(row["method"], row["seed"]) for row in measured["rows"]}
    for seed in seeds:
        for method in methods:
            if (method, seed) not in there:
                measured["rows"].append(train(method, seed, data, steps=steps))
                write_json_atomically(out, measured)
                say(f"{method}, seed {seed}: accuracy {100 * measured['rows'][-1]['accuracy']:.1f} %")
    return measured


def images_markdown(measured: Mapping[str, Any]) -> str:
    """What `measure` found: a row for each method, then the contrasts, paired by seed."""
    accuracy = {
        method: {row["seed"]: 100 * row["accuracy"] for row in measured["rows"] if row["method"] == method}
        for method in METHODS
    }
    rows = []
    for method in METHODS:
        of = [row for row in measured["rows"] if row["method"] == method]
        rows.append(
            {
                "method": f"`{method}`",
                "n": len(of),
                "test accuracy, %": plus_minus(*mean_interval([100 * row["accuracy"] for row in of]), 1),
                "trained parameters": f"{np.mean([row['parameters'] for row in of]) / 1e6:.2f}M",
                "independent layers": f"{np.mean([TieMap(row['tie_map']).num_independent for row in of]):.1f}",
            }
        )
    points = {
        (one, other): [accuracy[one][seed] - accuracy[other][seed] for seed in accuracy[one] if seed in accuracy[other]]
        for one, other, _ in CONTRASTS
    }
    lost = {pair: [-d for d in differences] for pair, differences in points.items()}  # less is better, as for the gate
    gate = Gate({"shallow-2": lost["conventional", "shallow-2"]}, lost["random", "conventional"])
    differences = [
        {
            "question": question,
            "compared": f"`{one}` minus `{other}`",
            "accuracy, points": f"{plus_minus(*mean_interval(points[one, other]), 1, '+')}: "
            + (verdict if number < 2 else gate.verdict)(lost[one, other]),
        }
        for number, (one, other, question) in enumerate(CONTRASTS)
    ]
    why_not = (
        ""
        if gate.can_tell
        else (
            " By the gate this *cannot tell* what sharing or the agent is worth: for that six layers would have to be "
            "better than two, and ties moved by chance would have to differ from none."
        )
    )
    return (
        f"{markdown_table(rows)}\n\n{markdown_table(differences)}\n\n"
        f"Data: {measured['source']}; {measured['steps']:,} steps with {BATCH} images each.{why_not}"
    )
