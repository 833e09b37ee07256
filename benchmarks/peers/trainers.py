"""One training step of a GPT-2 by onward and by each of its peers: the same shape, batch and kind of update for all."""

from __future__ import annotations

import dataclasses
import importlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onward.model.config import ModelConfig, preset

Step = Callable[[], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """The shape of a model, and how many windows make a step."""

    n_layers: int
    n_heads: int
    d_model: int
    context_length: int
    vocab_size: int
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch_size * self.context_length

    @property
    def model(self) -> ModelConfig:
        """GPT-2's form, without biases, as nanoGPT has it."""
        shape = {name: value for name, value in vars(self).items() if name != "batch_size"}
        return preset("gpt2", **shape, bias=False)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Random tokens, and those that come next."""
        windows = torch.randint(self.vocab_size, (self.batch_size, self.context_length + 1))
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


SIZES = {
    "124M": Size(n_layers=12, n_heads=12, d_model=768, context_length=1024, vocab_size=50257, batch_size=1),
    "10M": Size(n_layers=6, n_heads=6, d_model=384, context_length=256, vocab_size=65, batch_size=16),
}
"""GPT-2, and nanoGPT's shape for Shakespeare's characters."""


def has_bfloat16() -> bool:
    """Whether the processor has instructions for it; without them it is many times slower than float32."""
    return torch.cpu._is_avx512_bf16_supported()


def nanogpt(size: Size, *, compiled: bool = False, tuned: bool = False) -> Step:
    """nanoGPT; tuned: with the fused AdamW, and in bfloat16 where the processor has it."""
    from peers.nanogpt import Recipe, Training, make_optimizer

    recipe = Recipe(**vars(size))
    training = Training(torch.randint(size.vocab_size, (100_000,)), recipe, seed=1)
    if tuned:
        training.optimizer = make_optimizer(training.model, recipe, fused=True)
    if compiled:
        training.model = torch.compile(training.model)  # type: ignore[assignment]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned and has_bfloat16()):
            training.step(0)

    return step


def transformers(size: Size) -> Step:
    """The GPT-2 of transformers in a bare loop."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.context_length,
        n_embd=size.d_model,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config).train()
    return bare_loop(size, model, lambda tokens, targets: loss_of(model(tokens).logits, targets))


def litgpt(size: Size) -> Step:
    """The model of litgpt in a bare loop: GPT-2's, but for rotary positions; embeddings tied by hand."""
    from litgpt.model import GPT, Config

    config = Config(
        block_size=size.context_length,
        vocab_size=size.vocab_size,
        padded_vocab_size=size.vocab_size,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        n_embd=size.d_model,
        bias=False,
        parallel_residual=False,
    )
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    nn.init.normal_(model.lm_head.weight, std=0.02)
    chunked = importlib.import_module("litgpt.utils").chunked_cross_entropy
    return bare_loop(size, model, lambda tokens, targets: chunked(model(tokens), targets, chunk_size=0))


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def bare_loop(size: Size, model: nn.Module, loss_of_batch: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """What every example of training does: forward, back, clip, update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        loss_of_batch(*size.batch()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def onward(size: Size, *settings: str) -> Step:
    """onward's trainer, in a run folder as `onward train` prepares it; of made-up words, as many as the vocabulary."""  # noqa: D403
    from onward.run import Run
    from onward.training.config import RunConfig
    from onward.training.options import TrainOptions
    from onward.training.prepare import prepare
    from onward.training.trainer import Trainer

    asked = [f"model.{name}={value}" for name, value in vars(size).items() if name not in ("vocab_size", "batch_size")]
    asked += [f"training.batch_size={size.batch_size}", "model.bias=false", "training.peak_flops=1.0"]
    asked += [f"training.dtype={'bfloat16' if has_bfloat16() else 'float32'}", *settings]
    with tempfile.TemporaryDirectory() as name:
        run, text = Run(Path(name) / "run"), Path(name) / "text.txt"
        run.folder.mkdir()
        words = [f"w{number}" for number in range(size.vocab_size - 2)]  # beside the end and the unknown word
        text.write_text(" ".join(words * (2 + 100_000 // len(words))), encoding="utf-8")
        options = TrainOptions(steps=1000, size="gpt2", tokenizer="words", vocab_size=size.vocab_size, set=asked)
        prepare(run, [text], options, say=io.StringIO().write)
        trainer = Trainer(run, RunConfig.load(run.config_file))
    return lambda: trainer.step() and None  # type: ignore[func-returns-value]


CONTESTANTS: dict[str, Callable[[Size], Step]] = {
    "nanoGPT as shipped": nanogpt,
    "nanoGPT, compiled": lambda size: nanogpt(size, compiled=True),
    "nanoGPT at its best": lambda size: nanogpt(size, compiled=True, tuned=True),
    "transformers": transformers,
    "litgpt": litgpt,
    "onward, AdamW": lambda size: onward(size, "training.optimizer=adamw"),
    "onward, AdamW, compiled": lambda size: onward(size, "training.optimizer=adamw", "training.compile=true"),
    "onward, Muon": lambda size: onward(size, "training.optimizer=muon"),
}
"""What makes the step of each."""
