"""Low-rank adapters on a decoder: put on, and merged into its weights."""

from __future__ import annotations

from onward.errors import ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.linear import Int8Weight, Linear, LoRA, LoRALinear


def add_adapters(model: Decoder, lora: LoRA) -> None:
    """Freeze the model, and give every linear layer inside its blocks an update to learn; in place.

    The updates are empty until `initialise_adapters` or a checkpoint fills them. All layers, not those of attention
    alone, since that learns most from the same number of parameters (Dettmers et al., QLoRA, 2023, section 4).

    Raises:
        ConfigError: a rank above what any update of a layer can have; adapters that are there already; weights that are
            rounded to 8 bits.
    """
    check_rank(lora.rank, model.config)
    if model.lora is not None:
        raise ConfigError("this model has adapters already; merge them first")
    if any(isinstance(module, Int8Weight) for module in model.modules()):
        raise ConfigError("the weights of this model are rounded to int8; load it with dtype=float32 to train it")
    model.requires_grad_(False)
    model.lora = lora
    for module in list(model.blocks.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                setattr(module, name, LoRALinear(child, lora))


def merge_adapters(model: Decoder) -> None:
    """Write the updates into the weights, so that the model is an ordinary one again, as fast as before; in place."""
    for module in list(model.blocks.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoRALinear):
                setattr(module, name, child.merged())
    model.lora = None


def check_rank(rank: int, config: ModelConfig) -> None:
    """Refuse a rank that is higher than that of the smallest matrix, which such an update would only waste.

    Raises:
        ConfigError: with the highest rank.
    """
    highest = min(config.d_model, config.d_mlp, config.n_kv_heads * min(config.d_head, config.d_value))
    if not 1 <= rank <= highest:
        raise ConfigError(
            f"the rank of LoRA must be between 1 and {highest}, which the smallest matrix of this model has; got {rank}"
        )
