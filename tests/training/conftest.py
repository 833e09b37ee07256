"""A run that is prepared, and small enough to train in a moment."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from onward.model.weights import own_weights
from onward.run import Metrics, Run
from onward.training.config import RunConfig
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.progress import ProgressView
from onward.training.trainer import Trainer
from tests.conftest import TINY_TEXT

PrepareRun = Callable[..., tuple[Run, RunConfig]]

_TINY = [
    "model.context_length=16",
    "training.dtype=float32",
    "training.batch_size=4",
    "training.evaluate_every=8",  # each writes a sample, which takes longer than eight steps
]


@pytest.fixture
def prepare_run(tmp_path: Path) -> PrepareRun:
    """Make a run folder: `prepare_run("name", "training.batch_size=2", steps=8)`."""
    (tmp_path / "text.txt").write_text(TINY_TEXT, encoding="utf-8")

    def make(name: str, *settings: str, **options: Any) -> tuple[Run, RunConfig]:
        run = Run(tmp_path / name)
        run.folder.mkdir()
        tiny = [*_TINY, *settings]
        options = {"steps": 8, "size": "tiny", "vocab_size": 300, **options}
        prepare(run, [tmp_path / "text.txt"], TrainOptions(**options, set=tiny), say=lambda line: None)
        return run, RunConfig.load(run.config_file)

    return make


class Quiet(ProgressView):
    """A view that shows nothing, and calls `after` once a step."""

    def __init__(self, config: RunConfig, after: Callable[[Metrics], None] = lambda metrics: None) -> None:
        super().__init__(config.training.steps, Console(file=io.StringIO()))
        self.after = after

    def update(self, metrics: Metrics) -> None:
        super().update(metrics)
        self.after(metrics)


def train(run: Run, config: RunConfig, after: Callable[[Metrics], None] = lambda metrics: None) -> Trainer:
    trainer = Trainer(run, config)
    trainer.run(Quiet(config, after))
    return trainer


def assert_same_weights(one: Trainer, other: Trainer) -> None:
    weights, others = own_weights(one.model), own_weights(other.model)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


def timeless(run: Run) -> list[tuple[int, int, float, float | None]]:
    return [(entry.step, entry.tokens, entry.loss, entry.validation_loss) for entry in run.metrics()]
