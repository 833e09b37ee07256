from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.model.config import preset
from onward.model.decoder import count_parameters
from onward.run import Run
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.recipe import default_vocab_size
from onward.training.size import SIZES, choose_size
from tests.conftest import TINY_TEXT


def n_parameters(name: str, n_bytes: int) -> int:
    return count_parameters(preset(name, vocab_size=default_vocab_size(n_bytes, preset(name, vocab_size=1).d_model)))


@pytest.mark.parametrize(
    ("n_bytes", "minutes", "peak_flops", "chosen"),
    [
        (18_000, 1, 100e9, "tiny"),  # a short story: no time makes its text longer
        (18_000, 10_000, 1e15, "tiny"),
        (1_000_000, 1, 100e9, "tiny"),
        (1_000_000, 10, 100e9, "small"),
        (1_000_000, 10_000, 100e9, "small"),  # five times a megabyte is little for ten million parameters
        (90_000_000, 1, 100e9, "tiny"),
        (90_000_000, 30, 100e9, "small"),
        (90_000_000, 48 * 60, 100e9, "base"),
        (90_000_000, 30, 50e12, "base"),  # a large GPU
    ],
)
def test_the_size_follows_the_text_the_time_and_the_machine(
    n_bytes: int, minutes: float, peak_flops: float, chosen: str
) -> None:
    assert choose_size(n_bytes, minutes, peak_flops)[0] == chosen


def test_the_reason_names_the_limits() -> None:
    _, reason = choose_size(1_000_000, 10_000, 100e9)
    tokens = 5 * 1_000_000 / 2
    small, base = (f"{tokens / n_parameters(name, 1_000_000):.2g}" for name in ("small", "base"))
    assert reason == (f"small sees about {small} tokens a parameter in 5 epochs; base would see {base}, fewer than 2")
    assert choose_size(10**9, 1e5, 1e15)[1].endswith("tokens a parameter in 5 epochs")
    assert "in 1 minute; small would see" in choose_size(10**9, 1, 1e10)[1]
    assert re.search("in 5 epochs; base would see .* in 20 minutes,", choose_size(1_000_000, 20, 100e9)[1])


@settings(max_examples=20, deadline=None)  # each counts the parameters of nine models
@given(st.integers(1, 10**12), st.floats(0.01, 1e5), st.floats(1e8, 1e16))
def test_more_of_anything_never_makes_the_model_smaller(n_bytes: int, minutes: float, peak_flops: float) -> None:
    at = SIZES.index(choose_size(n_bytes, minutes, peak_flops)[0])
    assert SIZES.index(choose_size(n_bytes, 2 * minutes, peak_flops)[0]) >= at
    assert SIZES.index(choose_size(n_bytes, minutes, 2 * peak_flops)[0]) >= at


def test_a_time_chooses_the_size_unless_something_of_the_shape_is_given(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TINY_TEXT, encoding="utf-8")
    lines: list[str] = []

    def size(name: str, *more: str, **options: Any) -> str:
        run = Run(tmp_path / name)
        run.folder.mkdir()
        given = ["training.dtype=float32", "training.batch_size=4", *more]
        prepare(run, [tmp_path / "text.txt"], TrainOptions(set=given, **options), say=lines.append)
        return str(tomllib.loads(run.config_file.read_text(encoding="utf-8"))["size"])

    assert size("chosen", minutes=0.3, vocab_size=300) == "tiny"
    (line,) = [line for line in lines if line.startswith("size: ")]
    assert line.startswith("size: tiny sees about ")
    assert line.endswith(" (--size overrides)")
    assert size("given", minutes=0.3, size="small", vocab_size=300) == "small"
    assert size("shaped", "model.n_layers=1", minutes=0.3) == "small"
    assert size("steps", steps=1) == "small"
    assert sum(line.startswith("size: ") for line in lines) == 1
