from __future__ import annotations

import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

import onward.training.checkpoint as checkpoint
from onward.errors import CheckpointError
from onward.model.folder import read_tensors
from onward.run import Metrics, Run
from onward.training.checkpoint import CheckpointWriter, best_checkpoint, newest_whole
from onward.training.config import RunConfig
from onward.training.evaluate import Evaluation
from onward.training.trainer import Trainer
from tests.conftest import ROOT
from tests.training.conftest import PrepareRun, Quiet, assert_same_weights, train

FILES = ["model.safetensors", "optimizer.safetensors", "trainer.json", "config.json", "tokenizer.json"]


def names(run: Run) -> list[str]:
    return [folder.name for folder in run.checkpoint_folders()]


def test_the_newest_and_the_best_are_kept(prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(Trainer, "evaluate", lambda self: Evaluation(n_tokens=1, n_bytes=1, nats=next(losses)))
    monkeypatch.setattr(Trainer, "_sample", lambda self, view: None)
    run, config = prepare_run("run", "training.checkpoint_every=2", "training.evaluate_every=2")
    train(run, config)
    assert names(run) == ["step-000004", "step-000006", "step-000008"]
    assert best_checkpoint(run) == run.checkpoint_folder(4)


def test_so_many_as_asked_are_kept(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=1", "training.keep_checkpoints=3")
    train(run, config)
    assert names(run) == ["step-000006", "step-000007", "step-000008"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def flatten(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [cut, flip, flatten, Path.unlink])
def test_a_broken_checkpoint_is_skipped_and_named(
    prepare_run: PrepareRun, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=3")
    whole = train(run, config)
    for name in FILES:
        folder = run.checkpoint_folders()[-1]
        damage(folder / name)  # type: ignore[operator]
        view = Quiet(config)
        resumed = Trainer(run, config)
        resumed.run(view)
        shown = view._console.file.getvalue()  # type: ignore[attr-defined]
        assert re.search(rf"a broken checkpoint is skipped: .*{name}.*put aside as broken-step-000008", shown)
        assert "resuming after step 6 of 8" in shown
        assert_same_weights(whole, resumed)


def test_a_broken_manifest_is_a_broken_checkpoint(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=4")
    train(run, config)
    (run.checkpoint_folder(8) / "manifest.json").write_text('{"format": 1, "files": {"a": 3}}')
    folder, faults = newest_whole(run)
    assert folder == run.checkpoint_folder(4)
    assert "manifest.json is broken" in faults[0]


def test_checkpoints_without_a_manifest_are_read(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=4")
    train(run, config)
    for folder in run.checkpoint_folders():
        (folder / "manifest.json").unlink()
    assert newest_whole(run) == (run.checkpoint_folder(8), [])
    cut(run.checkpoint_folder(8) / "model.safetensors")
    folder, faults = newest_whole(run)
    assert folder == run.checkpoint_folder(4)
    assert "model.safetensors is cut short" in faults[0]


def test_a_full_disk_leaves_the_older_checkpoint(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", "training.checkpoint_every=2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(metrics: Metrics) -> None:
        if metrics.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))

    message = r"cannot save .*step-000004: .*File too large.*; .*step-000002 is whole; make room, then .*--resume"
    try:
        with pytest.raises(CheckpointError, match=message):
            train(run, config, after=fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000002"]
    assert_same_weights(train(run, config), train(*prepare_run("whole", "training.checkpoint_every=2")))


def test_what_is_written_is_the_copy_and_nobody_waits_for_it(
    prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = prepare_run("run")
    trainer = Trainer(run, config)
    trainer.step()
    may_write = threading.Event()
    write_tensors = checkpoint.write_tensors

    def slowly(path: Path, tensors: dict[str, Tensor]) -> None:
        assert may_write.wait(60)
        write_tensors(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", slowly)
    before = trainer.model.embed.weight.detach().clone()
    with CheckpointWriter(run, n_kept=1) as writer:
        writer.save(trainer.model, trainer.optimizer, trainer.state)
        trainer.step()
        writer.check()
        assert names(run) == []
        may_write.set()
    assert names(run) == ["step-000001"]
    written = read_tensors(run.checkpoint_folder(1) / "model.safetensors", torch.device("cpu"))["embed.weight"]
    assert torch.equal(written, before)
    assert not torch.equal(trainer.model.embed.weight, before)


def test_killed_anywhere_and_resumed_ends_in_the_same_weights() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "resume.py", "--kills", "6", "--steps", "6"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.endswith("\n6 of 6 ended identical\n"), printed


def test_a_checkpoint_of_another_model_is_refused(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run")
    other, _ = prepare_run("other", "model.n_layers=1")
    train(run, config)
    run.config_file.write_bytes(other.config_file.read_bytes())
    with pytest.raises(CheckpointError, match="holds another model than run.toml describes"):
        train(run, RunConfig.load(run.config_file))
