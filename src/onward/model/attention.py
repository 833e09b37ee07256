"""Attention: every position gathers, from the positions that it may see, what it looks for."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onward.model import kernels
from onward.model.config import ModelConfig
from onward.model.hook import HookPoint
from onward.model.language_model import Pass
from onward.model.linear import Linear
from onward.model.mask import causal_mask
from onward.model.norm import make_norm

LONGEST_EXPLICIT = 512


class Attention(nn.Module):
    """Self-attention with many heads (Vaswani et al., 2017, section 3.2).

    Hooks: `q` and `k` (batch, head, pos, d_head), normed and turned as the scores see them; `v` and `z`
    (batch, head, pos, d_value); `scores` and `pattern` (batch, head, q_pos, k_pos), before and after the softmax;
    `out` (batch, pos, d_model). Keys and values have n_kv_heads heads, all else n_heads.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.is_causal = config.attention == "causal"
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.q_proj = Linear(config.d_model, config.n_heads * config.d_head, bias=config.bias)
        self.k_proj = Linear(config.d_model, config.n_kv_heads * config.d_head, bias=config.bias)
        self.v_proj = Linear(config.d_model, config.n_kv_heads * config.d_value, bias=config.bias)
        self.o_proj = Linear(config.n_heads * config.d_value, config.d_model, bias=config.bias)
        self.q_norm = make_norm(config, config.d_head) if config.qk_norm else None
        self.k_norm = make_norm(config, config.d_head) if config.qk_norm else None
        self.hook_q = HookPoint()
        self.hook_k = HookPoint()
        self.hook_v = HookPoint()
        self.hook_scores = HookPoint()
        self.hook_pattern = HookPoint()
        self.hook_z = HookPoint()
        self.hook_out = HookPoint()

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"], shared: Pass, last_only: bool = False
    ) -> Float[Tensor, "batch out_pos d_model"]:
        """What attention adds to the residual stream; with `last_only`, only the last position looks at all."""
        q = _split_heads(self.q_proj(resid[:, -1:] if last_only else resid), self.n_heads)
        k = _split_heads(self.k_proj(resid), self.n_kv_heads)
        v = _split_heads(self.v_proj(resid), self.n_kv_heads)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if shared.rotation is not None:
            q, k = shared.rotation(q), shared.rotation(k)
        q, k, v = self.hook_q(q, shared.hooks), self.hook_k(k, shared.hooks), self.hook_v(v, shared.hooks)
        if shared.kv_cache is not None:
            k, v = shared.kv_cache.extend(self.layer, k, v)
        attend = self.explicit if self._is_explicit(q, k, v, shared) else self.fused
        z = attend(q, k, v, shared)
        z = self.hook_z(z, shared.hooks)
        return self.hook_out(self.o_proj(z.transpose(1, 2).flatten(2)), shared.hooks)

    def fused(
        self,
        q: Float[Tensor, "batch head q_pos d_head"],
        k: Float[Tensor, "batch kv_head k_pos d_head"],
        v: Float[Tensor, "batch kv_head k_pos d_value"],
        shared: Pass,
    ) -> Float[Tensor, "batch head q_pos d_value"]:
        """Softmax(q k^T / sqrt(d_head)) v, without ever holding the pattern."""
        visible = shared.visible_to_last(q.shape[2])
        if _suits_kernel(q, k, v, shared):
            return kernels.attention(q, k, v, self.is_causal)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=visible,
            is_causal=self.is_causal and visible is None and q.shape[2] > 1,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )

    def explicit(
        self,
        q: Float[Tensor, "batch head q_pos d_head"],
        k: Float[Tensor, "batch kv_head k_pos d_head"],
        v: Float[Tensor, "batch kv_head k_pos d_value"],
        shared: Pass,
    ) -> Float[Tensor, "batch head q_pos d_value"]:
        """The same step by step, for the eye and for hooks: scores, mask, softmax, pattern, z."""
        groups = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        given = visible = shared.visible_to_last(q.shape[2])
        if visible is None and self.is_causal:
            visible = causal_mask(q.shape[2], k.shape[2], q.device)
        if visible is not None:
            scores = scores.masked_fill(~visible, -torch.inf)
        pattern = self.hook_scores(scores, shared.hooks).softmax(dim=-1)
        if given is not None:  # a query from which a given mask hides every key has a pattern of 0
            pattern = pattern.masked_fill(~given.any(dim=-1, keepdim=True), 0.0)
        return self.hook_pattern(pattern, shared.hooks).to(v.dtype) @ v

    def _is_explicit(self, q: Tensor, k: Tensor, v: Tensor, shared: Pass) -> bool:
        """Whether scores and pattern are made one by one: where they are watched, and where that is faster."""
        hooks = shared.hooks
        if hooks is not None and (hooks.wants(self.hook_scores.name) or hooks.wants(self.hook_pattern.name)):
            return True
        # On a CPU, torch's fused kernel, whose backward pass is slow, makes a training step 1.2 to 1.3 times as long.
        is_short = q.requires_grad and q.is_cpu and k.shape[2] <= LONGEST_EXPLICIT
        return is_short and not _suits_kernel(q, k, v, shared)


def _suits_kernel(q: Tensor, k: Tensor, v: Tensor, shared: Pass) -> bool:
    # With a single query, the kernel is no quicker than torch.
    return shared.visible is None and q.shape[2] > 1 and kernels.suits_kernels(q, k, v)


def _split_heads(projected: Float[Tensor, "batch pos width"], n_heads: int) -> Float[Tensor, "batch head pos size"]:
    return projected.view(*projected.shape[:-1], n_heads, -1).transpose(1, 2)
