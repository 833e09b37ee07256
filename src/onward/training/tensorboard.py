"""A run in TensorBoard's files, on request: what metrics.jsonl and samples.txt hold, as they come."""

from __future__ import annotations

import dataclasses
import shutil
from types import TracebackType
from typing import Any

from rich.console import Console

from onward.errors import ConfigError
from onward.run import Metrics, Run
from onward.training.progress import ProgressView

_SECONDS_BETWEEN_WRITES = 5


def summary_writer() -> Any:
    """The class that writes TensorBoard's files: torch's, with the package tensorboard.

    Raises:
        ConfigError: the package is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "--tensorboard needs the extra [tensorboard]; get it with: pip install 'onward[tensorboard]'"
        ) from None
    return SummaryWriter


class TensorBoardView(ProgressView):
    """The progress in the terminal, and TensorBoard's files in the run's folder `tensorboard/`.

    They are written anew from all metrics when the run is taken up, so that they never disagree with it, and a run
    that was begun without them has them whole.
    """

    def __init__(self, run: Run, n_steps: int, console: Console) -> None:
        super().__init__(n_steps, console)
        self._run = run
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Write what the run has so far."""
        super().begin(step)
        shutil.rmtree(self._run.tensorboard, ignore_errors=True)
        self._writer = summary_writer()(self._run.tensorboard, flush_secs=_SECONDS_BETWEEN_WRITES)
        for metrics in self._run.metrics():
            self._add(metrics)
        for at, text in self._run.samples():
            self._add_sample(at, text)

    def update(self, metrics: Metrics) -> None:
        """Show and write what is known after one more step."""
        super().update(metrics)
        self._add(metrics)

    def sample(self, step: int, text: str) -> None:
        """Show and write what the model writes after `step`."""
        super().sample(step, text)
        self._add_sample(step, text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        if self._writer is not None:
            self._writer.close()

    def _add(self, metrics: Metrics) -> None:
        # TensorBoard takes times since 1970; the run's own time is what its axis "relative" is to show.
        time = self._run.config_file.stat().st_mtime + metrics.seconds
        for name, value in dataclasses.asdict(metrics).items():
            if value is not None and name not in ("step", "seconds"):
                self._writer.add_scalar(name, value, metrics.step, walltime=time)

    def _add_sample(self, step: int, text: str) -> None:
        # Its page reads Markdown: lines that are set in by four blanks are shown as they are.
        self._writer.add_text("sample", "\n".join("    " + line for line in text.splitlines()), step)
