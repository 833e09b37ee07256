"""A block: attention and the feedforward layer, each added to the residual stream, with norms before or after."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from onward.model.attention import Attention
from onward.model.config import ModelConfig
from onward.model.hook import HookPoint
from onward.model.language_model import Pass
from onward.model.mlp import make_mlp
from onward.model.norm import make_norm


class PreNormBlock(nn.Module):
    """Norm before each sublayer, so that the residual stream itself is never normed (Radford et al., 2019).

    Hooks: `resid_pre`, `resid_mid` (after attention) and `resid_post`, all (batch, pos, d_model). With `last_only`, a
    block is asked for its last position alone; the others give no more than keys and values to look at.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = make_norm(config, config.d_model)
        self.attn = Attention(config, layer)
        self.mlp_norm = make_norm(config, config.d_model)
        self.mlp = make_mlp(config)
        self.dropout = nn.Dropout(config.dropout)
        self.hook_resid_pre = HookPoint()
        self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"], shared: Pass, last_only: bool = False
    ) -> Float[Tensor, "batch out_pos d_model"]:
        """The residual stream, with what both sublayers add."""
        resid = self.hook_resid_pre(resid, shared.hooks)
        attn = self.dropout(self.attn(self.attn_norm(resid), shared, last_only))
        resid = self.hook_resid_mid(resid[:, -attn.shape[1] :] + attn, shared.hooks)
        return self.hook_resid_post(resid + self.dropout(self.mlp(self.mlp_norm(resid), shared)), shared.hooks)


class PostNormBlock(PreNormBlock):
    """Norm after each sum, as the transformer was first drawn (Vaswani et al., 2017)."""

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"], shared: Pass, last_only: bool = False
    ) -> Float[Tensor, "batch out_pos d_model"]:
        """The residual stream, normed after what each sublayer adds."""
        resid = self.hook_resid_pre(resid, shared.hooks)
        attn = self.dropout(self.attn(resid, shared, last_only))
        resid = self.hook_resid_mid(self.attn_norm(resid[:, -attn.shape[1] :] + attn), shared.hooks)
        return self.hook_resid_post(self.mlp_norm(resid + self.dropout(self.mlp(resid, shared))), shared.hooks)


BLOCKS = {"pre": PreNormBlock, "post": PostNormBlock}
