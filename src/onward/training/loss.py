"""Cross-entropy between the logits at each position and the token at the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Logits at once: 32 MiB in float32. Fewer would make the matrix products slower than memory is worth.
LOGITS_AT_ONCE = 1 << 23

Unembed = Callable[[Tensor], Tensor]


def summed_loss(
    logits: Float[Tensor, "*axes vocab"],
    targets: Int[Tensor, "*axes"],
    loss_mask: Bool[Tensor, "*axes"] | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Sum over the targets of minus the log-probability of each, in nats; targets are already shifted by one.

    The sum, not the mean: divided by the number of targets of the whole step, it comes out the same however the step
    is cut into micro-batches.

    Args:
        logits: the score of every token as the next one.
        targets: the tokens that came next.
        loss_mask: which targets count; None: all.
        label_smoothing: the share of a target's probability that is spread over the whole vocabulary (Szegedy et al.,
            2015; 0.1 in Vaswani et al., 2017, section 5.4).
    """
    rows = logits.reshape(-1, logits.shape[-1]).float()
    losses = F.cross_entropy(rows, targets.reshape(-1), reduction="none", label_smoothing=label_smoothing)
    return losses.sum() if loss_mask is None else (losses * loss_mask.reshape(-1)).sum()


def backward_in_chunks(
    resid: Float[Tensor, "batch pos d_model"],
    unembed: Unembed,
    targets: Int[Tensor, "batch pos"],
    loss_mask: Bool[Tensor, "batch pos"],
    *,
    n_targets: int,
    vocab_size: int,
    label_smoothing: float = 0.0,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> float:
    """Add the gradients of `summed_loss` / n_targets to all parameters behind it, and return its value.

    The logits of all positions together would be the largest thing in memory; here, each chunk of positions goes
    forward through `unembed` and back to `resid` before the next, and from there all go back through the model at once.

    Args:
        resid: what `unembed` takes.
        unembed: the last layer.
        targets: the tokens that came next.
        loss_mask: which targets count.
        n_targets: what the sum is divided by.
        vocab_size: logits of each position.
        label_smoothing: as for `summed_loss`.
        logits_at_once: the most logits in memory.
    """
    rows, flat_targets, flat_mask = resid.flatten(0, 1), targets.flatten(), loss_mask.flatten()
    size = max(logits_at_once // vocab_size, 1)
    loss, gradient = 0.0, torch.empty_like(rows)
    for begin in range(0, len(rows), size):
        chunk = rows[begin : begin + size].detach().requires_grad_()
        summed = summed_loss(
            unembed(chunk),
            flat_targets[begin : begin + size],
            flat_mask[begin : begin + size],
            label_smoothing=label_smoothing,
        )
        torch.autograd.backward(summed / n_targets)
        loss += summed.item()
        assert chunk.grad is not None
        gradient[begin : begin + size] = chunk.grad
    backward: Tensor = _WithGradient.apply(rows, gradient)  # type: ignore[no-untyped-call]
    torch.autograd.backward(backward)
    return loss / n_targets


class _WithGradient(torch.autograd.Function):
    """A scalar whose gradient is the one given: torch.autograd.backward(rows, gradient) imports sympy, for a second."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return rows.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _one: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient, None
