from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from onward.training.muon import Muon, _iterated, orthogonalised

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
    stepped(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9), theirs, 4)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)  # of four steps, each up to 0.02 x 1.2 long


def test_singular_values_come_close_to_1() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(1e-3 * matrices, torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.25


@pytest.mark.parametrize("smallest", [1e-1, 1e-4, 1e-8])
@pytest.mark.parametrize("shape", [(16, 64), (16, 32), (64, 16)])
def test_the_quicker_way_for_wide_and_tall_matrices_is_the_plain_one(shape: tuple[int, int], smallest: float) -> None:
    generator = torch.Generator().manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(3, *shape, generator=generator), full_matrices=False)
    singular_values = torch.logspace(0, math.log10(smallest), min(shape))
    matrices = left * singular_values @ right
    plain = _iterated((matrices / matrices.norm(dim=(1, 2), keepdim=True)).double())
    # A quarter of what bfloat16 rounds away.
    torch.testing.assert_close(orthogonalised(matrices, torch.float32), plain.float(), rtol=0, atol=1e-3)


def test_no_gradient_no_step_and_zeros_stay_zeros() -> None:
    assert not orthogonalised(torch.zeros(2, 4, 3), torch.bfloat16).any()
    matrices = random_matrices()
    before = [matrix.clone() for matrix in matrices]
    Muon(matrices, lr=0.02, weight_decay=0.1, dtype=torch.float32).step()
    assert all(torch.equal(one, other) for one, other in zip(matrices, before, strict=True))
