"""Arrays → pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onward.atomic import atomic_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_DARK: dict[Any, Any] = {
    "figure.facecolor": "#171b21",
    "axes.facecolor": "#171b21",
    "savefig.facecolor": "#171b21",
    "axes.edgecolor": "#5b6573",
    "axes.labelcolor": "#d4dae1",
    "axes.titlecolor": "#d4dae1",
    "text.color": "#d4dae1",
    "xtick.color": "#aeb7c2",
    "ytick.color": "#aeb7c2",
    "grid.color": "#8b95a2",
}
_MOST_POINTS = 2000  # of a line: more than a picture has columns
_MOST_MARKERS = 30


@contextlib.contextmanager
def dark() -> Iterator[None]:
    """Draw for a dark page."""
    from matplotlib import rc_context

    with rc_context(_DARK):
        yield


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
    axes.plot(steps, moving_mean(losses), color="#08519c", label="training, moving mean")
    axes.plot(*validation, color="#d94801", marker="o", label="validation")
    axes.set_title(title, parse_math=False)
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


class Line(NamedTuple):
    """A line of a panel; values that are NaN are left out."""

    label: str
    """Lines of the same label have one colour, in all panels of a picture."""
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False
    """Whether it is thin, and no entry of the legend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes with lines."""

    x: str
    """What is told along the x axis."""
    y: str
    """What is told along the y axis."""
    lines: list[Line]
    title: str = ""


def curves(path: Path, panels: Sequence[Panel], *, n_columns: int) -> None:
    """Draw lines over each other in panels, with one legend for all, as a PNG.

    Args:
        path: where the picture goes.
        panels: row by row.
        n_columns: panels in a row.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    n_rows = math.ceil(len(panels) / n_columns)
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    n_legend_rows = math.ceil(len(labels) / n_columns) if len(labels) > 1 else 0
    figure = Figure(figsize=(4.6 * n_columns, 3.4 * n_rows + 0.22 * n_legend_rows), dpi=150, layout="constrained")
    shades = colormaps["Set2" if _is_dark() else "tab10"]
    if len(labels) > shades.N:
        shades = colormaps["turbo"].resampled(len(labels))
    handles: dict[str, Any] = {}
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(n_rows, n_columns, number)
        for line in panel.lines:
            x, y = _thinned(line)
            colour = shades(labels.index(line.label))
            style: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.45} if line.faint else {"linewidth": 1.6}
            if not line.faint and len(x) <= _MOST_MARKERS:
                style |= {"marker": "o", "markersize": 3.5}
            (drawn,) = axes.plot(x, y, color=colour, **style)
            if not line.faint:
                handles[line.label] = drawn
        _finish(axes, panel)
    if n_legend_rows:
        below: dict[str, Any] = {"loc": "outside lower center", "ncols": n_columns, "fontsize": 9, "frameon": False}
        legend = figure.legend(list(handles.values()), list(handles), **below)
        for text in legend.get_texts():
            text.set_parse_math(False)
    _save(figure, path)


