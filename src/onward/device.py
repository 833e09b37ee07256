"""Where models run and in which numbers, chosen once at the edge."""

from __future__ import annotations

from onward.errors import ConfigError

DTYPES = ("float32", "bfloat16", "int8")
"""What the weights of a loaded model can be kept in."""


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


def resolve_dtype(name: str) -> str:
    """The number type of that name; auto: float32, which holds every weight exactly, however it was saved.

    Raises:
        ConfigError: there is no such type.

    >>> resolve_dtype("auto")
    'float32'
    """
    if name == "auto":
        return "float32"
    if name not in DTYPES:
        raise ConfigError(f"there is no dtype {name!r}; there are auto, {', '.join(DTYPES)}")
    return name
