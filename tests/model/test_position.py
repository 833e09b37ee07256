from __future__ import annotations

import math

import torch

from onward.model.config import ModelConfig
from onward.model.position import RotaryPositions, sinusoidal_table


def config(d_head: int = 8) -> ModelConfig:
    return ModelConfig(vocab_size=9, context_length=50, n_layers=1, d_model=16, n_heads=2, d_head=d_head)


def test_sinusoidal_table_by_the_formula_of_the_paper() -> None:
    table = sinusoidal_table(50, 16)
    for position, pair in ((0, 0), (1, 0), (7, 3), (49, 7)):
        angle = position / 10000 ** (2 * pair / 16)
        assert math.isclose(table[position, 2 * pair], math.sin(angle), abs_tol=1e-6)
        assert math.isclose(table[position, 2 * pair + 1], math.cos(angle), abs_tol=1e-6)


def test_rotary_turns_the_first_pair_by_one_radian_a_position() -> None:
    rotation = RotaryPositions(config(d_head=2))(torch.tensor([[0, 1, 2]]))
    turned = rotation(torch.tensor([1.0, 0.0]).expand(1, 1, 3, 2))
    expected = torch.tensor([[math.cos(p), math.sin(p)] for p in range(3)])
    torch.testing.assert_close(turned[0, 0], expected)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    rotary = RotaryPositions(config())
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))

    def score(q_position: int, k_position: int) -> float:
        turned = [rotary(torch.tensor([[position]]))(vector) for position, vector in ((q_position, q), (k_position, k))]
        return float((turned[0] * turned[1]).sum())

    assert math.isclose(score(5, 2), score(48, 45), abs_tol=1e-5)
    assert not math.isclose(score(5, 2), score(5, 3), abs_tol=1e-3)