def _finish(axes: Axes, panel: Panel) -> None:
    """Labels, a grid, and a range that shows the main lines: losses begin far above all that matters later."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.set_title(panel.title, fontsize=11, parse_math=False)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_thousands(value)))
    main = [y for line in panel.lines if not line.faint for y in line.y if math.isfinite(y)]
    if main:
        bottom = axes.get_ylim()[0]
        axes.set_ylim(bottom, max(main) + 0.08 * (max(main) - bottom))


def _in_thousands(value: float) -> str:
    """A number on an axis.

    >>> [_in_thousands(value) for value in (0.5, 2000, 20_000, 1_500_000)]
    ['0.5', '2000', '20k', '1.5M']
    """
    size = abs(value)
    return f"{value / 1e6:g}M" if size >= 1e6 else f"{value / 1e3:g}k" if size >= 1e4 else f"{value:g}"


def _thinned(line: Line) -> tuple[list[float], list[float]]:
    """The points that are numbers, no more of them than a picture shows."""
    points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    every = math.ceil(len(points) / _MOST_POINTS) or 1
    kept = points[::every] if len(points) % every == 1 or every == 1 else [*points[::every], points[-1]]
    return [x for x, _ in kept], [y for _, y in kept]


def attention(path: Path, patterns: NDArray[np.float32], labels: Sequence[str], *, title: str) -> None:
    """Draw every head of every layer in one grid, a row for each layer and a column for each head, as a PNG.

    Args:
        path: where the picture goes.
        patterns: (layer, head, query, key), from 0 to 1; NaN where a key is hidden.
        labels: the token at each position.
        title: a line above it.
    """
    n_layers, n_heads, size, _ = patterns.shape
    gap = max(1, size // 8)
    panel = min(max(1.7, 0.12 * size), 30 / max(n_layers, n_heads))
    # One image for all: hundreds of axes of their own would take minutes to lay out.
    tiles = _tiled(patterns, gap)
    figure, axes = _canvas(panel * tiles.shape[1] / size, panel * tiles.shape[0] / size, title)
    shades = axes.imshow(tiles, cmap=_shades(), norm=_root_norm(), interpolation="nearest")
    every = range(0, size, _label_step(size, panel))
    for ticks, set_labels, panels in (
        (axes.set_xticks, axes.set_xticklabels, n_heads),
        (axes.set_yticks, axes.set_yticklabels, n_layers),
    ):
        ticks([number * (size + gap) + at for number in range(panels) for at in every])
        set_labels([_drawable(labels[at]) for _ in range(panels) for at in every], fontsize=7, parse_math=False)
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=2)
    near: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
    middle = (size - 1) / 2
    for head in range(n_heads):
        at = (head * (size + gap) + middle, -0.5)
        axes.annotate(f"head {head}", at, xytext=(0, 4), ha="center", va="bottom", **near)
    for layer in range(n_layers):
        at = (tiles.shape[1] - 0.5, layer * (size + gap) + middle)
        axes.annotate(f"layer {layer}", at, xytext=(4, 0), ha="left", va="center", rotation=270, **near)
    axes.set(xlabel="key: the token that is looked at", ylabel="query: the token that looks")
    figure.colorbar(shades, cax=_strip(figure, axes), label="attention, on a square-root scale")
    _save(figure, path)


def mask(path: Path, visible: NDArray[np.bool_], labels: Sequence[str], *, title: str) -> None:
    """Draw which keys each query may see, as a PNG.

    Args:
        path: where the picture goes.
        visible: (query, key).
        labels: the token at each position.
        title: a line above it.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    size = len(visible)
    panel = max(2.5, 0.13 * size)
    figure, axes = _canvas(panel, panel, title)
    axes.imshow(visible, cmap=ListedColormap([_hidden(), "#2171b5"]), vmin=0, vmax=1, interpolation="nearest")
    every = range(0, size, _label_step(size, panel))
    axes.set_xticks(every, [_drawable(labels[at]) for at in every], fontsize=7, rotation=90, parse_math=False)
    axes.set_yticks(every, [_drawable(labels[at]) for at in every], fontsize=7, parse_math=False)
    axes.set(xlabel="key: the token that is looked at", ylabel="query: the token that looks")
    patches = [Patch(color="#2171b5", label="seen"), Patch(color=_hidden(), label="hidden")]
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8)
    _save(figure, path)


def tables(path: Path, values: Mapping[str, NDArray[np.float32]], *, rows: str, columns: str) -> None:
    """Draw tables of numbers around 0 side by side, as a PNG.

    Args:
        path: where the picture goes.
        values: two-dimensional arrays by their titles.
        rows: what a row is.
        columns: what a column is.
    """
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 6.5 * len(values), 5.5), dpi=100, layout="constrained")
    for number, (title, table) in enumerate(values.items(), start=1):
        axes = figure.add_subplot(1, len(values), number)
        most, usual = np.abs(table).max() or 1.0, np.quantile(np.abs(table), 0.995)
        limit = usual if 0 < usual < most / 2 else most  # where some numbers stand far out, the scale is the others'
        shades = axes.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axes.set(xlabel=columns, ylabel=rows)
        axes.set_title(title, fontsize=11, parse_math=False)
        figure.colorbar(shades, ax=axes, extend="both" if limit < most else "neither")
    _save(figure, path)


