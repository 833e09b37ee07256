"""Where models run, chosen once at the edge."""

from __future__ import annotations


def best_device() -> str:
    """The fastest kind of device that this machine has: cuda, mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
