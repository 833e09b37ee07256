from __future__ import annotations

import dataclasses
import io
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from onward.errors import CheckpointError, NonFiniteError, RunError
from onward.model.folder import own_weights
from onward.run import Metrics, Run
from onward.training.config import RunConfig
from onward.training.progress import ProgressView
from onward.training.trainer import Trainer
from tests.training.conftest import PrepareRun


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


def test_one_batch_is_learned_by_heart(prepare_run: PrepareRun) -> None:
    trainer = Trainer(*prepare_run("run", steps=60))
    batch = trainer.batches.at(0)
    trainer.batches.at = lambda step: batch  # type: ignore[method-assign]
    losses = [trainer.step().loss for _ in range(60)]
    assert losses[0] > 5.0
    assert losses[-1] < 0.1


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_same_config_same_weights(prepare_run: PrepareRun, optimizer: str) -> None:
    runs = [prepare_run(name, f"training.optimizer={optimizer}") for name in ("a", "b")]
    one, other = (train(*run) for run in runs)
    assert_same_weights(one, other)
    assert timeless(runs[0][0]) == timeless(runs[1][0])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop_after", [1, 4, 5])
def test_stopped_and_resumed_is_as_never_stopped(prepare_run: PrepareRun, optimizer: str, stop_after: int) -> None:
    settings = [f"training.optimizer={optimizer}", "training.checkpoint_every=3", "training.evaluate_every=2"]
    settings.append("model.dropout=0.2")
    whole, stopped = prepare_run("whole", *settings), prepare_run("stopped", *settings)

    def kill(metrics: Metrics) -> None:
        if metrics.step == stop_after:
            raise RuntimeError("killed")  # after the metrics are written, before any checkpoint of this step

    with pytest.raises(RuntimeError, match="killed"):
        train(*stopped, after=kill)
    assert_same_weights(train(*whole), train(*stopped))
    assert timeless(whole[0]) == timeless(stopped[0])


@pytest.mark.parametrize(("number", "ends_with"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signals_save_the_step_and_end(
    prepare_run: PrepareRun, number: signal.Signals, ends_with: type[BaseException]
) -> None:
    whole, stopped = prepare_run("whole"), prepare_run("stopped")

    def interrupt(metrics: Metrics) -> None:
        if metrics.step == 5:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.raises(ends_with):
        train(*stopped, after=interrupt)
    assert signal.getsignal(number) is handler
    assert stopped[0].checkpoint_folders()[-1].name == "step-000005"
    assert_same_weights(train(*whole), train(*stopped))


def test_micro_batches_sum_to_the_batch(prepare_run: PrepareRun) -> None:
    one = Trainer(*prepare_run("one"))
    many = Trainer(*prepare_run("many", "training.micro_batch_size=1"))
    for _ in range(3):
        a, b = one.step(), many.step()
        assert math.isclose(a.loss, b.loss, rel_tol=1e-4)
        assert math.isclose(a.gradient_norm, b.gradient_norm, rel_tol=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=2", "training.evaluate_every=4")
    trainer = Trainer(run, config)

    def poison(metrics: Metrics) -> None:
        if metrics.step == 3:
            torch.nn.init.constant_(trainer.model.embed.weight, math.nan)

    with pytest.raises(NonFiniteError, match=r"step 4: the loss is nan .*step-000002; train anew .*learning_rate="):
        trainer.run(Quiet(config, poison))
    assert [folder.name for folder in run.checkpoint_folders()] == ["step-000002"]


def test_two_checkpoints_are_kept(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=2")
    train(run, config)
    assert [folder.name for folder in run.checkpoint_folders()] == ["step-000006", "step-000008"]


def test_a_full_disk_leaves_the_older_checkpoint(prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=2")

    def fill_disk(metrics: Metrics) -> None:
        if metrics.step == 4:

            def fsync(descriptor: int) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "fsync", fsync)

    message = r"cannot save .*step-000004: No space left on device; .*step-000002 is whole; make room, then .*--resume"
    with pytest.raises(CheckpointError, match=message):
        train(run, config, after=fill_disk)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000002"]
    monkeypatch.undo()
    assert_same_weights(train(run, config), train(*prepare_run("whole", "training.checkpoint_every=2")))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "trainer.json", "config.json"])
def test_a_truncated_checkpoint_is_named_with_the_way_out(prepare_run: PrepareRun, name: str) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=3")
    train(run, config)
    last = run.checkpoint_folders()[-1]
    whole = (last / name).read_bytes()
    (last / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=rf"{name}.*delete .*step-000008 to go on from step-000006"):
        train(run, config)


def test_a_checkpoint_of_another_model_is_refused(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run")
    other, _ = prepare_run("other", "model.n_layers=1")
    train(run, config)
    run.config_file.write_bytes(other.config_file.read_bytes())
    with pytest.raises(CheckpointError, match="holds another model than run.toml describes"):
        train(run, RunConfig.load(run.config_file))


def test_one_trainer_a_folder(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run")
    with run.lock(), pytest.raises(RunError, match="another process trains in"):
        train(run, config)


def test_what_a_run_leaves(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.evaluate_every=4")
    train(run, config)
    lines = run.metrics()
    assert [entry.step for entry in lines] == list(range(1, 9))
    assert [entry.step for entry in lines if entry.validation_bits_per_byte is not None] == [4, 8]
    assert lines[-1].tokens == 8 * 4 * 16
    assert run.last_evaluation() == lines[-1]
    assert run.samples_file.read_text(encoding="utf-8").count("--- step ") == 2


def test_bfloat16_learns_too(prepare_run: PrepareRun) -> None:
    trainer = Trainer(*prepare_run("run", "training.dtype=bfloat16", steps=30))
    losses = [trainer.step().loss for _ in range(30)]
    assert losses[-1] < losses[0] - 1
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_nothing_is_read_that_was_not_written(prepare_run: PrepareRun, dtype: str, optimizer: str) -> None:
    """Memory that torch hands out is filled with NaN: were any of it read, the steps would not be as without."""
    run = prepare_run("run", f"training.dtype={dtype}", f"training.optimizer={optimizer}", "model.dropout=0.1")
    trainers = [Trainer(*run)]
    plain = [dataclasses.replace(trainers[0].step(), seconds=0.0) for _ in range(4)]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(3).isnan().all()
        trainers.append(Trainer(*run))
        filled = [dataclasses.replace(trainers[1].step(), seconds=0.0) for _ in range(4)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert filled == plain
    assert_same_weights(*trainers)


def test_the_folder_can_be_moved(prepare_run: PrepareRun, tmp_path: Path) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=3")
    with pytest.raises(RuntimeError):
        train(run, config, after=lambda metrics: (_ for _ in ()).throw(RuntimeError) if metrics.step == 4 else None)
    moved = Run(run.folder.rename(tmp_path / "elsewhere"))
    assert_same_weights(train(moved, config), train(*prepare_run("whole", "training.checkpoint_every=3")))
