from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from onward.training.adamw import AdamW


def test_is_torchs() -> None:
    generator = torch.Generator().manual_seed(1)
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (5,), (2, 2))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    settings = {"betas": (0.9, 0.95), "weight_decay": 0.1}
    one, other = (
        kind([{"params": given[:2], "lr": 0.03}, {"params": given[2:], "lr": 0.01, "weight_decay": 0.0}], **settings)
        for kind, given in ((AdamW, ours), (lambda *a, **k: torch.optim.AdamW(*a, **k, fused=True), theirs))
    )
    for _ in range(4):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            its.grad = mine.grad.clone()
        ours[1].grad = theirs[1].grad = None
        one.step()
        other.step()
    assert all(torch.equal(mine, its) for mine, its in zip(ours, theirs, strict=True))
    one.zero_grad()
    assert all(parameter.grad is None for parameter in ours)


def test_training_does_not_import_what_compiling_needs() -> None:
    """It would take as long again as torch itself, at the start of every run."""
    code = (
        "import sys, torch\n"
        "import onward.training.train\n"
        "from onward.training.optimizer import Optimizer\n"
        "from onward.training.config import TrainingConfig\n"
        "model = torch.nn.Module()\n"
        "model.weight = torch.nn.Parameter(torch.ones(2))\n"
        "model.weight.sum().backward()\n"
        "Optimizer(model, TrainingConfig(steps=1)).step(1.0)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
