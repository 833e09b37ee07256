from __future__ import annotations

import pytest
import torch
from torch import nn

from onward.training.muon import Muon, orthogonalised

SHAPES = [(8, 8), (8, 8), (24, 8), (8, 24), (1, 8)]


def stepped(optimizer: Muon | torch.optim.Optimizer, matrices: list[nn.Parameter], n_steps: int) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(n_steps):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()


def random_matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_is_torchs(dtype: torch.dtype) -> None:
    ours, theirs = random_matrices(), random_matrices()
    stepped(Muon(ours, lr=0.02, weight_decay=0.1, dtype=dtype), ours, 4)
    stepped(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1), theirs, 4)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)  # of four steps, each up to 0.02 x 1.2 long


def test_singular_values_come_close_to_1() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(1e-3 * matrices, torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_no_gradient_no_step_and_zeros_stay_zeros() -> None:
    assert not orthogonalised(torch.zeros(2, 4, 3), torch.bfloat16).any()
    matrices = random_matrices()
    before = [matrix.clone() for matrix in matrices]
    Muon(matrices, lr=0.02, weight_decay=0.1, dtype=torch.float32).step()
    assert all(torch.equal(one, other) for one, other in zip(matrices, before, strict=True))
