"""`onward runs`, `onward compare`, `onward report`: following runs."""

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


def report(run: Path, /, *, text: str | None = None, out: Path | None = None) -> None:
    """Write a run as one HTML page: curves, what it wrote on its way, tokenizer, attention, settings.

    The page is a single file that needs no network, for wide and narrow screens, light and dark.

    ```
    onward report runs/demo
    onward report runs/demo --text "What light through yonder window breaks?" --out demo.html
    ```

    Args:
        run: The folder of a run.
        text: What the tokenizer and the attention are shown on. [default: the beginning of the validation text]
        out: Where the page goes. [default: report.html in the run's folder]
    """
    from onward.inspection.report import write_report
    from onward.run import Run

    print(f"written: {write_report(Run(run), out or run / 'report.html', text=text)}")
