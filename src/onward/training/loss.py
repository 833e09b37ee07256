"""Cross-entropy between the logits at each position and the token at the next."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def summed_loss(
    logits: Float[Tensor, "batch pos vocab"],
    targets: Int[Tensor, "batch pos"],
    loss_mask: Bool[Tensor, "batch pos"] | None = None,
) -> Float[Tensor, ""]:
    """Sum over the targets of minus the log-probability of each, in nats; targets are already shifted by one.

    The sum, not the mean: divided by the number of targets of the whole step, it comes out the same however the step
    is cut into micro-batches.
    """
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return losses.sum() if loss_mask is None else (losses * loss_mask.flatten()).sum()
