"""How torch's threads should wait for each other: a step of training, alone and beside a busy process.

    python benchmarks/waiting.py

Each way of waiting is a process of its own, since OpenMP reads its variables once. `onward` takes the second way where
nothing else runs when it begins, and the first where something does (onward/threads.py).
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

WAYS = {
    "threads that sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "that spin for a moment": {"GOMP_SPINCOUNT": "10000"},
    "as torch has it": {},
}
STEPS = 25


def main() -> None:
    """Print the milliseconds of a step, the median, for each way of waiting."""
    print(f"{'ms a step':26}{'alone':>10}{'beside a busy process':>26}")
    for name, way in WAYS.items():
        alone = step_milliseconds(way)
        with busy_process():
            beside = step_milliseconds(way)
        print(f"{name:26}{alone:10.0f}{beside:26.0f}", flush=True)


def step_milliseconds(way: dict[str, str]) -> float:
    """The median step of a process that waits in this way."""
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, __file__, "step"]
    return float(subprocess.run(command, env=environment | way, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """Something else that wants a core for itself."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()


def step() -> None:
    """Train 0.8 million parameters on Shakespeare's characters, 1024 at a time; print the median step."""
    from onward.data.text import bundled_text
    from onward.run import Run
    from onward.training.config import RunConfig
    from onward.training.options import TrainOptions
    from onward.training.prepare import prepare
    from onward.training.trainer import Trainer

    settings = ["training.batch_size=16", "model.context_length=64", "training.dtype=float32"]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder)
        options = TrainOptions(steps=STEPS, size="small", tokenizer="characters", set=settings)
        prepare(run, [bundled_text()], options, say=io.StringIO().write)
        trainer = Trainer(run, RunConfig.load(run.config_file))
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            trainer.step()
            times.append(time.perf_counter() - began)
    print(1000 * sorted(times)[STEPS // 2])


if __name__ == "__main__":
    step() if sys.argv[1:] == ["step"] else main()
