from __future__ import annotations

import math

import torch

from onward.training.loss import summed_loss


def test_by_hand() -> None:
    """Probabilities 1/4 and 3/4: the true tokens cost ln 4 and ln 4/3."""
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    targets = torch.tensor([[0, 1]])
    assert math.isclose(summed_loss(logits, targets), math.log(4) + math.log(4 / 3), rel_tol=1e-6)
    assert math.isclose(summed_loss(logits, targets, torch.tensor([[False, True]])), math.log(4 / 3), rel_tol=1e-6)
