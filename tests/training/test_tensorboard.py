from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from onward.errors import ConfigError
from onward.run import Metrics, Run
from onward.training.options import TrainOptions
from onward.training.tensorboard import TensorBoardView
from onward.training.train import run_training
from onward.training.trainer import Trainer
from tests.training.conftest import PrepareRun


def scalars(run: Run, name: str) -> list[tuple[int, float]]:
    """As TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert len(events.Tensors("sample/text_summary")) == len(run.samples())
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_reads_the_metrics_and_a_resumed_run_has_each_once(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("a", "training.checkpoint_every=4", "training.evaluate_every=4")

    class Killed(TensorBoardView):
        def update(self, metrics: Metrics) -> None:
            super().update(metrics)
            if metrics.step == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Killed(run, 8, Console(file=io.StringIO())) as view:
        Trainer(run, config).run(view)
    assert [step for step, _ in scalars(run, "loss")] == [1, 2, 3, 4, 5, 6]
    with TensorBoardView(run, 8, Console(file=io.StringIO())) as view:
        Trainer(run, config).run(view)
    metrics = run.metrics()
    assert scalars(run, "loss") == [(entry.step, pytest.approx(entry.loss)) for entry in metrics]
    evaluated = [(entry.step, pytest.approx(entry.validation_loss)) for entry in metrics if entry.validation_loss]
    assert scalars(run, "validation_loss") == evaluated
    assert len(evaluated) == 2


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"needs the extra \[tensorboard\]; get it with"):
        run_training([], TrainOptions(out=tmp_path / "run", tensorboard=True))
    assert not (tmp_path / "run").exists()
