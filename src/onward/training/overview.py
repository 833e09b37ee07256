"""Runs side by side: how far each has come, how good it is, and what was set differently."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from onward import plots
from onward.config import to_dict
from onward.errors import OnwardError, RunError
from onward.run import Metrics, Run
from onward.training.config import RunConfig
from onward.training.progress import clock

_UNKNOWN = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overview:
    """What there is to say about a run in one line."""

    run: Run
    config: RunConfig
    state: Literal["running", "finished", "stopped"]
    """Whether a process trains it now; if not, whether it came to its end."""
    last: Metrics | None
    """The metrics of the last step."""
    best: Metrics | None
    """The metrics of the evaluation with the lowest validation loss."""
    n_parameters: int | None
    """How many numbers the newest checkpoint's model has, its adapters among them; None without a checkpoint."""
    n_bytes: int
    """Room on the disk."""

    @classmethod
    def of(cls, run: Run) -> Overview:
        """Look at a run, which may be training at this moment.

        Raises:
            ConfigError: its run.toml is missing, broken, or of another version.
            RunError: its metrics are broken.
        """
        config = RunConfig.load(run.config_file)
        is_training = run.is_training()  # before its metrics: what ends in between has all of them
        milestones = run.milestones()
        evaluated = [entry for entry in milestones if math.isfinite(_loss(entry))]
        best = min(evaluated, key=_loss, default=None)
        last = milestones[-1] if milestones else None
        state: Literal["running", "finished", "stopped"] = "running" if is_training else "stopped"
        if last is not None and not is_training:
            stale = len(evaluated) - 1 - evaluated.index(best) if best else 0
            patience = config.training.patience
            if last.step >= config.training.steps or 0 < patience <= stale:
                state = "finished"
        return cls(
            run=run,
            config=config,
            state=state,
            last=last,
            best=best,
            n_parameters=_stored_parameters(run, config),
            n_bytes=sum(_file_sizes(run.folder)),
        )


