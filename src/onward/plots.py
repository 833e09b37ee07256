"""Arrays → pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from onward.atomic import atomic_file


def learning_curve(
    path: Path,
    *,
    title: str,
    training: tuple[Sequence[float], Sequence[float]],
    validation: tuple[Sequence[float], Sequence[float]],
) -> None:
    """Draw the loss of every step and the validation loss, in nats per token, as a PNG.

    Args:
        path: where the picture goes.
        title: a line above it.
        training: steps and losses, of the same length; a moving mean is drawn over them.
        validation: steps and losses of the evaluations.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps, losses = training
    axes.plot(steps, losses, color="#9ecae1", linewidth=0.8, label="training, each step")
    axes.plot(steps, _moving_mean(losses), color="#08519c", label="training, moving mean")
    axes.plot(*validation, color="#d94801", marker="o", label="validation")
    axes.set_title(title, parse_math=False)
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _moving_mean(values: Sequence[float]) -> list[float]:
    """The mean around each value, over a fiftieth of all of them, so that it does not lag behind."""
    reach = len(values) // 100
    sums = [0.0, *itertools.accumulate(values)]
    bounds = [(max(at - reach, 0), min(at + reach + 1, len(values))) for at in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in bounds]
