from __future__ import annotations

import math

import pytest
import torch

from onward.model.linear import Linear
from onward.training.loss import backward_in_chunks, summed_loss


def test_by_hand() -> None:
    """Probabilities 1/4 and 3/4: the true tokens cost ln 4 and ln 4/3."""
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    targets = torch.tensor([[0, 1]])
    assert math.isclose(summed_loss(logits, targets), math.log(4) + math.log(4 / 3), rel_tol=1e-6)
    assert math.isclose(summed_loss(logits, targets, torch.tensor([[False, True]])), math.log(4 / 3), rel_tol=1e-6)


def test_label_smoothing_by_hand() -> None:
    """A tenth of the target's probability, halved over both tokens: 0.95 of ln 4 and 0.05 of ln 4/3."""
    logits = torch.tensor([[[0.0, math.log(3)]]])
    loss = summed_loss(logits, torch.tensor([[0]]), label_smoothing=0.1)
    assert math.isclose(loss, 0.95 * math.log(4) + 0.05 * math.log(4 / 3), rel_tol=1e-6)


@pytest.mark.parametrize("logits_at_once", [1, 50, 7 * 50, 10**9])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_chunks_are_the_whole(logits_at_once: int, label_smoothing: float, dtype: torch.dtype) -> None:
    """Value and gradients, against all logits at once; in bfloat16 under autocast, as in training."""
    random = torch.Generator().manual_seed(1)
    before = torch.nn.Parameter(torch.randn(3, 11, 8, generator=random).double())
    unembed = Linear(8, 50, bias=True).double()
    for parameter in unembed.parameters():
        torch.nn.init.normal_(parameter, generator=random)
    targets, mask = torch.randint(50, (3, 11), generator=random), torch.rand(3, 11, generator=random) < 0.7
    if dtype is torch.bfloat16:
        before, unembed = torch.nn.Parameter(before.detach().float()), unembed.float()
    most = 0

    def watched(rows: torch.Tensor) -> torch.Tensor:
        nonlocal most
        most = max(most, rows.shape[0] * 50)
        return unembed(rows)

    parameters = [before, *unembed.parameters()]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        whole = summed_loss(unembed(before.sin()), targets, mask, label_smoothing=label_smoothing) / 20
        expected = torch.autograd.grad(whole, parameters)
        loss = backward_in_chunks(
            before.sin(),
            watched,
            targets,
            mask,
            n_targets=20,
            vocab_size=50,
            label_smoothing=label_smoothing,
            logits_at_once=logits_at_once,
        )
    exact = dtype is torch.float64
    assert most <= max(logits_at_once, 50)
    assert math.isclose(loss, whole.item(), rel_tol=1e-6 if exact else 1e-3)  # the loss itself is always in float32
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-6 if exact else 2e-2)
