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


def test_whoever_only_looks_keeps_nobody_from_training(run: Run) -> None:
    assert not run.is_training()
    with run.lock():
        assert run.is_training()
    assert not run.is_training()
    with run.lock():
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\xfe",
        b"[]",
        b"7",
        b'"step"',
        b'{"step": "1"}',
        b'{"step": 1' + 400 * b"0" + b"}",
        b"[" * 50_000,
        b"x" * 99_999,
    ],
)
def test_lines_that_are_none(run: Run, line: bytes) -> None:
    with run.metrics_file.open("ab") as file:
        file.write(line + b"\n")
    for read in (run.metrics, run.milestones):
        with pytest.raises(RunError, match=r"metrics\.jsonl, line \d+: not a line of metrics"):
            read()


def test_milestones_are_the_evaluations_and_the_last_step(run: Run) -> None:
    assert [entry.step for entry in run.milestones()] == [3, 6, 8]
    run.record(metrics(9, validation_loss=2.0))
    assert [entry.step for entry in run.milestones()] == [3, 6, 9]


def test_fields_of_a_later_onward_are_left_out(run: Run) -> None:
    first, *others = run.metrics_file.read_text().splitlines()
    run.metrics_file.write_text("\n".join([first[:-1] + ', "flops": {"a": 1}}', *others, ""]))
    assert run.metrics()[0] == metrics(1)
    run.forget_after(1)
    assert "flops" in run.metrics_file.read_text()


def test_samples_round_trip_and_broken_ones_are_shown(run: Run) -> None:
    assert run.samples() == [(step, f"what it wrote after {step}") for step in range(1, 9)]
    run.add_sample(9, "\nlines\n\n")
    assert run.samples()[-1] == (9, "\nlines\n\n")
    run.samples_file.write_bytes(b"\xff\n--- step 3\n\xff\n--- step " + b"9" * 5000)
    assert run.samples() == [(3, "\ufffd\n--- step " + "9" * 5000)]
    assert Run(run.folder / "nowhere").samples() == []
