"""Arrays → pictures."""

from __future__ import annotations

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
        training: steps and losses, of the same length; a running mean is drawn over them.
        validation: steps and losses of the evaluations.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps, losses = training
    axes.plot(steps, losses, color="#9ecae1", linewidth=0.8, label="training, each step")
    axes.plot(steps, _running_mean(losses), color="#08519c", label="training, running mean")
    axes.plot(*validation, color="#d94801", marker="o", label="validation")
    axes.set(title=title, xlabel="step", ylabel="loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _running_mean(values: Sequence[float], weight: float = 0.05) -> list[float]:
    """An exponential mean that starts at the first value."""
    means: list[float] = []
    for value in values:
        means.append(value if not means else (1 - weight) * means[-1] + weight * value)
    return means
