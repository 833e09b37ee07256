"""Muon: momentum whose every step is turned into the nearest orthogonal matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onward.training.adamw import UpdateRule

# Of 0.8 to 0.95, what learned fastest in runs of some hundred steps (docs/recipe.md).
_MOMENTUM = 0.9
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(UpdateRule):
    """torch's Muon, in a number type that the machine is quick in, and all matrices of one shape at once.

    torch.optim.Muon always computes in bfloat16, in which a processor without instructions for it is 10 to 20 times
    slower than in float32.

    Args:
        parameters: the matrices.
        lr: learning rate.
        weight_decay: pull towards 0, a step, times the learning rate.
        dtype: type of the matrix products.

    Source: Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, dtype: torch.dtype):
        super().__init__([{"params": list(parameters), "lr": lr, "weight_decay": weight_decay}])
        self._dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            given = sorted((p for p in group["params"] if p.grad is not None), key=lambda matrix: matrix.shape)
            for shape, same in itertools.groupby(given, key=lambda matrix: matrix.shape):
                matrices = list(same)
                directions = orthogonalised(torch.stack([self._momentum(matrix) for matrix in matrices]), self._dtype)
                # A tall matrix takes longer steps, so that what it puts out changes as much as with a square one.
                step_size = group["lr"] * math.sqrt(max(1, shape[0] / shape[1]))
                for matrix, direction in zip(matrices, directions, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(direction, alpha=-step_size)

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        """The running mean of the gradients, one step ahead as Nesterov has it."""
        assert matrix.grad is not None
        state = self.state.setdefault(matrix, {})
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean: Tensor = state["momentum_buffer"]
        mean.lerp_(matrix.grad, 1 - _MOMENTUM)
        return matrix.grad.lerp(mean, _MOMENTUM)


def orthogonalised(
    matrices: Float[Tensor, "matrix row column"], dtype: torch.dtype
) -> Float[Tensor, "matrix row column"]:
    """Each matrix with all its singular values moved close to 1, by Newton and Schulz's iteration.

    The coefficients make five iterations enough for all but the smallest singular values; they end between 0.7 and 1.2.
    A matrix of zeros stays one.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(dtype)
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    # Through the small square matrix a wide one takes half the time. In 16 bits its rounding would add up.
    is_wide = x.shape[2] >= 2 * x.shape[1] and dtype == torch.float32
    x = _iterated_through_gram(x) if is_wide else _iterated(x)
    return (x.mT if is_tall else x).to(matrices.dtype)


def _iterated(x: Float[Tensor, "matrix row column"]) -> Float[Tensor, "matrix row column"]:
    """Turn x into (a + b g + c g²) x, where g = x xᵀ, again and again."""
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterated_through_gram(x: Float[Tensor, "matrix row column"]) -> Float[Tensor, "matrix row column"]:
    """The same: the factors (a + b g + c g²) commute with g, so that x is needed in the beginning and the end alone."""
    a, b, c = _COEFFICIENTS
    gram = x @ x.mT
    product = None
    for number in range(_ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if number < _ITERATIONS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x
