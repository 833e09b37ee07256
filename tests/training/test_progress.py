from __future__ import annotations

import io

import pytest
from rich.console import Console

from onward.run import Metrics
from onward.training.progress import ProgressView


def metrics(step: int, bits_per_byte: float | None = None) -> Metrics:
    return Metrics(
        step=step,
        tokens=4096 * step,
        seconds=0.1 * step,
        loss=2.345,
        learning_rate_share=1.0,
        gradient_norm=1.0,
        tokens_per_second=50_000.0,
        flops_per_second=2e11,
        peak_share=0.5,
        validation_loss=bits_per_byte,
        validation_bits_per_byte=bits_per_byte,
    )


def shown(width: int, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    with ProgressView(12_000, console) as view:
        view.begin(5000)
        view.update(metrics(5001))
        view.update(metrics(6000, bits_per_byte=1.987))
        view.sample(6000, "[bold]To be[/bold]\n" * 9)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_everything_at_any_width(width: int) -> None:
    line = "step 6000/12000  10:00 left  loss 2.345  validation 1.987 bits/byte"
    assert line in shown(width, terminal=True)
    assert "…" not in shown(width, terminal=True)


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 70, 90, 110, 120])
def test_no_line_of_figures_is_wider_than_the_terminal(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    view = ProgressView(12_000, console)
    line = view._figures(metrics(12_000, bits_per_byte=1.0), metrics(1))
    assert "left" in line
    bar = 17 if width >= 110 else 0
    assert bar + len("step 12000/12000  " + line) <= max(width, len("step 12000/12000  0:00 left"))
    assert "tokens/s" in line or width < 60
    assert "GFLOP/s" in line or width < 90
    assert "% of the peak" in line or width < 120


def test_elsewhere_lines_are_plain() -> None:
    lines = shown(80, terminal=False).splitlines()
    assert lines[0] == "resuming after step 5000 of 12000"
    speed = "40,960 tokens/s  164 GFLOP/s  41 % of the peak"
    assert lines[2] == f"step 6000/12000  10:00 left  loss 2.345  validation 1.987 bits/byte  {speed}"
    assert lines[3] == "  after step 6000 it writes:"
    assert lines[4:] == ["  │ [bold]To be[/bold]"] * 5
