"""All weight initialisation."""

from __future__ import annotations

import torch
from torch import nn

from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.linear import Embedding, Linear, LoRALinear
from onward.model.norm import LayerNorm, RMSNorm


@torch.no_grad()
def initialise(model: Decoder, seed: int) -> None:
    """Fill every parameter of `model`, as a function of the seed alone.

    | parameter                | value                                                                    |
    |--------------------------|--------------------------------------------------------------------------|
    | embed                    | normal; standard deviation 1 before a norm if untied, 1 / sqrt(columns)  |
    |                          | before a scale by sqrt(columns), otherwise 0.02                          |
    | learned positions        | normal, standard deviation 0.02                                          |
    | unembed, unless tied     | 0: all tokens are equally likely at first; after post-norm blocks as     |
    |                          | other linear layers, since from 0 they go no further than word counts    |
    | o_proj, down_proj        | 0: each block begins as the identity                                     |
    | other linear layers      | normal, standard deviation 0.5 / sqrt(columns): 0.018 at GPT-2's width   |
    | biases                   | 0                                                                        |
    | norms                    | weight 1, bias 0                                                         |

    Sources: Radford et al., 2018 (0.02); Zhang et al., Fixup, 2019 (zero at the end of each branch).
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    for name, module in model.named_modules():
        if isinstance(module, (LayerNorm, RMSNorm)):
            if module.weight is not None:
                nn.init.ones_(module.weight)
        elif isinstance(module, Embedding):
            std = _embed_std(config) if name == "embed" else 0.02
            nn.init.normal_(module.weight, std=std, generator=generator)
        elif name == "unembed" and config.tied_embeddings:
            pass  # its weights are embed's
        elif isinstance(module, Linear) and _begins_at_zero(name, config):
            nn.init.zeros_(module.weight)
        elif isinstance(module, Linear):
            nn.init.normal_(module.weight, std=0.5 * module.in_features**-0.5, generator=generator)
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)


@torch.no_grad()
def initialise_adapters(model: Decoder, seed: int) -> None:
    """Fill the low-rank updates of `model`, as a function of the seed alone.

    A is normal, of standard deviation 1 / sqrt(columns), and B is 0, so that the model begins as it is without them.

    Source: Hu et al., LoRA, 2021, section 4.1.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.normal_(module.lora_a, std=module.lora_a.shape[1] ** -0.5, generator=generator)
            nn.init.zeros_(module.lora_b)


def _embed_std(config: ModelConfig) -> float:
    if config.embed_scale:
        return config.d_model**-0.5
    return 1.0 if config.embed_norm and not config.tied_embeddings else 0.02


def _begins_at_zero(name: str, config: ModelConfig) -> bool:
    # A post-norm model whose unembed begins at 0 learns how frequent each token is, in the last norm's bias, and stays
    # there: Vaswani's form was at 5.2 nats a token of Shakespeare after 120 steps, and is at 3.9 when it does not.
    return name.endswith(("o_proj", "down_proj")) or (name == "unembed" and config.norm_order == "pre")
