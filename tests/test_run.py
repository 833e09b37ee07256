from __future__ import annotations

from pathlib import Path

import pytest

from onward.errors import RunError
from onward.run import Metrics, Run


def metrics(step: int, validation_loss: float | None = None) -> Metrics:
    return Metrics(
        step=step,
        tokens=10 * step,
        seconds=0.5 * step,
        loss=1 / step,
        learning_rate_share=1.0,
        gradient_norm=2.0,
        validation_loss=validation_loss,
        validation_bits_per_byte=validation_loss,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path)
    for step in range(1, 9):
        made.record(metrics(step, validation_loss=3.0 if step % 3 == 0 else None))
        made.add_sample(step, f"what it wrote after {step}")
    return made


def test_metrics_round_trip(run: Run) -> None:
    assert run.metrics() == [metrics(step, 3.0 if step % 3 == 0 else None) for step in range(1, 9)]
    assert run.last_evaluation() == metrics(6, 3.0)
    assert Run(run.folder / "nowhere").last_evaluation() is None


def test_what_a_kill_cut_short_is_forgotten(run: Run) -> None:
    with run.metrics_file.open("a") as file:
        file.write('{"step": 9, "lo')
    assert len(run.metrics()) == 8
    run.forget_after(6)
    assert [entry.step for entry in run.metrics()] == [1, 2, 3, 4, 5, 6]
    samples = run.samples_file.read_text()
    assert "after 6" in samples
    assert "after 7" not in samples


def test_a_line_that_is_none_is_named(run: Run) -> None:
    run.metrics_file.write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1: not a line of metrics"):
        run.metrics()


def test_only_checkpoints_count_as_checkpoints(run: Run) -> None:
    for name in ("step-000010", "step-000002", "step-1000000", "step-000002.bak", "step-x", "notes"):
        (run.checkpoints / name).mkdir(parents=True)
    names = [folder.name for folder in run.checkpoint_folders()]
    assert names == ["step-000002", "step-000010", "step-1000000"]


def test_one_lock_a_folder(run: Run) -> None:
    with run.lock(), pytest.raises(RunError, match="another process trains in"), run.lock():
        pass
    with run.lock():
        pass