def find_runs(folder: Path) -> list[Run]:
    """The runs in `folder`, or the one that it is, by name; folders whose name begins with a dot are none.

    Raises:
        RunError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}; train a run with: onward train TEXT --out {folder}/NAME")
    found = [Run(path) for path in [folder, *sorted(folder.iterdir())] if _looks_like_run(path)]
    if not found:
        raise RunError(f"there is no run in {folder}; train one with: onward train TEXT --out {folder}/NAME")
    return found


def _looks_like_run(path: Path) -> bool:
    run = Run(path)
    return not path.name.startswith(".") and any(map(Path.exists, (run.config_file, run.metrics_file, run.checkpoints)))


def table(runs: Sequence[Run]) -> str:
    """A line for each run, the best by bits per byte first; a broken one is a line that says so, at the end."""
    seen: list[Overview] = []
    broken: list[str] = []
    for run in runs:
        try:
            seen.append(Overview.of(run))
        except (OnwardError, OSError) as error:
            broken.append(f"broken    {printable(str(run.folder))}: {printable(str(error))}")
    seen.sort(key=_bits_per_byte)
    heads = ["state", "steps", "bits/byte", "validation", "tokens", "time", "tokens/s", "parameters", "size", "run"]
    rows = [heads, *map(_cells, seen)] if seen else []
    return "\n".join([*aligned(rows, left=(0, len(heads) - 1)), *broken])


def _bits_per_byte(view: Overview) -> float:
    best = None if view.best is None else view.best.validation_bits_per_byte
    return math.inf if best is None else best


def _cells(view: Overview) -> list[str]:
    last, best = view.last, view.best
    cells = [view.state, f"{last.step if last else 0:,}/{view.config.training.steps:,}"]
    cells += [_number(best.validation_bits_per_byte), _number(best.validation_loss)] if best else [_UNKNOWN, _UNKNOWN]
    cells += [f"{last.tokens:,}", clock(last.seconds)] if last else [_UNKNOWN, _UNKNOWN]
    cells.append(f"{last.tokens / last.seconds:,.0f}" if last and last.seconds else _UNKNOWN)
    cells.append(_UNKNOWN if view.n_parameters is None else f"{view.n_parameters:,}")
    cells.append(file_size(view.n_bytes))
    cells.append(printable(str(view.run.folder)))
    if last is not None and view.n_parameters is None:
        cells[-1] += "  (no checkpoint)"
    return cells


def settings(config: RunConfig) -> dict[str, Any]:
    """Every setting by its name in run.toml, those in tables as `table.name`."""
    return dict(_flat(to_dict(config)))


def differences(views: Sequence[Overview]) -> dict[str, list[Any]]:
    """The settings in which runs differ, by their names in run.toml, with the value in each run."""
    each = [settings(view.config) for view in views]
    names = dict.fromkeys(name for values in each for name in values)
    rows = {name: [values.get(name) for values in each] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def compare(runs: Sequence[Run], picture: Path) -> str:
    """Draw the curves of runs over each other, and say what was set differently.

    Raises:
        ConfigError, RunError: a run that is none, is broken, or has no step to draw yet.
    """
    views = [Overview.of(run) for run in runs]
    names = [printable(str(view.run.folder)) for view in views]
    panels = [
        plots.Panel(x=x, y=y, lines=[])
        for y in ("nats per token (thin: training)", "bits per byte, validation")
        for x in ("step", "tokens", "minutes")
    ]
    for name, view in zip(names, views, strict=True):
        metrics = view.run.metrics()
        if not metrics:
            raise RunError(f"{view.run.folder} has taken no step yet: there is nothing to compare")
        for panel in panels:
            _add_lines(panel, name, metrics)
    plots.curves(picture, panels, n_columns=3)
    differing = differences(views)
    rows = [["setting", *names], *([name, *map(_setting, values)] for name, values in differing.items())]
    lines = aligned(rows, left=range(len(rows[0]))) if differing else ["all settings are the same"]
    return "\n".join([table(runs), "", *lines, "", f"drawn: {picture}"])


def _add_lines(panel: plots.Panel, name: str, metrics: Sequence[Metrics]) -> None:
    """Add what the panel asks for of one run."""
    axes: dict[str, Sequence[float]] = {
        "step": [entry.step for entry in metrics],
        "tokens": [entry.tokens for entry in metrics],
        "minutes": [entry.seconds / 60 for entry in metrics],
    }
    where = axes[panel.x]
    if panel.y.startswith("bits"):
        panel.lines.append(plots.Line(name, where, [_or_nan(entry.validation_bits_per_byte) for entry in metrics]))
    else:
        losses = plots.moving_mean([entry.loss for entry in metrics])
        panel.lines.append(plots.Line(name, where, losses, faint=True))
        panel.lines.append(plots.Line(name, where, [_loss(entry) for entry in metrics]))


def aligned(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """The rows as lines, their cells two blanks apart, set right but for the columns in `left`.

    >>> aligned([["step", "run"], ["7", "a"], ["10", "bc"]], left=[1])
    ['step  run', '   7  a', '  10  bc']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def file_size(n_bytes: int) -> str:
    """A size on the disk, in decimal units.

    >>> file_size(512), file_size(1_234_567)
    ('512 B', '1.2 MB')
    """
    power = min(len(str(n_bytes)) - 1, 12) // 3
    return f"{n_bytes / 1000**power:.1f} {['B', 'kB', 'MB', 'GB', 'TB'][power]}" if power else f"{n_bytes} B"


def printable(text: str) -> str:
    """The text without what a terminal would obey or cannot show: names of folders may hold anything."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _loss(entry: Metrics) -> float:
    return _or_nan(entry.validation_loss)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _setting(value: Any) -> str:
    return _UNKNOWN if value is None else printable(f"{value:.6g}" if isinstance(value, float) else str(value))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _stored_parameters(run: Run, config: RunConfig) -> int | None:
    """How many numbers the newest checkpoint's model has: its own or, of adapters, theirs and those of the base."""
    for folder in reversed(run.checkpoint_folders()):
        files = [folder / "model.safetensors"]
        if config.training.lora_rank:
            files = [folder / "adapters.safetensors", run.base / "model.safetensors"]
        with contextlib.suppress(OSError, SafetensorError):
            return sum(map(_n_numbers, files))
    return None


def _n_numbers(path: Path) -> int:
    """How many numbers a file of weights has, by its header: no torch is loaded for that."""
    with safe_open(path, "numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _file_sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # a run in training replaces its files
                yield Path(parent, name).lstat().st_size
