"""A run that is prepared, and small enough to train in a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onward.run import Run
from onward.training.config import RunConfig
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
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
