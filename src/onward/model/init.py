"""All weight initialisation."""

from __future__ import annotations

import torch
from torch import nn

from onward.model.linear import Embedding, Linear
from onward.model.norm import LayerNorm


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Fill every parameter of `model`, as a function of the seed alone.

    | parameter                      | value                                                              |
    |--------------------------------|--------------------------------------------------------------------|
    | embed, learned positions       | normal, standard deviation 0.02 (Radford et al., 2018)             |
    | linear layers                  | normal, standard deviation 0.02                                    |
    | o_proj, down_proj              | 0: each block begins as the identity                               |
    | biases                         | 0                                                                  |
    | LayerNorm                      | weight 1, bias 0                                                   |
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, LayerNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, (Linear, Embedding)):
            if name.endswith(("o_proj", "down_proj")):
                nn.init.zeros_(module.weight)
            else:
                nn.init.normal_(module.weight, std=0.02, generator=generator)
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)
