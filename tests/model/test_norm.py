from __future__ import annotations

import pytest
import torch
from torch import nn

from onward.model.config import ModelConfig
from onward.model.norm import LayerNorm, RMSNorm, make_norm

VECTORS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


def randomised(norm: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(2)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=random)
    return norm


def test_layer_norm_by_hand() -> None:
    norm = LayerNorm(4, bias=True, epsilon=0.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 1.0, 1.0, 2.0]))
        assert norm.bias is not None
        norm.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    # 1, 2, 3, 6: mean 3, squared distances 4, 1, 0, 9, variance 14 / 4 = 3.5
    expected = torch.tensor([-2.0, -1.0, 0.0, 3.0]) / 3.5**0.5
    expected[3] = 2 * expected[3] + 1
    torch.testing.assert_close(norm(torch.tensor([1.0, 2.0, 3.0, 6.0])), expected)


def test_rms_norm_by_hand() -> None:
    # 3, 4: mean square 12.5
    norm = RMSNorm(2, gain=False, epsilon=0.0)
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 12.5**0.5)
    assert not list(norm.parameters())
    norm = RMSNorm(2, gain=True, epsilon=12.5)  # as much again, under the root
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([10.0, 1.0]))
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), torch.tensor([30.0, 4.0]) / 5)


@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_agree_with_torchs_own(epsilon: float) -> None:
    for ours, theirs in (
        (LayerNorm(8, bias=True, epsilon=epsilon), nn.LayerNorm(8, eps=epsilon)),
        (LayerNorm(8, bias=False, epsilon=epsilon), nn.LayerNorm(8, eps=epsilon, bias=False)),
        (RMSNorm(8, gain=True, epsilon=epsilon), nn.RMSNorm(8, eps=epsilon)),
        (RMSNorm(8, gain=False, epsilon=epsilon), nn.RMSNorm(8, eps=epsilon, elementwise_affine=False)),
    ):
        theirs.load_state_dict(randomised(ours).state_dict())
        torch.testing.assert_close(ours(VECTORS), theirs(VECTORS))


@pytest.mark.parametrize("norm", ["layer", "rms", "rms_gain"])
def test_the_config_decides(norm: str) -> None:
    config = ModelConfig(
        vocab_size=9, context_length=8, n_layers=1, d_model=8, n_heads=2, norm=norm, norm_epsilon=0.3, bias=True
    )
    made = make_norm(config, 8)
    assert [name for name, _ in made.named_parameters()] == {
        "layer": ["weight", "bias"],
        "rms": [],
        "rms_gain": ["weight"],
    }[norm]
    assert made.epsilon == 0.3


@pytest.mark.parametrize(
    "norm", [LayerNorm(3, bias=True), RMSNorm(3, gain=True), RMSNorm(3, gain=False)], ids=["layer", "gain", "rms"]
)
def test_gradients(norm: nn.Module) -> None:
    norm = randomised(norm).double()
    vectors = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    inputs = (vectors, *norm.parameters())
    assert torch.autograd.gradcheck(lambda vectors, *parameters: norm(vectors), inputs)
