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

    | parameters                        | optimizer             | weight decay |
    |-----------------------------------|-----------------------|--------------|
    | matrices inside the blocks        | Muon (or AdamW)       | yes          |
    | embeddings and unembedding        | AdamW                 | yes          |
    | vectors: norms, biases            | AdamW                 | no           |

    Sources: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2017; Jordan et al., Muon, 2024.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        hidden = [p for name, p in self._parameters.items() if p.ndim == 2 and name.startswith("blocks.")]
        is_hidden = {id(parameter) for parameter in hidden}
        tables = [p for p in self._parameters.values() if p.ndim >= 2 and id(p) not in is_hidden]
        vectors = [p for p in self._parameters.values() if p.ndim < 2]
        if config.optimizer == "adamw":
            tables, hidden = tables + hidden, []
        groups: list[dict[str, Any]] = [{"params": tables}, {"params": vectors, "weight_decay": 0.0}]
        adamw = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._optimizers: list[torch.optim.Optimizer] = [adamw]
        if hidden:
            muon = torch.optim.Muon(
                hidden, lr=config.muon_learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            self._optimizers.append(muon)
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
