"""What each part of the recipe is worth: the same run with one thing changed, at equal steps, and the time of a step.

At 0.8 M parameters on Shakespeare's characters; at 10 M and 40 M on the tokens of a text that you give, a hundred
megabytes or more. The loss is that of text set aside, in windows: all of Shakespeare's, or the first 65,536 tokens.

A row that is in the output file already is kept, so that a run which was stopped goes on. Loss at equal steps does not
depend on what else the machine does; the processor's seconds of a step do, a little.
Run: python benchmarks/recipe.py [--scale 10M --text FILE] [--out runs/recipe.jsonl] [--steps N] [--seeds 1 2]
[--rows NAME …] [--picture curves.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onward.data.text import bundled_text
from onward.model.linear import Linear
from onward.plots import Line, Panel
from onward.plots import curves as draw
from onward.run import Run
from onward.training import muon
from onward.training.config import RunConfig
from onward.training.evaluate import evaluate
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.trainer import Trainer

MOMENTUM = muon._MOMENTUM
WHOLE = ["training.threads=1", "training.dtype=float32"]
SCALES = {
    "0.8M": ("small", "characters", ["training.batch_size=16", "model.context_length=64"]),
    "10M": ("base", "bpe", ["training.batch_size=8"]),
    "40M": ("base", "bpe", ["training.batch_size=8", "model.n_layers=8", "model.d_model=640", "model.n_heads=10"]),
}
"""Size, tokenizer and settings of all rows."""

EVALUATION_TOKENS = 65_536
ROWS: dict[str, list[str]] = {
    "the recipe": [],
    "half the learning rate of matrices": [],
    "twice the learning rate of matrices": [],
    "AdamW instead of Muon": ["training.optimizer=adamw"],
    "Muon remembers longer: momentum 0.95": [],
    "no zeros at the end of each branch": [],
    "no zeros in the unembedding": [],
    "no norm of queries and keys": ["model.qk_norm=false"],
    "no norm of the embeddings": ["model.embed_norm=false"],
    "GELU": ["model.activation=gelu"],
    "squared ReLU": ["model.activation=relu_squared"],
    "learned positions": ["model.positions=learned"],
    "tied embeddings": ["model.tied_embeddings=true"],
    "LayerNorm": ["model.norm=layer"],
    "four heads": ["model.n_heads=4"],
    "cosine": ["training.schedule=cosine"],
    "warmup, stable, decay": ["training.schedule=wsd", "training.cooldown=0.4"],
    "no weight decay": ["training.weight_decay=0.0"],
    "five times the weight decay": ["training.weight_decay=0.1"],
    "no clipping": ["training.clip_norm=1000.0"],
    "half the batch": ["training.batch_size=8"],
    "twice the batch": ["training.batch_size=32"],
    "products in bfloat16": ["training.dtype=bfloat16"],
}
"""What is changed, by the name of the row."""

FILLED = {
    "no zeros at the end of each branch": ("o_proj", "down_proj"),
    "no zeros in the unembedding": ("unembed",),
}
"""The layers that begin with the random weights of the others, in these rows, rather than with zeros."""

LEARNING_RATES = {"half the learning rate of matrices": 0.5, "twice the learning rate of matrices": 2.0}
"""What the learning rate is multiplied by, in these rows."""


def main() -> None:
    """Measure the rows that are missing, and print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="0.8M", choices=list(SCALES))
    parser.add_argument("--text", type=Path, default=bundled_text())
    parser.add_argument("--out", type=Path, default=Path("runs/recipe.jsonl"))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--picture", type=Path, help="the loss in training, step by step, of the first seed")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    found = [row for row in map(json.loads, lines) if "losses" in row]  # those without were of another recipe
    measured = {(row["name"], row["seed"], row["steps"]): row for row in found if row["scale"] == asked.scale}
    for seed in asked.seeds:
        for name in asked.rows:
            if (name, seed, asked.steps) not in measured:
                row = measure(asked.scale, asked.text, name, seed, asked.steps)
                measured[name, seed, asked.steps] = row
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{name}, seed {seed}: {row['loss']:.4f}", flush=True)
    base = [measured[name, seed, asked.steps] for name in asked.rows[:1] for seed in asked.seeds]
    print(f"\n{'':38}{'loss':>8}{'change':>9}{'spread':>8}{'ms a step':>11}")
    for name in asked.rows:
        rows = [measured[name, seed, asked.steps] for seed in asked.seeds]
        losses = [row["loss"] for row in rows]
        change = statistics.mean(losses) - statistics.mean(row["loss"] for row in base)
        milliseconds = min(row["milliseconds"] for row in rows)
        spread = max(losses) - min(losses)
        print(f"{name:38}{statistics.mean(losses):8.4f}{change:+9.4f}{spread:8.4f}{milliseconds:11.0f}")
    if asked.picture:
        curves = [(name, measured[name, asked.seeds[0], asked.steps]["losses"]) for name in asked.rows]
        lines = [Line(name, range(1, asked.steps + 1), losses) for name, losses in curves]
        draw(asked.picture, [Panel(x="step", y="training loss (nats a token)", lines=lines)], n_columns=1)


def measure(scale: str, text: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one row, and say its loss and the processor's milliseconds of a step, the lower quartile."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder)
        size, tokenizer, settings = SCALES[scale]
        given = [*WHOLE, *settings, *ROWS[name]]
        options = TrainOptions(steps=steps, seed=seed, size=size, tokenizer=tokenizer, set=given)
        prepare(run, [text], options, say=io.StringIO().write)
        config = RunConfig.load(run.config_file)
        learning_rate = config.training.learning_rate * LEARNING_RATES.get(name, 1.0)
        training = dataclasses.replace(config.training, learning_rate=learning_rate)
        trainer = Trainer(run, dataclasses.replace(config, training=training))
        muon._MOMENTUM = 0.95 if name.startswith("Muon remembers") else MOMENTUM
        fill(trainer.model, FILLED.get(name, ()), seed)
        seconds, losses = [], []
        for _ in range(steps):
            began = time.process_time()
            losses.append(trainer.step().loss)
            seconds.append(time.process_time() - began)
        most_tokens = None if scale == "0.8M" else EVALUATION_TOKENS
        loss = evaluate(trainer.model, trainer.validation_text, most_tokens=most_tokens).loss
    quick = sorted(seconds)[len(seconds) // 4]
    row = {"scale": scale, "name": name, "seed": seed, "steps": steps, "loss": loss, "milliseconds": 1000 * quick}
    return {**row, "losses": [round(loss, 4) for loss in losses]}


@torch.no_grad()
def fill(model: nn.Module, names: tuple[str, ...], seed: int) -> None:
    """Give the linear layers of these names, which begin at zero, the random weights of the others."""
    random = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, Linear) and name.split(".")[-1] in names:
            nn.init.normal_(module.weight, std=0.5 * module.in_features**-0.5, generator=random)


if __name__ == "__main__":
    main()
