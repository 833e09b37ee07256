"""The logit lens, and direct logit attribution: reading the residual stream as words."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from onward.errors import DataError
from onward.model.decoder import Decoder
from onward.model.norm import LayerNorm, RMSNorm


def logit_lens(model: Decoder, resid: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes vocab"]:
    """What the model would say if it ended here: the residual stream through the final norm and `unembed`.

    Source: nostalgebraist, interpreting GPT: the logit lens, 2020.

    Args:
        model: the model that the stream is of.
        resid: the stream at any blocks and positions, `cache["blocks.*.resid_post"]` say.

    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> model = Decoder(preset("tiny", vocab_size=65))
    >>> initialise(model, seed=1)
    >>> logits, cache = model.run_with_cache(torch.tensor([[1, 2, 3]]))
    >>> lens = logit_lens(model, cache["blocks.*.resid_post"])
    >>> lens.shape, torch.equal(lens[-1], logits)
    (torch.Size([2, 1, 3, 65]), True)
    """
    with torch.no_grad():
        logits: Tensor = model.unembed(model.final_norm(resid))
    return logits


def logit_attribution(
    model: Decoder, tokens: Int[Tensor, "batch pos"], target: int, position: int = -1
) -> dict[str, Float[Tensor, " batch"]]:
    """How much each part of the model adds to the logit of the token `target` after `position`.

    The residual stream is a sum: the embeddings, and what each attention and feedforward layer adds. On the way to the
    logit it passes norms, each of which scales the sum; with the scale that it has for the whole sum, it is a linear
    map of every part. So the parts' logits sum to the model's, exactly but for rounding.

    Returns:
        by the name of its place, what each part adds; under "bias", the biases of norms and `unembed`.

    Raises:
        DataError: a position or a target that is not there.

    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> model = Decoder(preset("tiny", vocab_size=65))
    >>> initialise(model, seed=1)
    >>> list(logit_attribution(model, torch.tensor([[1, 2, 3]]), target=4))[:3]
    ['embed', 'blocks.0.attn.out', 'blocks.0.mlp.out']
    """
    n_positions = tokens.shape[1]
    if not (-n_positions <= position < n_positions and 0 <= target < model.vocab_size):
        raise DataError(
            f"position {position} and target {target} must be among the {n_positions} positions "
            f"and the {model.vocab_size} tokens of the vocabulary"
        )
    added = ["position_embed"] if model.position_embed is not None else []
    _, cache = model.run_with_cache(tokens, names=["embed", *added, "blocks.*.attn.out", "blocks.*.mlp.out"])

    def at(name: str) -> Tensor:
        return cache[name][:, position].expand(len(tokens), -1)

    with torch.no_grad():
        parts = {name: at(name) for name in ["embed", *added]}
        parts["bias"] = torch.zeros_like(parts["embed"])
        parts = _through(model.embed_norm, parts)
        post_norm = model.config.norm_order == "post"
        for layer, block in enumerate(model.blocks):
            for name in ("attn", "mlp"):
                parts[f"blocks.{layer}.{name}.out"] = at(f"blocks.{layer}.{name}.out")
                if post_norm:
                    parts = _through(block.get_submodule(f"{name}_norm"), parts)
        parts = _through(model.final_norm, parts)
        parts["bias"] = parts.pop("bias")  # last
        of_nothing = model.unembed(torch.zeros_like(parts["bias"]))[:, target]
        logits = {name: model.unembed(part)[:, target] - of_nothing for name, part in parts.items()}
        logits["bias"] = logits["bias"] + of_nothing
    return logits


def _through(norm: nn.Module, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each part through the norm as it acts on their sum; the norm's own bias joins the part "bias"."""
    if not isinstance(norm, (LayerNorm, RMSNorm)):
        return parts
    if isinstance(norm, LayerNorm):
        parts = {name: part - part.mean(dim=-1, keepdim=True) for name, part in parts.items()}
    total = torch.stack(list(parts.values())).sum(dim=0)
    scale = (total.square().mean(dim=-1, keepdim=True) + norm.epsilon).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    parts = {name: part * scale for name, part in parts.items()}
    if isinstance(norm, LayerNorm) and norm.bias is not None:
        parts["bias"] = parts["bias"] + norm.bias
    return parts
