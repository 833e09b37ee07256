"""Runs that are killed and resumed: how many end in the weights of the run that was not killed, bit for bit?

A run is killed (SIGKILL) after a random time, or at a write, an fsync or a rename on the way to a checkpoint, then
resumed to its end; every second time it is killed once more on the way. The runs have dropout, gradient accumulation,
and Muon or AdamW, in float32 or bfloat16, compiled or not, by turns.
Run: python benchmarks/resume.py [--kills N] [--steps N]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a process that has threads cannot be forked safely
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # and its compiler need not outlive one that is killed

from rich.console import Console

import onward.model.folder
from onward.run import Run
from onward.training.config import RunConfig
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.progress import ProgressView
from onward.training.trainer import Trainer

TEXT = "".join(f"Line {n} is about onward, line {n + 1} about — naïve — 日本.\n" for n in range(200))
KINDS = {
    "Muon, float32": ["training.optimizer=muon"],
    "AdamW, float32": ["training.optimizer=adamw"],
    "Muon, bfloat16": ["training.optimizer=muon", "training.dtype=bfloat16"],
    "Muon, compiled": ["training.optimizer=muon", "training.dtype=float32", "training.compile=true"],
}
TINY = ["model.context_length=16", "model.dropout=0.1", "training.batch_size=4", "training.micro_batch_size=2"]

Attempt = Callable[[Path], None]


def main() -> None:
    """Kill, resume, compare, and print how many ended identical."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wholes = {kind: whole_run(folder / kind.replace(", ", "-"), KINDS[kind], asked.steps) for kind in KINDS}
        identical = 0
        for number in range(asked.kills):
            turn, place = divmod(number, len(KINDS))
            kind = list(KINDS)[place]
            fresh, expected, seconds, n_events = wholes[kind]
            if (turn + place) % 2:
                event = number * n_events // asked.kills
                killing, where = at_event(event), f"at write, fsync or rename {event} of {n_events}"
            else:
                after = chance.uniform(0, seconds)
                killing, where = after_seconds(after), f"after {after:.2f} of {seconds:.2f} s"
            run = folder / "run"
            shutil.copytree(fresh, run)
            killing(run)
            if turn % 4 >= 2:
                after_seconds(chance.uniform(0, seconds))(run)
                where += ", and again"
            resumed = train(run)
            same = resumed == expected
            identical += same
            print(f"{kind:15} killed {where}: {'identical' if same else 'DIFFERENT'}", flush=True)
            shutil.rmtree(run)
    print(f"\n{identical} of {asked.kills} ended identical")


def whole_run(folder: Path, settings: list[str], steps: int) -> tuple[Path, bytes, float, int]:
    """A run that is prepared; the weights at its end, its seconds, and how often it writes, syncs and renames."""
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    run = Run(folder / "run")
    run.folder.mkdir()
    every = [f"training.checkpoint_every={max(steps // 6, 1)}", f"training.evaluate_every={max(steps // 2, 1)}"]
    options = TrainOptions(steps=steps, size="tiny", vocab_size=300, set=[*TINY, *every, *settings])
    prepare(run, [folder / "text.txt"], options, say=io.StringIO().write)
    trained = folder / "trained"
    shutil.copytree(run.folder, trained)
    began = time.perf_counter()
    expected = train(trained)
    seconds = time.perf_counter() - began
    counted = folder / "counted"
    shutil.copytree(run.folder, counted)
    events = folder / "events"
    in_child(lambda: events.write_text(str(count_events(counted))))
    return run.folder, expected, seconds, int(events.read_text())


def train(folder: Path) -> bytes:
    """Train to the end in a process of its own; the weights that come out, as they are in the file."""
    status = in_child(lambda: train_here(folder))
    assert status == 0, f"the run ended with status {status}"
    run = Run(folder)
    return (run.checkpoint_folders()[-1] / "model.safetensors").read_bytes()


def train_here(folder: Path) -> None:
    run = Run(folder)
    config = RunConfig.load(run.config_file)
    Trainer(run, config).run(ProgressView(config.training.steps, Console(file=io.StringIO())))


def after_seconds(seconds: float) -> Attempt:
    """Kill a training after so many seconds."""

    def attempt(folder: Path) -> None:
        in_child(lambda: train_here(folder), seconds)

    return attempt


def at_event(number: int) -> Attempt:
    """Kill a training in the middle of a write, or instead of an fsync or a rename."""

    def attempt(folder: Path) -> None:
        def child() -> None:
            left = itertools.count(number, -1)

            def is_the_one() -> bool:
                return next(left) == 0

            with watched(is_the_one):
                train_here(folder)

        assert in_child(child) == -signal.SIGKILL, f"event {number} did not happen"

    return attempt


def count_events(folder: Path) -> int:
    n_events = itertools.count()

    def never() -> bool:
        next(n_events)
        return False

    with watched(never):
        train_here(folder)
    return next(n_events)


@contextlib.contextmanager
def watched(is_the_one: Callable[[], bool]) -> Iterator[None]:
    """Ask at every write of a whole file, every fsync, rename and removal, whether this process is to die there."""

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def watched_call(*arguments: Any, **options: Any) -> Any:
            if is_the_one():
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return watched_call

    def half_written(call: Callable[..., Any], path_at: int) -> Callable[..., Any]:
        def watched_call(*arguments: Any, **options: Any) -> Any:
            dies = is_the_one()
            result = call(*arguments, **options)
            if dies:
                path = Path(arguments[path_at])
                os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return watched_call

    for name in ("fsync", "rename", "replace", "rmdir", "unlink"):
        setattr(os, name, dying(getattr(os, name)))
    Path.write_text = half_written(Path.write_text, 0)  # type: ignore[method-assign]
    onward.model.folder.save_file = half_written(onward.model.folder.save_file, 1)
    yield  # the process ends after this: nothing is put back


def in_child(work: Callable[[], object], seconds: float | None = None) -> int:
    """Do `work` in a forked process, killed after `seconds`; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
