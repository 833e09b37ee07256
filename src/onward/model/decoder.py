"""Decoder: the autoregressive transformer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from onward.data.text import document_tokens
from onward.errors import ConfigError, ContextLengthError
from onward.model.block import BLOCKS
from onward.model.config import ModelConfig
from onward.model.hook import ActivationCache, HookPoint, Hooks, name_hook_points
from onward.model.kv_cache import KVCache
from onward.model.language_model import Pass, check_tokens, tokenizer_of
from onward.model.linear import Embedding, Linear, LoRA
from onward.model.mask import visible_keys
from onward.model.norm import make_norm
from onward.model.position import RotaryPositions, SinusoidalPositions
from onward.tokenizer import AllowedSpecial, Tokenizer


class Decoder(nn.Module):
    """Tokens → embeddings → a stack of blocks → the logits of the next token, at every position.

    The weights are empty until `initialise` or a checkpoint fills them.

    >>> from onward.model.init import initialise
    >>> model = Decoder(ModelConfig(vocab_size=65, context_length=8, n_layers=2, d_model=16, n_heads=2))
    >>> initialise(model, seed=1)
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 65])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.lora: LoRA | None = None  # set by `add_adapters`
        self.vocab_size, self.context_length = config.vocab_size, config.context_length
        self.embed = Embedding(config.vocab_size, config.d_model)
        self.position_embed = _added_positions(config)
        self.rotary = RotaryPositions(config) if config.positions == "rotary" else None
        self.embed_norm = make_norm(config, config.d_model) if config.embed_norm else nn.Identity()
        self.embed_dropout = nn.Dropout(config.embed_dropout)
        self.blocks = nn.ModuleList(BLOCKS[config.norm_order](config, layer) for layer in range(config.n_layers))
        self.final_norm = make_norm(config, config.d_model) if config.norm_order == "pre" else nn.Identity()
        self.unembed = Linear(config.d_model, config.vocab_size, bias=config.unembed_bias)
        if config.tied_embeddings:
            self.unembed.weight = self.embed.weight
        self.hook_embed = HookPoint()
        if self.position_embed is not None:
            self.hook_position_embed = HookPoint()
        self.hook_final_norm = HookPoint()
        self.hook_logits = HookPoint()
        self.hook_names = name_hook_points(self)
        self.n_parameters = sum(parameter.numel() for parameter in self.parameters())
        """How many numbers are learned; a tied matrix counts once."""
        self.eval()  # dropout is for those who train, and they say so

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def n_bytes(self) -> int:
        """How much memory the weights take, and the tables beside them."""
        return sum(tensor.nbytes for tensor in (*self.parameters(), *self.buffers()))

    def start(self, batch: int, source: Any = None) -> KVCache:
        """An empty KV cache for `batch` rows; a decoder reads no source.

        Raises:
            ConfigError: a source, or a model that keeps no cache and generates nothing, since its attention is full.
        """
        if source is not None:
            raise ConfigError("a Decoder reads no source; give the text as the prompt")
        if self.config.attention == "full":
            raise ConfigError(
                "a model with attention = full generates nothing: what each position holds depends on those after it, "
                "so nothing can be kept in a cache; use attention = causal"
            )
        return KVCache(self.config, batch, self.device, self.embed.dtype)

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        state: KVCache | None = None,
        last_only: bool = False,
        hooks: Hooks | None = None,
        mask: Bool[Tensor, "#batch pos k_pos"] | None = None,
    ) -> Float[Tensor, "batch out_pos vocab"]:
        """Logits at each position for the token at the next, or at the last position alone (out_pos = 1).

        Args:
            tokens: ids of the vocabulary.
            state: what came before, from `start`; these tokens are added to it.
            last_only: whether the last position's logits are enough.
            hooks: what is recorded or edited on the way.
            mask: True where a query may see a key. It can only hide: a causal model stays causal, a window a window.
                With a state, the keys are all those in it and the new ones. A query that sees no key gathers nothing.

        Raises:
            ContextLengthError: more tokens, those in the state included, than the context has room for.
            DataError: there are no tokens, or some are outside the vocabulary.
            ConfigError: a hook names a place that the model does not have, or the mask has another shape or type.
        """
        resid = self.resid(tokens, state, hooks, mask, last_only)
        return self.hook_logits(self.unembed(resid[:, -1:] if last_only else resid), hooks)

    def resid(
        self,
        tokens: Int[Tensor, "batch pos"],
        state: KVCache | None = None,
        hooks: Hooks | None = None,
        mask: Bool[Tensor, "#batch pos k_pos"] | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch out_pos d_model"]:
        """The residual stream after the last block and the final norm: what `unembed` takes.

        With `last_only`, the last position is enough, and all there is unless something is watched.
        """
        check_tokens(tokens, self.vocab_size, training=self.training)
        n_tokens = tokens.shape[1]
        if n_tokens > self.context_length:
            raise ContextLengthError(f"{n_tokens} tokens are over the model's context of {self.context_length}")
        if hooks is not None:
            hooks.check(self.hook_names)
        if state is None:
            positions, n_keys = torch.arange(n_tokens, device=tokens.device).unsqueeze(0), n_tokens
        else:
            positions, n_keys = state.positions(n_tokens), max(state.lengths) + n_tokens
        shared = Pass(
            positions=positions,
            visible=visible_keys(self.config, positions, n_keys, len(tokens), mask),
            rotation=self.rotary(positions) if self.rotary is not None else None,
            kv_cache=state,
            hooks=hooks,
        )

        resid = self.embed(tokens)
        if self.config.embed_scale:
            resid = resid * math.sqrt(self.config.d_model)
        resid = self.hook_embed(resid, shared.hooks)
        if self.position_embed is not None:
            resid = resid + self.hook_position_embed(self.position_embed(positions), shared.hooks)
        resid = self.embed_dropout(self.embed_norm(resid))
        *blocks, last_block = self.blocks
        for block in blocks:
            resid = block(resid, shared)
        resid = last_block(resid, shared, last_only and hooks is None)
        if state is not None:
            state.advance(n_tokens)
        return self.hook_final_norm(self.final_norm(resid), shared.hooks)

    def run_with_cache(
        self, tokens: Int[Tensor, "batch pos"], names: str | Iterable[str] = "*"
    ) -> tuple[Float[Tensor, "batch pos vocab"], ActivationCache]:
        """The logits, and what passed at each place whose name matches `names` (`blocks.*.attn.pattern`, say).

        The places are those of PLACES in model/hook.py; `model.hook_names` lists them. Nothing is recorded for a
        gradient: for that, give a call of the model itself `hooks=Hooks(record=names)`.

        >>> from onward.model.init import initialise
        >>> model = Decoder(ModelConfig(vocab_size=65, context_length=8, n_layers=2, d_model=16, n_heads=2))
        >>> initialise(model, seed=1)
        >>> logits, cache = model.run_with_cache(torch.tensor([[1, 2, 3]]))
        >>> cache["blocks.0.attn.pattern"].shape  # batch, head, q_pos, k_pos
        torch.Size([1, 2, 3, 3])
        """
        hooks = Hooks(record=names)
        with torch.no_grad():
            logits = self(tokens, hooks=hooks)
        return logits, hooks.cache

    def to_tokens(self, text: str, *, allowed_special: AllowedSpecial = "none") -> Int[Tensor, "1 pos"]:
        """The tokens of `text`, led by the token that every document begins with in training.

        Raises:
            TokenizerError: `text` holds the text of a special token that is not in `allowed_special`.
        """
        tokens = document_tokens(tokenizer_of(self), text, allowed_special)
        return torch.tensor([tokens], dtype=torch.long, device=self.device)

    def to_string(self, tokens: Int[Tensor, "*axes"]) -> str:
        """The text of tokens of any shape, one after the other."""
        return tokenizer_of(self).decode(tokens.flatten().tolist())

    def to_str_tokens(self, text: str | Int[Tensor, "*axes"]) -> list[str]:
        """The piece of text of each token; those of a text are the tokens that `to_tokens` makes of it."""
        tokens = self.to_tokens(text) if isinstance(text, str) else text
        return tokenizer_of(self).pieces(tokens.flatten().tolist())


def count_parameters(config: ModelConfig) -> int:
    """How many numbers a Decoder of this config learns, without room being taken for them.

    >>> from onward.model.config import preset
    >>> count_parameters(preset("gpt2"))
    124439808
    """
    with torch.device("meta"):
        return Decoder(config).n_parameters


def _added_positions(config: ModelConfig) -> nn.Module | None:
    """The module whose vectors are added to the embeddings, for the kinds of positions that are added."""
    if config.positions == "learned":
        return Embedding(config.context_length, config.d_model)
    return SinusoidalPositions(config) if config.positions == "sinusoidal" else None
