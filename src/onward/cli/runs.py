"""`onward runs`, `onward compare`: following runs."""

from __future__ import annotations

from pathlib import Path


def runs(folder: Path = Path("runs"), /) -> None:
    """List the runs in a folder: how far each has come, and how good its best model is.

    The lowest bits per byte come first; validation is the loss at that evaluation, in nats per token.

    ```
    onward runs
    onward runs experiments/
    ```

    Args:
        folder: A folder of runs, or one run.
    """
    from onward.training.overview import find_runs, table

    print(table(find_runs(folder)))


def compare(run: Path, /, *more: Path, out: Path = Path("compare.png")) -> None:
    """Draw the curves of runs over each other, by steps, tokens and time, and list what was set differently.

    ```
    onward compare runs/first runs/second
    onward compare runs/* --out first-week.png
    ```

    Args:
        run: The folder of a run.
        more: More of them.
        out: Where the picture goes.
    """
    from onward.run import Run
    from onward.training.overview import compare as compare_runs

    print(compare_runs([Run(folder) for folder in (run, *more)], out))
