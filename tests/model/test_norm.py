from __future__ import annotations

import torch

from onward.model.norm import LayerNorm, RMSNorm


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
