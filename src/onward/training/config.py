"""Every setting of a run: what run.toml holds."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal

from onward.config import check_format, fill_zeros, from_dict, read_toml, to_dict, write_toml
from onward.errors import ConfigError
from onward.model.config import ModelConfig
from onward.model.lora import check_rank

FORMAT_VERSION = 1
TokenizerKind = Literal["bpe", "characters", "words"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained.

    Raises:
        ConfigError: a value out of its range.
    """

    seed: int = 1
    """Decides the first weights and the order of the text."""
    steps: int
    """How many times the weights are updated."""
    batch_size: int = 32
    """Windows of the text a step."""
    micro_batch_size: int = 0
    """Windows at once; gradients of batch_size / micro_batch_size passes are summed. 0: batch_size."""
    window_length: int = 0
    """Tokens of a window, and the most of a conversation; 0: the model's context."""
    lora_rank: int = 0
    """Rank of the low-rank adapters that are learned while the model that the run goes on from stays as it is; 0: none,
    all weights are learned."""
    lora_alpha: float = 16.0
    """Scale of the adapters' updates, times their rank."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """What updates the matrices inside the blocks; embeddings and vectors always have AdamW."""
    learning_rate: float = 0.02
    """Peak learning rate of the matrices inside the blocks."""
    embed_learning_rate: float = 0.3
    """Peak learning rate of the embeddings."""
    unembed_learning_rate: float = 0.012
    """Peak learning rate of the unembedding."""
    vector_learning_rate: float = 0.01
    """Peak learning rate of biases and of the norms' gains."""
    beta1: float = 0.9
    """AdamW's memory of the gradient."""
    beta2: float = 0.95
    """AdamW's memory of the squared gradient."""
    weight_decay: float = 0.1
    """Pull of the matrices towards 0, a step, times the learning rate."""
    schedule: Literal["linear", "cosine", "wsd", "inverse_sqrt"] = "linear"
    """How the learning rates fall after the warmup: along a line or a cosine, in the end only, or with the root."""
    warmup: float = 0.02
    """Share of the steps over which the learning rates rise from 0 to their peak."""
    cooldown: float = 0.2
    """Share of the steps over which the learning rates fall in the end; for the schedule wsd alone."""
    final_learning_rate: float = 0.0
    """The learning rates after the last step, as a share of their peak."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread over the whole vocabulary, in training only."""
    patience: int = 0
    """Stop after so many evaluations in a row without a lower validation loss; 0: take all steps."""
    evaluate_every: int = 0
    """Steps between evaluations on the validation text; 0: a tenth of the run."""
    evaluation_tokens: int = 131_072
    """The most validation tokens of one evaluation."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: as evaluate_every."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints are kept; the one with the lowest validation loss is kept beside them."""
    device: str = "cpu"
    """Where the model is trained: cpu, cuda, cuda:1 or mps."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrix products; weights and their updates stay in float32."""
    threads: int = 1
    """Processor threads."""
    compile: bool = False
    """Whether torch.compile makes one program of the model's passes; the first step waits for it."""
    peak_flops: float = 0.0
    """Floating-point operations a second of this machine in large matrix products; 0: not measured."""

    def __post_init__(self) -> None:
        every = self.evaluate_every or max(self.steps // 10, 1)
        fill_zeros(self, micro_batch_size=self.batch_size, evaluate_every=every, checkpoint_every=every)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("seed", "patience", "window_length", "lora_rank") else 1
            if type(value) is int and not least <= value < 1 << 53:
                raise ConfigError(f"training.{field.name} must be at least {least}; got {value}")
            if type(value) is float and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"training.{field.name} must be 0 or above; got {value}")
        if self.threads > 1024 or self.clip_norm == 0 or self.lora_alpha == 0:
            raise ConfigError("training.threads must be at most 1024, and training.clip_norm and lora_alpha above 0")
        if max(self.warmup, self.cooldown, self.final_learning_rate) > 1:
            raise ConfigError("training.warmup, cooldown and final_learning_rate are shares: at most 1")
        if self.label_smoothing >= 1:
            raise ConfigError(f"training.label_smoothing must be below 1; got {self.label_smoothing}")
        if self.batch_size % self.micro_batch_size:
            raise ConfigError(
                f"training.batch_size = {self.batch_size} is not a multiple of "
                f"micro_batch_size = {self.micro_batch_size}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """The model that a run goes on from; what it needs of it is in its own folder."""

    path: str
    """Where it was."""
    fingerprint: str
    """SHA-256 of its weights as 32-bit floats, with their names and shapes: the same in whatever form they were."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What run.toml holds: what was asked for, and everything that was chosen or measured on the way in."""

    format: int = FORMAT_VERSION
    """Version of the file's format."""
    texts: list[str]
    """The files and folders that the text came from."""
    size: str | None = None
    """The preset that the model began from, unless it goes on from another."""
    base: BaseConfig | None = None
    """The model that the run goes on from; without one, it begins from nothing."""
    minutes: float | None = None
    """The limit of time that `training.steps` was measured to keep."""
    tokenizer: TokenizerKind = "bpe"
    """What a token is."""
    model: ModelConfig
    """The shape of the model."""
    training: TrainingConfig
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.model.attention != "causal":
            raise ConfigError(
                f"model.attention = {self.model.attention} cannot be trained to predict the next token, "
                f"since it sees that token already; use attention = causal"
            )
        if self.training.window_length > self.model.context_length:
            raise ConfigError(
                f"training.window_length = {self.training.window_length} is more than the model's context of "
                f"{self.model.context_length} tokens"
            )
        if self.training.lora_rank and self.base is None:
            raise ConfigError("adapters are learned on a model that is there: name it with --from")
        if self.training.lora_rank:
            check_rank(self.training.lora_rank, self.model)

    @property
    def window_length(self) -> int:
        """Tokens of a window."""
        return self.training.window_length or self.model.context_length

    def save(self, path: Path) -> None:
        """Write run.toml."""
        write_toml(path, to_dict(self))

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """Read run.toml.

        Raises:
            ConfigError: it is missing or broken, has an unknown key, or comes from a newer onward.
        """
        values = read_toml(path)
        check_format(values, FORMAT_VERSION, str(path))
        return from_dict(cls, values, str(path))
