"""Every form learns, has right gradients, and keeps to its masks, in one pass and from a cache."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from onward.data.text import document_tokens
from onward.errors import ConfigError
from onward.generation.generator import generate
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.init import initialise
from onward.model.mask import causal_mask
from onward.tokenizer import Tokenizer
from onward.training.config import TrainingConfig
from onward.training.optimizer import Optimizer
from onward.training.recipe import default_training
from tests.conftest import random_decoder
from tests.model.test_decoder import FORMS, TOKENS, decoder

NAMES = list(FORMS)
CAUSAL = causal_mask(12, 12)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("name", NAMES)
def test_every_form_learns_a_batch_by_heart(name: str, optimizer: str) -> None:
    """From its own first weights, with the rates that the recipe gives to the form."""
    config = ModelConfig(vocab_size=50, context_length=16, n_layers=2, d_model=32, n_heads=4, **FORMS[name])
    model = Decoder(config)
    initialise(model, seed=1)
    values = {**default_training(config, optimizer, n_tokens=10_000), "optimizer": optimizer, "weight_decay": 0.0}
    training = TrainingConfig(**{**values, "steps": 60, "batch_size": 4})
    updates = Optimizer(model, training)
    losses: list[float] = []
    for step in range(60):
        loss = F.cross_entropy(model(TOKENS)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
        losses.append(loss.item())
        torch.autograd.backward(loss)
        updates.step(1 - step / 60)
    assert losses[0] == pytest.approx(math.log(50), abs=0.3)
    assert losses[-1] < 0.2, losses


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    """Of every weight of a tiny decoder, in float64, against differences."""
    sizes = {"vocab_size": 5, "context_length": 8, "n_layers": 1, "d_model": 4, "n_heads": 2, "d_mlp": 6}
    fields = {**sizes, **FORMS[name]}
    if name == "sizes apart":
        fields |= {"d_head": 4, "d_value": 3, "n_kv_heads": 1, "d_mlp": 6}
    if name == "window":
        fields |= {"window": 2, "n_kv_heads": 1, "d_value": 3}
    model = random_decoder(ModelConfig(**fields)).double().requires_grad_(True)
    tokens = torch.tensor([[0, 3, 2, 4]])

    def loss(*parameters: Tensor) -> Tensor:
        return model(tokens).log_softmax(-1).square().mean()

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()))


def test_a_window_reaches_as_far_as_its_blocks_together() -> None:
    """Two blocks of a window of 3: position 11 hears of 7 to 11, and of nothing before."""
    model = decoder(window=3)
    logits = model(TOKENS)[:, -1]
    for position in range(12):
        changed = TOKENS.clone()
        changed[:, position] = (changed[:, position] + 1) % 50
        assert (not torch.equal(model(changed)[:, -1], logits)) == (position >= 7), position


def test_a_window_as_wide_as_the_context_is_none() -> None:
    assert torch.equal(decoder(window=16)(TOKENS), decoder()(TOKENS))


def test_full_attention_hears_of_what_follows_and_a_mask_can_forbid_it() -> None:
    model = decoder(attention="full")
    changed = TOKENS.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    assert not torch.allclose(model(changed)[:, 0], model(TOKENS)[:, 0])
    torch.testing.assert_close(model(TOKENS, mask=CAUSAL.unsqueeze(0)), decoder()(TOKENS), atol=1e-5, rtol=1e-4)


def test_padding_that_is_masked_changes_nothing() -> None:
    """Rows of 12, 5 and 8 tokens, the rest of each hidden from every query."""
    model = decoder(attention="full")
    lengths = torch.tensor([12, 5, 8])
    mask = (torch.arange(12) < lengths[:, None]).unsqueeze(1).expand(3, 12, 12)
    logits = model(TOKENS, mask=mask)
    for row, length in enumerate(lengths.tolist()):
        alone = model(TOKENS[row : row + 1, :length])
        torch.testing.assert_close(logits[row : row + 1, :length], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_with_a_cache_is_the_mask_without(name: str) -> None:
    """Also for rows of unequal length, which hold 3, 7 and 5 tokens when the others come."""
    model = decoder(**FORMS[name])
    mask = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1)) < 0.6
    expected = model(TOKENS, mask=mask)
    tolerance = 1e-5 * float(expected.abs().max())
    state = model.start(3)
    first = model(TOKENS[:, :7], state, mask=mask[:, :7, :7])
    torch.testing.assert_close(first, expected[:, :7], rtol=0, atol=tolerance)
    lengths = [3, 7, 5]
    state.lengths = list(lengths)
    rows = [torch.arange(length, length + 3) for length in lengths]
    fresh = torch.stack([TOKENS[row, positions] for row, positions in enumerate(rows)])
    seen = torch.stack([mask[row, positions, :10] for row, positions in enumerate(rows)])
    second = model(fresh, state, mask=seen)
    for row, positions in enumerate(rows):
        torch.testing.assert_close(second[row], expected[row, positions], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_a_query_that_sees_nothing_does_no_harm(name: str) -> None:
    """All logits and gradients stay finite, by both paths."""
    model = decoder(**FORMS[name])
    mask = torch.ones(1, 12, 12, dtype=torch.bool)
    mask[:, 4] = False
    fused = model(TOKENS, mask=mask)
    model.requires_grad_(True)
    explicit = model(TOKENS, mask=mask)
    torch.testing.assert_close(explicit.detach(), fused, atol=1e-5, rtol=1e-4)
    torch.autograd.backward(explicit.square().mean())
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters() if weight.grad is not None)


def test_a_mask_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"shape \(batch = 3 or 1, q_pos = 12, k_pos = 12\)"):
        decoder()(TOKENS, mask=CAUSAL[None, :, :5])


def test_full_attention_does_not_generate(tiny_tokenizer: Tokenizer) -> None:
    model = decoder(attention="full", vocab_size=tiny_tokenizer.vocab_size)
    model.tokenizer = tiny_tokenizer
    assert document_tokens(tiny_tokenizer, "Line")
    with pytest.raises(ConfigError, match="attention = full generates nothing"):
        generate(model, "Line")


@pytest.mark.parametrize("name", NAMES)
def test_first_weights_are_those_of_the_table(name: str) -> None:
    """The table of initialise, kind by kind, as exactly as so many numbers can tell."""
    config = ModelConfig(vocab_size=300, context_length=64, n_layers=2, d_model=64, n_heads=4, **FORMS[name])
    model = Decoder(config)
    initialise(model, seed=1)
    for parameter_name, weight in model.named_parameters():
        if weight.ndim == 1:
            expected = 1.0 if "norm" in parameter_name and parameter_name.endswith("weight") else 0.0
            assert torch.equal(weight, torch.full_like(weight, expected)), parameter_name
            continue
        four_errors = 4 / math.sqrt(2 * weight.numel())
        expected = _expected_std(parameter_name, weight, config)
        assert float(weight.detach().std()) == pytest.approx(expected, rel=four_errors), parameter_name


def _expected_std(name: str, weight: Tensor, config: Any) -> float:
    if (name.startswith("unembed.") and config.norm_order == "pre") or "o_proj" in name or "down_proj" in name:
        return 0.0
    if name.startswith("position_embed"):
        return 0.02
    if name.startswith("embed."):
        if config.embed_scale:
            return config.d_model**-0.5
        return 1.0 if config.embed_norm and not config.tied_embeddings else 0.02
    return 0.5 * weight.shape[1] ** -0.5
