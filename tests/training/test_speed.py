from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import onward.training.speed as speed
from onward.errors import ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.init import initialise
from onward.training.speed import flops_a_token, peak_flops


@pytest.mark.parametrize("shape", [{}, {"n_kv_heads": 1}, {"positions": "learned", "tied_embeddings": True}])
def test_flops_are_those_that_torch_counts(shape: dict[str, object]) -> None:
    config = ModelConfig(vocab_size=64, context_length=16, n_layers=2, d_model=32, n_heads=4, **shape)  # type: ignore[arg-type]
    model = Decoder(config)
    initialise(model, seed=1)
    model.double()  # torch counts what torch does, and kernels are for float32
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros((1, 16), dtype=torch.long)).sum().backward()
    assert flops_a_token(config) * 16 == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_peak_is_that_of_a_large_product() -> None:
    assert 1e8 < peak_flops("cpu", "float32") < 1e15


def test_without_a_compiler_a_compiled_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "has_compiler", lambda device: False)
    with pytest.raises(ConfigError, match="needs a C.. compiler"):
        speed.compiled(lambda tokens: tokens, "cpu")
