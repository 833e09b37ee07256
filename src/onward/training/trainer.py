"""Trainer: a run's model, text and optimizer, one step after another."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time

import torch
from torch import distributed

from onward.data.batches import make_batches
from onward.data.shards import TokenFile, read_token_file
from onward.device import resolve_device
from onward.errors import CheckpointError, DataError, NonFiniteError
from onward.generation.generator import generate
from onward.run import Metrics, Run
from onward.tokenizer import Tokenizer
from onward.training.base import first_model
from onward.training.checkpoint import CheckpointWriter, TrainerState, fault_of, load_checkpoint, newest_whole
from onward.training.config import RunConfig
from onward.training.evaluate import Evaluation, evaluate, to_tensors
from onward.training.interrupt import Interrupt
from onward.training.loss import backward_in_chunks
from onward.training.memory import keep_freed_memory, lack_explained
from onward.training.optimizer import Optimizer
from onward.training.progress import ProgressView
from onward.training.schedule import learning_rate_share
from onward.training.speed import compiled, flops_a_token

_SAMPLE_TOKENS = 80
_LEARNING_RATES = ("learning_rate", "embed_learning_rate", "unembed_learning_rate")


class Trainer:
    """Everything that a run's config and folder determine: model, text, optimizer, and how far it has come.

    Args:
        run: the folder, with its tokenizer and its token files.
        config: what run.toml says.
    """

    def __init__(self, run: Run, config: RunConfig) -> None:
        self.files = run
        self.config = config.training
        # For the whole process: the order of the sums, and so the weights, depend on it.
        torch.set_num_threads(self.config.threads)
        keep_freed_memory()
        self.model = first_model(run, config).to(resolve_device(self.config.device))
        self.model.tokenizer = Tokenizer.load(run.tokenizer_file)
        self._resid = self.model.resid
        if self.config.compile:
            self._resid = compiled(self._resid, self.config.device)
        self._flops_a_token = flops_a_token(config.model)
        self.optimizer = Optimizer(self.model, self.config)
        self.validation_text = read_token_file(run.validation_tokens)
        if len(self.validation_text.tokens) < 2:
            raise DataError(
                f"{run.validation_tokens} has no token to predict: the text is too short to set a tenth of it aside; "
                f"give more text"
            )
        training_text = read_token_file(run.training_tokens)
        self._window_length = config.window_length
        self._sample_prompt = sample_prompt(training_text, self.validation_text)
        self.batches = make_batches(
            training_text,
            context_length=self._window_length,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
        )
        self.state = TrainerState()
        self._writer = CheckpointWriter(run, self.config.keep_checkpoints)
        self._session_began = time.perf_counter()

    def step(self) -> Metrics:
        """Take one step, and say how it went.

        Raises:
            NonFiniteError: the loss or its gradient is not finite; the weights are those of the step before.
        """
        began = time.perf_counter()
        batch = self.batches.at(self.state.step)
        n_targets = max(int(batch.loss_mask.sum()), 1)
        self.model.train()
        loss = 0.0
        for number, micro_batch in enumerate(batch.split(self.config.micro_batch_size)):
            # Dropout takes no generator of its own: the global one is seeded, so that it is the same after a resume.
            torch.manual_seed(random_seed(self.config.seed, "dropout", self.state.step, number, rank()))
            tokens, targets, loss_mask = to_tensors(micro_batch, self.model.device)
            # The backward pass too, so that the unembedding is cast once for all chunks; it computes in the same types.
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
                loss += backward_in_chunks(
                    self._resid(tokens),
                    self.model.unembed,
                    targets,
                    loss_mask,
                    n_targets=n_targets,
                    vocab_size=self.model.vocab_size,
                    label_smoothing=self.config.label_smoothing,
                )
        gradient_norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise NonFiniteError(self._not_finite(loss, gradient_norm))
        share = learning_rate_share(self.state.step, self.config)
        self.optimizer.step(share)
        self.model.eval()
        self.state.step += 1
        self.state.tokens += n_targets
        self.state.validation_loss = None
        now = time.perf_counter()
        flops = n_targets * self._flops_a_token / (now - began)
        return Metrics(
            step=self.state.step,
            tokens=self.state.tokens,
            seconds=self.state.seconds + now - self._session_began,
            loss=loss,
            learning_rate_share=share,
            gradient_norm=gradient_norm,
            tokens_per_second=n_targets / (now - began),
            flops_per_second=flops,
            peak_share=flops / self.config.peak_flops if self.config.peak_flops else None,
        )

    def evaluate(self, most_tokens: int | None = None) -> Evaluation:
        """Predict the validation text, or so many tokens of it (None: as the config says)."""
        most_tokens = most_tokens or self.config.evaluation_tokens
        return evaluate(self.model, self.validation_text, most_tokens=most_tokens, length=self._window_length)

    def run(self, view: ProgressView) -> None:
        """Take every step that is left, beginning at the newest whole checkpoint; evaluate, sample and save on the way.

        Ctrl-C and SIGTERM save a checkpoint after the current step, then end the program as they always do.

        Raises:
            NonFiniteError: the loss or its gradient is not finite.
            CheckpointError: the checkpoint to begin at belongs to another run, or one could not be written.
        """
        with self.files.lock(), Interrupt() as interrupt, self._writer:
            self._resume(view)
            view.begin(self.state.step)
            while not self._is_over():
                with lack_explained(self.model.config, self.config):
                    metrics = self.step()
                if self._is_due(self.config.evaluate_every):
                    evaluation = self.evaluate()
                    self._remember(evaluation.loss)
                    metrics = dataclasses.replace(
                        metrics,
                        validation_loss=evaluation.loss,
                        validation_bits_per_byte=evaluation.bits_per_byte,
                    )
                self.files.record(metrics)
                view.update(metrics)
                if metrics.validation_loss is not None:
                    self._sample(view)
                if interrupt.signal is not None or self._is_due(self.config.checkpoint_every) or self._is_over():
                    self._save()
                self._writer.check()
                if interrupt.signal is not None:
                    self._writer.wait()
                    view.note(
                        f"stopped after step {self.state.step}, which is saved; "
                        f"go on with: onward train --out {self.files.folder} --resume"
                    )
                    interrupt.end()
            if self.state.step < self.config.steps:
                view.note(f"stopped after step {self.state.step}: validation has stopped improving")

    def _remember(self, validation_loss: float) -> None:
        """Note an evaluation, and how long ago the best one was."""
        lowest = self.state.lowest_validation_loss
        is_lower = lowest is None or validation_loss < lowest
        self.state.validation_loss = validation_loss
        self.state.lowest_validation_loss = validation_loss if is_lower else lowest
        self.state.stale_evaluations = 0 if is_lower else self.state.stale_evaluations + 1

    def _is_over(self) -> bool:
        is_patient = not self.config.patience or self.state.stale_evaluations < self.config.patience
        return self.state.step >= self.config.steps or not is_patient

    def _is_due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.config.steps

    def _resume(self, view: ProgressView) -> None:
        """Take up the newest whole checkpoint, if there is one."""
        self.files.clean()
        if self.files.base.exists() and (fault := fault_of(self.files.base)) is not None:
            raise CheckpointError(f"the model that the run goes on from is broken: {fault}; train anew")
        folder, faults = newest_whole(self.files)
        for fault in faults:
            view.note(f"a broken checkpoint is skipped: {fault}")
        if folder is not None:
            self.state = load_checkpoint(folder, self.model, self.optimizer)
        self.files.forget_after(self.state.step)
        self._session_began = time.perf_counter()

    def _save(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self._session_began
        self._session_began = now
        self._writer.save(self.model, self.optimizer, self.state)

    def _sample(self, view: ProgressView) -> None:
        text = generate(self.model, self._sample_prompt, max_tokens=_SAMPLE_TOKENS, seed=self.config.seed)
        if not isinstance(self._sample_prompt, str):
            text = self.model.to_string(torch.tensor(self._sample_prompt)) + text
        self.files.add_sample(self.state.step, text)
        view.sample(self.state.step, text)

    def _not_finite(self, loss: float, gradient_norm: float) -> str:
        self._writer.wait()
        folders = self.files.checkpoint_folders()
        last = f"the last good checkpoint is {folders[-1]}" if folders else "there is no checkpoint before it"
        lower = [f"--set training.{name}={getattr(self.config, name) / 3:.2g}" for name in _LEARNING_RATES]
        exact = ", or with --set training.dtype=float32" if self.config.dtype == "bfloat16" else ""
        return (
            f"step {self.state.step + 1}: the loss is {loss} and the gradient's norm {gradient_norm}; {last}; "
            f"train anew with lower learning rates, such as {' '.join(lower)}{exact}"
        )


def sample_prompt(training_text: TokenFile, validation_text: TokenFile) -> str | list[int]:
    """What the model is to write on from, so that one sees what it has learned: a new document, or the first reply."""
    if validation_text.loss_mask is None:
        # In a text of one document the end token says nothing about how a document begins; a line's end does.
        return "" if len(training_text.document_starts) > 1 else "\n"
    first_reply = int(validation_text.loss_mask[1:].argmax()) + 1
    return [int(token) for token in validation_text.tokens[1:first_reply]]


def random_seed(seed: int, purpose: str, step: int, micro_batch: int, rank: int) -> int:
    """A seed of its own for every use of chance.

    >>> random_seed(1, "dropout", step=7, micro_batch=0, rank=0)
    8389601608541851290
    """
    key = (seed, purpose, step, micro_batch, rank)
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def rank() -> int:
    """The number of this process among those that train together; 0 where it trains alone.

    >>> rank()
    0
    """
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
