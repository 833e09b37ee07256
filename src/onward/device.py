"""Where models run, chosen once at the edge."""

from __future__ import annotations

from onward.errors import ConfigError


def resolve_device(name: str) -> str:
    """The device of that name; auto: the fastest that this machine has, of cuda, mps and cpu.

    Raises:
        ConfigError: there is no such device here.

    >>> resolve_device("cpu")
    'cpu'
    """
    import torch

    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here[:0] = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return here[0]
    if name not in here:
        raise ConfigError(f"there is no device {name!r} on this machine; there are {', '.join(here)}")
    return name
