from __future__ import annotations

from pathlib import Path

from onward.plots import learning_curve


def test_learning_curves_of_any_length(tmp_path: Path) -> None:
    for length in (1, 2, 1000):
        steps = list(range(1, length + 1))
        losses = [1 / step for step in steps]
        path = tmp_path / f"{length}.png"
        learning_curve(path, title="A curve", training=(steps, losses), validation=(steps[-1:], losses[-1:]))
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert len(list(tmp_path.iterdir())) == 3