def lens(path: Path, candidates: Sequence[Sequence[tuple[str, float]]], labels: Sequence[str], *, title: str) -> None:
    """Draw a table of tokens and their probabilities, a row for each depth, the deepest on top, as a PNG.

    Args:
        path: where the picture goes.
        candidates: for each depth, at each position: a token and its probability.
        labels: the token at each position.
        title: a line above it.
    """
    n_depths, n_positions = len(candidates), len(labels)
    figure, axes = _canvas(max(0.85 * n_positions, 2.5), 0.3 * n_depths, title)
    probabilities = [[probability for _, probability in row] for row in candidates]
    shades = axes.imshow(probabilities, cmap=_shades(), vmin=0, vmax=1, aspect="auto", origin="lower")
    for depth, row in enumerate(candidates):
        for position, (piece, probability) in enumerate(row):
            colour = "white" if (probability > 0.6) != _is_dark() else "black"
            axes.text(
                position, depth, _drawable(piece), color=colour, ha="center", va="center", fontsize=8, parse_math=False
            )
    axes.set_xticks(
        range(n_positions), [_drawable(label) for label in labels], fontsize=8, rotation=90, parse_math=False
    )
    axes.set_yticks(range(n_depths))
    axes.set(xlabel="after this token", ylabel="blocks passed")
    figure.colorbar(shades, cax=_strip(figure, axes), label="probability")
    _save(figure, path)


def _tiled(patterns: NDArray[np.float32], gap: int) -> NDArray[np.float32]:
    """All patterns in one array, with `gap` columns and rows of -1 between them."""
    import numpy as np

    rows = [
        np.concatenate([np.pad(head, ((0, gap), (0, gap)), constant_values=-1) for head in layer], axis=1)
        for layer in patterns
    ]
    return np.concatenate(rows)[:-gap, :-gap]


def _is_dark() -> bool:
    from matplotlib import rcParams

    return rcParams["figure.facecolor"] == _DARK["figure.facecolor"]


def _hidden() -> str:
    """The colour of a key that is hidden."""
    return "#2b323b" if _is_dark() else "#e4e4e4"


def _shades() -> Any:
    """From the page's own colour, for 0, to the one that is farthest from it."""
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import LinearSegmentedColormap

    page = rcParams["figure.facecolor"]
    blues = LinearSegmentedColormap.from_list("dark blues", [page, "#2a5d96", "#a9d0f5"]) if _is_dark() else "Blues"
    return colormaps.get_cmap(blues).with_extremes(bad=_hidden(), under=page)


def _root_norm() -> Any:
    """From 0 to 1 by the square root: with many tokens, most weights are small, and differ."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0, vmax=1)


def _canvas(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure around axes of this size in inches, with room for labels, whatever the size."""
    from matplotlib.figure import Figure

    left, right, bottom, top = 1.4, 1.3, 1.5, 0.7
    whole = (left + width + right, bottom + height + top)
    figure = Figure(figsize=whole, dpi=100)
    axes = figure.add_axes((left / whole[0], bottom / whole[1], width / whole[0], height / whole[1]))
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(title, x=(left + width / 2) / whole[0], y=1 - 0.2 / whole[1], va="top", parse_math=False)
    return figure, axes


def _strip(figure: Figure, axes: Axes) -> Axes:
    """Axes for a scale, to the right of `axes`."""
    box, (width, height) = axes.get_position(), figure.get_size_inches()
    shown = min(box.height, 4 / height)
    return figure.add_axes((box.x1 + 0.45 / width, box.y1 - shown, 0.15 / width, shown))


def _label_step(n_labels: int, inches: float) -> int:
    """Label every so many-th of these, so that labels of 7 points do not meet."""
    return math.ceil(n_labels * 8 / 72 / inches)


def _drawable(piece: str) -> str:
    """A piece as a label: blanks made visible, cut to a length, without characters that the font lacks."""
    visible = piece.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    visible = visible if len(visible) <= 12 else visible[:11] + "…"
    known = _known_characters()
    return "".join(character if ord(character) in known else "□" for character in visible)


@functools.cache
def _known_characters() -> frozenset[int]:
    """The characters of matplotlib's own font."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def moving_mean(values: Sequence[float]) -> list[float]:
    """The mean around each value, over a fiftieth of all of them, so that it does not lag behind.

    >>> moving_mean([1.0, 3.0])
    [1.0, 3.0]
    """
    reach = len(values) // 100
    sums = [0.0, *itertools.accumulate(values)]
    bounds = [(max(at - reach, 0), min(at + reach + 1, len(values))) for at in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in bounds]
