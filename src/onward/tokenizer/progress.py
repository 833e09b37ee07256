"""Long work as one watches it: a bar with the time left, where there is a terminal to draw it in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

Show = Callable[[str, int, int | None], None]


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[Show]:
    """Yield a function that shows a stage of the work, how much of it is done, and how much there is.

    >>> with progress_bar(Console(stderr=True)) as show:
    ...     show("counting words", 10, 100)
    """
    stages: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(stage, total=total)
            bar.update(stages[stage], completed=done, total=total)

        yield show
