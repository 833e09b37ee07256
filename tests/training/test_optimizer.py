from __future__ import annotations

import pytest
import torch

from onward.errors import CheckpointError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.training.config import TrainingConfig
from onward.training.optimizer import Optimizer
from tests.conftest import random_decoder

CONFIG = ModelConfig(vocab_size=20, context_length=8, n_layers=1, d_model=8, n_heads=2, norm="layer", bias=True)


def stepped(
    config: TrainingConfig, n_steps: int, state: dict[str, torch.Tensor] | None = None
) -> tuple[Decoder, Optimizer]:
    model = random_decoder(CONFIG).requires_grad_(True)
    optimizer = Optimizer(model, config)
    if state is not None:
        optimizer.load_state(state)
    for _ in range(n_steps):
        model(torch.arange(8).view(1, 8)).square().mean().backward()
        optimizer.step(0.5)
    return model, optimizer


def test_adamw_is_torchs() -> None:
    rates = {f"{kind}learning_rate": 0.01 for kind in ("", "embed_", "unembed_", "vector_")}
    config = TrainingConfig(steps=1, optimizer="adamw", weight_decay=0.1, **rates)  # type: ignore[arg-type]
    ours, _ = stepped(config, 3)
    theirs = random_decoder(CONFIG).requires_grad_(True)
    decayed = [parameter for parameter in theirs.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in theirs.parameters() if parameter.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=0.005,
        betas=(0.9, 0.95),
    )
    for _ in range(3):
        reference.zero_grad()
        theirs(torch.arange(8).view(1, 8)).square().mean().backward()
        reference.step()
    for (name, ours_now), theirs_now in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_now, theirs_now, msg=name)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_state_by_name(kind: str) -> None:
    config = TrainingConfig(steps=1, optimizer=kind)  # type: ignore[arg-type]
    _, optimizer = stepped(config, 2)
    state = optimizer.state()
    assert {entry.rpartition("/")[0] for entry in state} == {
        name for name, _ in random_decoder(CONFIG).named_parameters()
    }
    has_momentum = {entry for entry in state if entry.endswith("/momentum_buffer")}
    assert bool(has_momentum) == (kind == "muon")
    assert all(entry.startswith("blocks.0.") for entry in has_momentum)
    restored = stepped(config, 0, state)[1].state()
    assert all(torch.equal(value, restored[entry]) for entry, value in state.items())


def test_state_of_another_model_or_optimizer_is_refused() -> None:
    muon, adamw = (stepped(TrainingConfig(steps=1, optimizer=kind), 1)[1].state() for kind in ("muon", "adamw"))  # type: ignore[arg-type]
    misshapen = muon | {"embed.weight/exp_avg": torch.zeros(2)}
    for state in ({"embed.weight/exp_avg": torch.zeros(1)}, adamw, misshapen):
        with pytest.raises(CheckpointError, match=r"belongs to another model or optimizer: it differs at "):
            stepped(TrainingConfig(steps=1), 0, state)
