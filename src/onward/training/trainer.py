"""Trainer: a run's model, text and optimizer, one step after another."""

from __future__ import annotations

import dataclasses
import math
import time

import torch

from onward.data.batches import Batches
from onward.data.shards import read_token_file
from onward.device import resolve_device
from onward.errors import CheckpointError, NonFiniteError
from onward.generation.generator import generate
from onward.model.decoder import Decoder
from onward.model.init import initialise
from onward.run import Metrics, Run
from onward.tokenizer import Tokenizer
from onward.training.checkpoint import TrainerState, load_checkpoint, save_checkpoint
from onward.training.config import RunConfig
from onward.training.evaluate import Evaluation, evaluate, to_tensors
from onward.training.interrupt import Interrupt
from onward.training.loss import summed_loss
from onward.training.optimizer import Optimizer
from onward.training.progress import ProgressView
from onward.training.schedule import learning_rate_share

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
        self.model = Decoder(config.model)
        initialise(self.model, self.config.seed)
        self.model.to(resolve_device(self.config.device))
        self.model.tokenizer = Tokenizer.load(run.tokenizer_file)
        self.optimizer = Optimizer(self.model, self.config)
        self.validation_text = read_token_file(run.validation_tokens)
        training_text = read_token_file(run.training_tokens)
        # In a text of one document the end token says nothing about how a document begins; a line's end does.
        self._sample_prompt = "" if len(training_text.document_starts) > 1 else "\n"
        self.batches = Batches(
            training_text,
            context_length=config.model.context_length,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
        )
        self.state = TrainerState()
        self._session_began = time.perf_counter()

    def step(self) -> Metrics:
        """Take one step, and say how it went.

        Raises:
            NonFiniteError: the loss or its gradient is not finite; the weights are those of the step before.
        """
        batch = self.batches.at(self.state.step)
        n_targets = max(int(batch.loss_mask.sum()), 1)
        # Dropout draws from the global generator: seeded by the step, it is the same after a resume.
        torch.manual_seed(((self.config.seed << 32) + self.state.step) % (1 << 63))
        self.model.train()
        loss = 0.0
        for micro_batch in batch.split(self.config.micro_batch_size):
            tokens, targets, loss_mask = to_tensors(micro_batch, self.model.device)
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
                logits = self.model(tokens)
            micro_loss = summed_loss(logits, targets, loss_mask) / n_targets
            torch.autograd.backward(micro_loss)
            loss += micro_loss.item()
        gradient_norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise NonFiniteError(self._not_finite(loss, gradient_norm))
        share = learning_rate_share(self.state.step, self.config)
        self.optimizer.step(share)
        self.model.eval()
        self.state.step += 1
        self.state.tokens += n_targets
        return Metrics(
            step=self.state.step,
            tokens=self.state.tokens,
            seconds=self.state.seconds + time.perf_counter() - self._session_began,
            loss=loss,
            learning_rate_share=share,
            gradient_norm=gradient_norm,
        )

    def evaluate(self) -> Evaluation:
        """Predict the validation text."""
        return evaluate(self.model, self.validation_text, most_tokens=self.config.evaluation_tokens)

    def run(self, view: ProgressView) -> None:
        """Take every step that is left, beginning at the newest checkpoint; evaluate, sample and save on the way.

        Ctrl-C and SIGTERM save a checkpoint after the current step, then end the program as they always do.
        """
        with self.files.lock(), Interrupt() as interrupt:
            self._resume()
            view.begin(self.state.step)
            while self.state.step < self.config.steps:
                metrics = self.step()
                if self._is_due(self.config.evaluate_every):
                    evaluation = self.evaluate()
                    metrics = dataclasses.replace(
                        metrics,
                        validation_loss=evaluation.loss,
                        validation_bits_per_byte=evaluation.bits_per_byte,
                    )
                self.files.record(metrics)
                view.update(metrics)
                if metrics.validation_loss is not None:
                    self._sample(view)
                if interrupt.signal is not None or self._is_due(self.config.checkpoint_every):
                    self._save()
                if interrupt.signal is not None:
                    view.note(
                        f"stopped after step {self.state.step}, which is saved; "
                        f"go on with: onward train --out {self.files.folder} --resume"
                    )
                    interrupt.end()

    def _is_due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.config.steps

    def _resume(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        self.files.clean()
        folders = self.files.checkpoint_folders()
        if folders:
            try:
                self.state = load_checkpoint(folders[-1], self.model, self.optimizer)
            except CheckpointError as error:
                rest = f"from {folders[-2].name}" if len(folders) > 1 else "from the beginning"
                raise CheckpointError(f"{error}; delete {folders[-1]} to go on {rest}") from None
        self.files.forget_after(self.state.step)
        self._session_began = time.perf_counter()

    def _save(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self._session_began
        self._session_began = now
        save_checkpoint(self.files, self.model, self.optimizer, self.state)

    def _sample(self, view: ProgressView) -> None:
        text = generate(self.model, self._sample_prompt, max_tokens=_SAMPLE_TOKENS, seed=self.config.seed)
        self.files.add_sample(self.state.step, text)
        view.sample(self.state.step, text)

    def _not_finite(self, loss: float, gradient_norm: float) -> str:
        folders = self.files.checkpoint_folders()
        last = f"the last good checkpoint is {folders[-1]}" if folders else "there is no checkpoint before it"
        lower = [f"--set training.{name}={getattr(self.config, name) / 3:.2g}" for name in _LEARNING_RATES]
        exact = ", or with --set training.dtype=float32" if self.config.dtype == "bfloat16" else ""
        return (
            f"step {self.state.step + 1}: the loss is {loss} and the gradient's norm {gradient_norm}; {last}; "
            f"train anew with lower learning rates, such as {' '.join(lower)}{exact}"
        )
