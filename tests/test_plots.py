from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onward.plots import Line, Panel, _drawable, _thinned, attention, curves, learning_curve, lens, mask, tables


def test_learning_curves_of_any_length(tmp_path: Path) -> None:
    for length in (1, 2, 1000):
        steps = list(range(1, length + 1))
        losses = [1 / step for step in steps]
        path = tmp_path / f"{length}.png"
        learning_curve(path, title="A curve", training=(steps, losses), validation=(steps[-1:], losses[-1:]))
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert len(list(tmp_path.iterdir())) == 3


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def test_attention_is_dark_where_weights_are_large(tmp_path: Path) -> None:
    """Three layers: weights of 0, of 1, and hidden keys; almost white, dark blue, grey."""
    patterns = np.stack([np.full((2, 9, 9), weight, dtype=np.float32) for weight in (0.0, 1.0, np.nan)])
    attention(tmp_path / "a.png", patterns, [f"{number} 日$_{{" for number in range(9)], title="$_{")
    inside = pixels(tmp_path / "a.png")[70:-150, 140:-130, :3].mean(axis=-1)
    third = len(inside) // 3
    white, dark, grey = (float(np.median(inside[at : at + third])) for at in (0, third, 2 * third))
    assert dark < 0.3 < 0.85 < grey < 0.92 < white
    attention(tmp_path / "one.png", np.ones((1, 1, 1, 1), dtype=np.float32), ["a"], title="One")


def test_masks_tables_and_lenses(tmp_path: Path) -> None:
    visible = np.tril(np.ones((3, 3), dtype=bool))
    mask(tmp_path / "mask.png", visible, ["a", " b", "\n"], title="Mask")
    picture = pixels(tmp_path / "mask.png")[70:-150, 140:-130, :3]
    blue, grey = ((picture[..., 2] - picture[..., 0]) > 0.3).mean(), (np.ptp(picture, axis=-1) < 0.01).mean()
    assert blue == pytest.approx(6 / 9, abs=0.02)
    assert grey == pytest.approx(3 / 9, abs=0.02)
    for table in (np.zeros((1, 1)), np.eye(200), np.array([[1e6, 0.1, -0.1]])):
        tables(tmp_path / "table.png", {"one": table, "two": table}, rows="position", columns="dimension")
    lens(tmp_path / "lens.png", [[("a$b", 0.1), ("日", 0.9)], [("", 0.0), (" ", 1.0)]], ["x", "y"], title="Lens")
    assert len(list(tmp_path.iterdir())) == 3


def test_labels_that_a_font_can_draw() -> None:
    assert _drawable(" a\n\t") == "␣a↵⇥"
    assert _drawable("naïve 日本") == "naïve␣□□"
    assert _drawable("a" * 50) == "a" * 11 + "…"


def test_curves_of_any_length_and_number(tmp_path: Path) -> None:
    nan = float("nan")
    for n_lines in (1, 3, 30):
        lines = [
            Line(f"$_{{ {number}", [1, 2, 3], [nan, number, nan], faint=number % 2 == 1) for number in range(n_lines)
        ]
        long = Line("long", range(10_000), [1 / (1 + x) for x in range(10_000)])
        panels = [Panel(x="step", y="loss", lines=lines), Panel(x="step", y="loss", lines=[long], title="$_{")]
        panels.append(Panel(x="step", y="loss", lines=[Line("none", [], [])]))
        curves(tmp_path / "curves.png", panels, n_columns=2)
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_line_keeps_its_ends_when_it_is_thinned() -> None:
    for n_points in (1, 2000, 2001, 4000, 4001, 9999):
        x, y = _thinned(Line("a", range(n_points), [float(at) for at in range(n_points)]))
        assert x == y
        assert (x[0], x[-1]) == (0, n_points - 1)
        assert len(x) <= 2001
