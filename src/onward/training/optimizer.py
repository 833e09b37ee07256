"""Which parameters get which optimizer, learning rate and weight decay: torch's AdamW and Muon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onward.errors import CheckpointError
from onward.training.config import TrainingConfig


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
        self._optimizers: list[torch.optim.Optimizer] = []
        if config.optimizer == "muon":
            muon = torch.optim.Muon(kinds["matrix"], lr=config.learning_rate, weight_decay=config.weight_decay)
            self._optimizers.append(muon)
        else:
            groups.append({"params": kinds["matrix"], "lr": config.learning_rate})
        betas = (config.beta1, config.beta2)
        self._optimizers.append(torch.optim.AdamW(groups, betas=betas, weight_decay=config.weight_decay, fused=True))
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def step(self, learning_rate_share: float) -> None:
        """Update the parameters by their gradients, and forget the gradients."""
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * learning_rate_share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """What the optimizers remember, as `parameter/key`."""
        return {
            f"{name}/{key}": value
            for name, parameter in self._parameters.items()
            for optimizer in self._optimizers
            for key, value in optimizer.state.get(parameter, {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` says, as if the steps had been taken here.

        Raises:
            CheckpointError: it names a parameter that the model does not have, or lacks one.
        """
        groups = {
            id(parameter): optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        names = {entry.rpartition("/")[0] for entry in state}
        if names != self._parameters.keys():
            odd = ", ".join(sorted(names ^ self._parameters.keys())[:3])
            raise CheckpointError(f"the optimizer's state belongs to another model: it differs at {odd}")
        for entry, value in state.items():
            name, _, key = entry.rpartition("/")
            parameter = self._parameters[name]
            groups[id(parameter)].state[parameter][key] = value


def _kind(name: str, parameter: nn.Parameter) -> str:
    if parameter.ndim < 2:
        return "vector"
    if name.startswith("blocks."):
        return "matrix"
    return "unembed" if name.startswith("unembed.") else "embed"
