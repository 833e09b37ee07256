"""nanoGPT's model and its CPU setting for Shakespeare's characters, restated in plain torch from its description.

GPT-2's form without biases: learned positions, LayerNorm before each sublayer, GELU, tied embeddings; AdamW with weight
decay on matrices alone, gradients clipped to 1, a warmup and a cosine. Source: https://github.com/karpathy/nanoGPT.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The CPU setting of nanoGPT's README for Shakespeare's characters."""

    vocab_size: int = 65
    context_length: int = 64
    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 128
    batch_size: int = 12
    steps: int = 2000
    warmup_steps: int = 100
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1

    def learning_rate_at(self, step: int) -> float:
        """A linear rise, then half a cosine."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        progress = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        fall = (1 + math.cos(math.pi * progress)) / 2
        return self.final_learning_rate + fall * (self.learning_rate - self.final_learning_rate)


class Block(nn.Module):
    """Attention and a feedforward layer, each after a LayerNorm and added to what came in."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width = recipe.d_model
        self.n_heads = recipe.n_heads
        self.first_norm = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.second_norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out of the block, of the shape of what came in."""
        rows, length, width = x.shape
        heads = self.qkv(self.first_norm(x)).view(rows, length, 3, self.n_heads, width // self.n_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(F.gelu(self.up(self.second_norm(x))))


class NanoGPT(nn.Module):
    """Tokens to logits."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.embed = nn.Embedding(recipe.vocab_size, recipe.d_model)
        self.positions = nn.Embedding(recipe.context_length, recipe.d_model)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.n_layers))
        self.norm = nn.LayerNorm(recipe.d_model, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                ends_branch = name.endswith(("mix.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * recipe.n_layers) if ends_branch else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of the next token at each position."""
        x = self.embed(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embed.weight)


def make_optimizer(model: nn.Module, recipe: Recipe, *, fused: bool = False) -> torch.optim.AdamW:
    """AdamW, which pulls matrices towards 0, and vectors not."""
    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=fused)


class Training:
    """One run: windows at random places of the text, one step after another."""

    def __init__(self, text: Tensor, recipe: Recipe, seed: int) -> None:
        torch.manual_seed(seed)
        self.text, self.recipe = text, recipe
        self.model = NanoGPT(recipe)
        self.optimizer = make_optimizer(self.model, recipe)

    def step(self, number: int) -> float:
        """Take step `number`, counted from 0; the loss of its batch."""
        length = self.recipe.context_length
        starts = torch.randint(len(self.text) - length, (self.recipe.batch_size,))
        windows = torch.stack([self.text[start : start + length + 1] for start in starts])
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(number)
        logits = self.model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()
