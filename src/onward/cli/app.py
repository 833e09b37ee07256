"""The command `onward`: its commands, and how errors leave it."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import signal
import sys

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from onward.cli.convert import convert
from onward.cli.evaluate import evaluate
from onward.cli.generate import generate
from onward.cli.models import models
from onward.cli.runs import compare, report, runs
from onward.cli.show import show
from onward.cli.tokenizer import app as tokenizer
from onward.cli.train import train
from onward.errors import OnwardError
from onward.threads import choose_waiting

app = App(
    name="onward",
    help="""From raw text to a transformer that you trained, run and see through.

```
onward train book.txt --minutes 3
onward runs
onward generate runs/book --prompt "Once upon a time"
onward evaluate runs/book other.txt
onward show runs/book "some text"
onward tokenizer encode runs/book "some text"
```""",
    help_format="markdown",
    version=lambda: importlib.metadata.version("onward"),
    default_parameter=Parameter(negative=()),
)
app.command(train)
app.command(runs)
app.command(compare)
app.command(report)
app.command(generate)
app.command(evaluate)
app.command(convert)
app.command(show)
app.command(models)
app.command(tokenizer)


def main() -> None:
    """Run the command; print what goes wrong in one line, and exit 1 (2 for a command that cannot be understood)."""
    console = Console(stderr=True)
    choose_waiting()
    # Leave as after Ctrl-C, so that nothing half-written stays.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _complain(console, str(error).splitlines()[0].rstrip(".") + "; see --help")
        sys.exit(2)
    except OnwardError as error:
        _complain(console, str(error))
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); the interpreter must not try to flush to them once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        _complain(console, f"{where}{error.strerror or error}{'; make room, and try again' if full else ''}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(console: Console, message: str) -> None:
    console.print("[bold red]error:[/bold red]", end=" ")
    console.print(message.replace("\n", " "), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
