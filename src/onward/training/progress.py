"""A run as one watches it: live in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

from onward.run import Metrics

_SECONDS_BETWEEN_LINES = 10.0
_SAMPLE_LINES = 5
_WIDTH_WITH_BAR = 110
_BAR_WIDTH = 16


class ProgressView:
    """Step, time left, loss, bits per byte and speed, and now and then a sample of text."""

    def __init__(self, n_steps: int, console: Console) -> None:
        self._n_steps = n_steps
        self._console = console
        self._live = console.is_terminal
        self._bits_per_byte: float | None = None
        self._first: Metrics | None = None
        self._last_line = 0.0
        columns: list[ProgressColumn] = [TextColumn("step {task.completed:.0f}/{task.total:.0f}  {task.description}")]
        if console.width >= _WIDTH_WITH_BAR:
            columns.insert(0, BarColumn(bar_width=_BAR_WIDTH))
        self._bar = Progress(
            *columns,
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=n_steps)

    def __enter__(self) -> ProgressView:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def begin(self, step: int) -> None:
        """Say where the run is taken up, if that is not at its beginning."""
        if step:
            self.note(f"resuming after step {step} of {self._n_steps}")

    def update(self, metrics: Metrics) -> None:
        """Show what is known after one more step."""
        self._first = self._first or metrics
        if metrics.validation_bits_per_byte is not None:
            self._bits_per_byte = metrics.validation_bits_per_byte
        line = self._figures(metrics, self._first)
        self._bar.update(self._task, completed=metrics.step, description=line)
        now = time.monotonic()
        is_due = metrics.validation_loss is not None or now - self._last_line > _SECONDS_BETWEEN_LINES
        if not self._live and is_due:
            self._last_line = now
            self.note(f"step {metrics.step}/{self._n_steps}  {line}")

    def sample(self, step: int, text: str) -> None:
        """Show what the model writes after `step`."""
        self.note(f"  after step {step} it writes:")
        for line in list(filter(str.strip, text.splitlines()))[:_SAMPLE_LINES]:
            self._console.print(f"  [dim]│ {escape(line)}[/dim]", highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Show a line."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def _figures(self, metrics: Metrics, first: Metrics) -> str:
        """Time left, loss, bits per byte and speed, in one line; on a narrow terminal, as many as it has room for."""
        figures = [f"loss {metrics.loss:.3f}"]
        if self._bits_per_byte is not None:
            figures.append(f"validation {self._bits_per_byte:.3f} bits/byte")
        if metrics.step > first.step:
            seconds = metrics.seconds - first.seconds
            left = seconds / (metrics.step - first.step) * (self._n_steps - metrics.step)
            figures.insert(0, f"{clock(round(left))} left")
            figures += speed(metrics, (metrics.tokens - first.tokens) / max(seconds, 1e-9))
        room = self._console.width - len(f"step {self._n_steps}/{self._n_steps}  ")
        if self._console.width >= _WIDTH_WITH_BAR:
            room -= _BAR_WIDTH + 1
        while self._live and len(figures) > 1 and len("  ".join(figures)) > room:
            figures.pop()
        return "  ".join(figures)


def speed(metrics: Metrics, tokens_per_second: float) -> list[str]:
    """Tokens a second, and what they are in floating-point operations and as a share of the machine's peak.

    Args:
        metrics: of a step, which say how many operations a token takes.
        tokens_per_second: over many steps, all that is done between them included.

    >>> step = Metrics(step=9, tokens=900, seconds=1.0, loss=2.0, learning_rate_share=1.0, gradient_norm=1.0,
    ...                tokens_per_second=1000.0, flops_per_second=8e9, peak_share=0.5)
    >>> speed(step, 900.0)
    ['900 tokens/s', '7.2 GFLOP/s', '45 % of the peak']
    """
    figures = [f"{tokens_per_second:,.0f} tokens/s"]
    slower = tokens_per_second / metrics.tokens_per_second if metrics.tokens_per_second else 0.0
    if metrics.flops_per_second is not None:
        billions = slower * metrics.flops_per_second / 1e9
        figures.append(f"{billions:,.{0 if billions >= 10 else 1}f} GFLOP/s")
    if metrics.peak_share is not None:
        figures.append(f"{100 * slower * metrics.peak_share:.0f} % of the peak")
    return figures


def clock(seconds: float) -> str:
    """A length of time.

    >>> clock(59.9), clock(3723)
    ('0:59', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
