"""AdamW: steps in the direction of the mean gradient, each number's as long as its gradients are usual."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

_EPSILON = 1e-8


class UpdateRule(abc.ABC):
    """Groups of parameters, each with its learning rate and weight decay, and what is remembered of each parameter.

    torch.optim.Optimizer is the same, and imports what torch.compile needs, which takes as long as torch itself.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.param_groups = groups
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @abc.abstractmethod
    def step(self) -> None:
        """Update every parameter that has a gradient."""

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class AdamW(UpdateRule):
    """torch.optim.AdamW, fused, by its functional form.

    Args:
        groups: each with "params" and "lr", and "weight_decay" unless it is that of all.
        betas: memory of the gradient and of its square.
        weight_decay: pull towards 0, a step, times the learning rate.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2017.
    """

    def __init__(self, groups: list[dict[str, Any]], *, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__([{"weight_decay": weight_decay, **group} for group in groups])
        self._betas = betas

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            given = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._remembered(parameter) for parameter in given]
            adamw(
                given,
                [parameter.grad for parameter in given],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=_EPSILON,
                maximize=False,
            )

    def _remembered(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]
