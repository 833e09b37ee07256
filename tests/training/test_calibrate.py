from __future__ import annotations

import pytest

import onward.training.calibrate as calibrate
from tests.training.conftest import PrepareRun


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        (["model.context_length=32", "model.vocab_size=320"], "bfloat16"),
        (["model.context_length=32", "model.vocab_size=300"], "float32"),
        (["model.context_length=40", "model.vocab_size=320"], "float32"),
        (["model.context_length=32", "model.vocab_size=320", "model.d_head=48"], "float32"),
        (["model.context_length=32", "model.vocab_size=320", "model.d_mlp=100"], "float32"),
    ],
)
def test_bfloat16_only_where_every_product_sums_whole_tiles(
    prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch, settings: list[str], dtype: str
) -> None:
    run, config = prepare_run("run", *settings, vocab_size=None)
    monkeypatch.setattr(calibrate, "_has_bfloat16", lambda device: True)
    monkeypatch.setattr(calibrate, "seconds_a_step", lambda trainer: float(trainer.config.dtype == "float32"))
    assert calibrate.faster_dtype(run, config) == dtype
