"""The one linear layer and the one embedding of every model."""

from __future__ import annotations

from torch import nn


class Linear(nn.Linear):
    """torch's linear layer, whose weights are left as they are until `initialise` or a checkpoint fills them."""

    def reset_parameters(self) -> None:
        """Do nothing: all initialisation is in model/init.py."""


class Embedding(nn.Embedding):
    """torch's embedding, whose weights are left as they are until `initialise` or a checkpoint fills them."""

    def reset_parameters(self) -> None:
        """Do nothing: all initialisation is in model/init.py."""
