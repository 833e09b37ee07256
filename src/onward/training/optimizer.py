"""Which parameters get which optimizer, learning rate and weight decay: Muon and torch's AdamW."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onward.errors import CheckpointError
from onward.training.adamw import AdamW, UpdateRule
from onward.training.config import TrainingConfig
from onward.training.muon import Muon

# What torch's optimizers remember of each parameter.
_REMEMBERED: dict[type, tuple[str, ...]] = {
    AdamW: ("step", "exp_avg", "exp_avg_sq"),
    Muon: ("momentum_buffer",),
}


class Optimizer:
    """The optimizers of a run as one, with a state that can be saved by the parameters' names.

    | parameters                | optimizer       | learning rate         | weight decay |
    |---------------------------|-----------------|-----------------------|--------------|
    | matrices inside the blocks| Muon (or AdamW) | learning_rate         | yes          |
    | embeddings                | AdamW           | embed_learning_rate   | yes          |
    | unembedding               | AdamW           | unembed_learning_rate | yes          |
    | vectors: norms, biases    | AdamW           | vector_learning_rate  | no           |

    Sources: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2017; Jordan et al., Muon, 2024.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        kinds: dict[str, list[nn.Parameter]] = {"matrix": [], "embed": [], "unembed": [], "vector": []}
        for name, parameter in self._parameters.items():
            kinds[_kind(name, parameter)].append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": kinds["embed"], "lr": config.embed_learning_rate},
            {"params": kinds["unembed"], "lr": config.unembed_learning_rate},
            {"params": kinds["vector"], "lr": config.vector_learning_rate, "weight_decay": 0.0},
        ]
        self._optimizers: list[UpdateRule] = []
        if config.optimizer == "muon":
            decay, dtype = config.weight_decay, getattr(torch, config.dtype)
            self._optimizers.append(Muon(kinds["matrix"], lr=config.learning_rate, weight_decay=decay, dtype=dtype))
        else:
            groups.append({"params": kinds["matrix"], "lr": config.learning_rate})
        betas = (config.beta1, config.beta2)
        self._optimizers.append(AdamW(groups, betas=betas, weight_decay=config.weight_decay))
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def step(self, learning_rate_share: float) -> None:
        """Update the parameters by their gradients, and forget the gradients."""
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * learning_rate_share
            optimizer.step()
            optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """What the optimizers remember, as `parameter/key`."""
        return {
            f"{name}/{key}": value
            for optimizer, name in self._owners()
            for key, value in optimizer.state.get(self._parameters[name], {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` says, as if the steps had been taken here.

        Raises:
            CheckpointError: it belongs to another model or another optimizer.
        """
        expected = {
            f"{name}/{key}": torch.Size() if key == "step" else self._parameters[name].shape
            for optimizer, name in self._owners()
            for key in _REMEMBERED[type(optimizer)]
        }
        found = {entry: value.shape for entry, value in state.items()}
        if odd := sorted(dict(expected.items() ^ found.items())):
            raise CheckpointError(
                f"the optimizer's state belongs to another model or optimizer: it differs at {', '.join(odd[:3])}"
            )
        for optimizer, name in self._owners():
            for key in _REMEMBERED[type(optimizer)]:
                optimizer.state.setdefault(self._parameters[name], {})[key] = state[f"{name}/{key}"]

    def _owners(self) -> Iterator[tuple[UpdateRule, str]]:
        """Each parameter's name, with the optimizer that updates it."""
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    yield optimizer, names[id(parameter)]


def _kind(name: str, parameter: nn.Parameter) -> str:
    if parameter.ndim < 2:
        return "vector"
    if name.startswith("blocks."):
        return "matrix"
    return "unembed" if name.startswith("unembed.") else "embed"
