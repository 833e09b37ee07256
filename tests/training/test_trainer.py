from __future__ import annotations

import dataclasses
import itertools
import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch.testing._internal.distributed.fake_pg import FakeStore

from onward.errors import NonFiniteError, RunError
from onward.run import Metrics, Run
from onward.training.evaluate import Evaluation
from onward.training.speed import flops_a_token
from onward.training.train import summary
from onward.training.trainer import Trainer, random_seed
from tests.training.conftest import PrepareRun, Quiet, assert_same_weights, timeless, train


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


def test_chance_is_drawn_by_seed_purpose_step_micro_batch_and_rank(prepare_run: PrepareRun) -> None:
    keys = itertools.product((1, 2), ("dropout", "noise"), (0, 1), (0, 1), (0, 1))
    seeds = {random_seed(seed, purpose, step, part, rank) for seed, purpose, step, part, rank in keys}
    assert len(seeds) == 32
    prepared = prepare_run("run", "model.dropout=0.2")

    def losses() -> list[float]:
        trainer = Trainer(*prepared)
        return [trainer.step().loss for _ in range(3)]  # the branches begin at zero: nothing is dropped at first

    def losses_at(rank: int) -> list[float]:
        torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=2)
        try:
            return losses()
        finally:
            torch.distributed.destroy_process_group()

    assert losses_at(0) == losses()
    assert losses_at(1) != losses()


def test_micro_batches_sum_to_the_batch(prepare_run: PrepareRun) -> None:
    one = Trainer(*prepare_run("one"))
    many = Trainer(*prepare_run("many", "training.micro_batch_size=1"))
    for _ in range(3):
        a, b = one.step(), many.step()
        assert math.isclose(a.loss, b.loss, rel_tol=1e-4)
        assert math.isclose(a.gradient_norm, b.gradient_norm, rel_tol=1e-3)


@pytest.mark.parametrize("stop_after", [3, 5, None])
def test_stops_when_validation_stops_improving(
    prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch, stop_after: int | None
) -> None:
    """At steps 2, 4, 6, 8 the loss is 3, 2, 2, 1; with a patience of 1 step 6 is the last, resumed or not."""
    losses = {2: 3.0, 4: 2.0, 6: 2.0, 8: 1.0}
    monkeypatch.setattr(
        Trainer, "evaluate", lambda self: Evaluation(n_tokens=1, n_bytes=1, nats=losses[self.state.step])
    )
    monkeypatch.setattr(Trainer, "_sample", lambda self, view: None)
    settings = ["training.patience=1", "training.evaluate_every=2", "training.checkpoint_every=3"]
    run, config = prepare_run("run", *settings)

    def kill(metrics: Metrics) -> None:
        if metrics.step == stop_after:
            raise RuntimeError("killed")

    if stop_after is not None:
        with pytest.raises(RuntimeError, match="killed"):
            train(run, config, after=kill)
    for _ in range(2):  # the second time, there is nothing left to do
        assert train(run, config).state.step == 6
    assert run.metrics()[-1].step == 6
    assert run.checkpoint_folders()[-1].name == "step-000006"
    assert "6 steps" in summary(run, config)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=2", "training.evaluate_every=4")
    trainer = Trainer(run, config)

    def poison(metrics: Metrics) -> None:
        if metrics.step == 3:
            torch.nn.init.constant_(trainer.model.embed.weight, math.nan)

    with pytest.raises(NonFiniteError, match=r"step 4: the loss is nan .*step-000002; train anew .*learning_rate="):
        trainer.run(Quiet(config, poison))
    assert [folder.name for folder in run.checkpoint_folders()] == ["step-000002"]


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


def test_metrics_tell_the_speed(prepare_run: PrepareRun) -> None:
    trainer = Trainer(*prepare_run("run"))
    metrics = trainer.step()
    assert metrics.tokens_per_second is not None
    assert metrics.flops_per_second is not None
    assert metrics.peak_share is not None
    flops = flops_a_token(trainer.model.config)
    assert metrics.flops_per_second / metrics.tokens_per_second == pytest.approx(flops)
    assert 0 < metrics.peak_share < 1
    assert metrics.flops_per_second / metrics.peak_share == pytest.approx(trainer.config.peak_flops)


def test_a_clock_that_jumps_is_not_looked_at(prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch) -> None:
    days = iter(range(10**9, 0, -86400))
    monkeypatch.setattr(time, "time", lambda: float(next(days)))
    run, config = prepare_run("run", "training.checkpoint_every=3", steps=None, minutes=0.2)
    train(run, dataclasses.replace(config, training=dataclasses.replace(config.training, steps=6)))
    seconds = [entry.seconds for entry in run.metrics()]
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] < 60


def test_bfloat16_learns_too(prepare_run: PrepareRun) -> None:
    trainer = Trainer(*prepare_run("run", "training.dtype=bfloat16", steps=30))
    losses = [trainer.step().loss for _ in range(30)]
    assert losses[-1] < losses[0] - 1
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def learned(metrics: Metrics) -> tuple[float, float]:
    """What does not depend on the time that the step took."""
    return metrics.loss, metrics.gradient_norm


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_nothing_is_read_that_was_not_written(prepare_run: PrepareRun, dtype: str, optimizer: str) -> None:
    """Memory that torch hands out is filled with NaN: were any of it read, the steps would not be as without."""
    run = prepare_run("run", f"training.dtype={dtype}", f"training.optimizer={optimizer}", "model.dropout=0.1")
    trainers = [Trainer(*run)]
    plain = [learned(trainers[0].step()) for _ in range(4)]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(3).isnan().all()
        trainers.append(Trainer(*run))
        filled = [learned(trainers[1].step()) for _ in range(4)]
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
