"""Weights in files: what each tensor is, known before it is read; and a model filled from them, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from onward.errors import CheckpointError, ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.linear import Int8Weight

FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor in a file, whose bytes are known to be there, but are not read yet."""

    shape: tuple[int, ...]
    """Its shape."""
    read: Callable[[], Tensor]
    """Read it."""


def _as_it_is(_name: str, tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How another library names and lays out the weights of a Decoder. Without arguments: as we do.

    Where several modules of ours have one name of theirs, they are one matrix there, its rows in the order of
    `modules`, as the projections of GPT-2's queries, keys and values are.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    """Their name of each module of ours; `{}` is the number of the block."""
    to_theirs: Callable[[str, Tensor], Tensor] = _as_it_is
    """A weight as they lay it out, from our name (the first, where there are several) and our weight."""
    to_ours: Callable[[str, Tensor], Tensor] = _as_it_is
    """The way back."""
    ignored: re.Pattern[str] = re.compile("(?!)")
    """Tensors of theirs that are no weights, such as a mask."""

    def groups(self, ours: Mapping[str, Tensor]) -> dict[str, list[str]]:
        """Which weights of ours are in each tensor of theirs."""
        order = {module: place for place, module in enumerate(self.modules)}
        groups: dict[str, list[str]] = {}
        for name in sorted(ours, key=lambda name: order.get(_without_number(name)[0], 0)):
            module, number, kind = _without_number(name)
            theirs = f"{self.modules[module].format(number)}.{kind}" if self.modules else name
            groups.setdefault(theirs, []).append(name)
        return groups

    def write(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our weights as theirs."""
        return {
            theirs: self.to_theirs(names[0], torch.cat([ours[name] for name in names]) if names[1:] else ours[names[0]])
            for theirs, names in self.groups(ours).items()
        }


AS_OURS = Layout()


def _without_number(name: str) -> tuple[str, str, str]:
    """The module of a weight, the number of its block, and its kind: `blocks.{}.mlp.up_proj`, `3`, `weight`, say."""
    module, _, kind = name.rpartition(".")
    if found := re.fullmatch(r"blocks\.(\d+)\.(.*)", module):
        return f"blocks.{{}}.{found[2]}", found[1], kind
    return module, "", kind


def stored_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        CheckpointError: the file is missing, cut short, or no safetensors file.
    """
    try:
        file: Any = safe_open(path, framework="pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)
        for name, stored in slices.items():
            if stored.get_dtype() not in FLOATS:
                raise CheckpointError(
                    f"{path}: {name} is of type {stored.get_dtype()}; onward reads weights of {', '.join(FLOATS)}"
                )
        return {
            name: StoredTensor(shape=tuple(stored.get_shape()), read=partial(file.get_tensor, name))
            for name, stored in slices.items()
        }
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}: the model is not whole") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is cut short or is no safetensors file ({error})") from None


def own_weights(model: Decoder) -> dict[str, Tensor]:
    """The model's weights by name, detached; a tied matrix once. Of one with adapters, those alone are its own.

    Raises:
        ConfigError: the weights are rounded to 8 bits.
    """
    if any(isinstance(module, Int8Weight) for module in model.modules()):
        raise ConfigError(
            "the weights of this model are rounded to int8, which is done on loading and never saved; "
            "load it with dtype=float32 to save or train it"
        )
    weights = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if model.lora is None or name.endswith((".lora_a", ".lora_b"))
    }
    return dict(sorted(weights.items()))


def blueprint(config: ModelConfig) -> dict[str, Tensor]:
    """The names and shapes of the weights that `config` asks for, without memory for them."""
    with torch.device("meta"):
        return own_weights(Decoder(config))


def make_decoder(
    kind: type[Decoder],
    config: ModelConfig,
    stored: Mapping[str, StoredTensor],
    where: Path,
    device: str,
    layout: Layout = AS_OURS,
) -> Decoder:
    """A decoder with the weights in `stored`; no memory is taken before they are known to fit.

    Raises:
        CheckpointError: as `fill`.
    """
    if config.n_layers > len(stored):
        raise CheckpointError(f"{where} has {len(stored)} tensors; the config asks for {config.n_layers} blocks")
    _match(blueprint(config), stored, where, layout)
    model = kind(config).to(device)
    fill(model, stored, where, layout)
    return model.requires_grad_(False)


@torch.no_grad()
def fill(model: Decoder, stored: Mapping[str, StoredTensor], where: Path, layout: Layout = AS_OURS) -> None:
    """Fill the model's weights.

    Raises:
        CheckpointError: a tensor is missing, not the model's, of another shape, or not finite; each is named.
    """
    ours = own_weights(model)
    for theirs, names in _match(ours, stored, where, layout).items():
        tensor = stored[theirs].read()
        if not (tensor.sum(dtype=torch.float32).isfinite() or tensor.isfinite().all()):
            raise CheckpointError(f"{where}: {theirs} holds a number that is not finite: the weights are broken")
        parts = torch.split(layout.to_ours(names[0], tensor), [len(ours[name]) for name in names])
        for name, part in zip(names, parts, strict=True):
            ours[name].copy_(part)


def _match(
    ours: Mapping[str, Tensor], stored: Mapping[str, StoredTensor], where: Path, layout: Layout
) -> dict[str, list[str]]:
    """Which weights of ours are in each stored tensor, once all are known to be there and of the right shape."""
    groups = layout.groups(ours)
    if missing := groups.keys() - stored.keys():
        raise CheckpointError(f"{where} lacks {_some(missing)}: it belongs to another model than its config says")
    if extra := {name for name in stored.keys() - groups.keys() if not layout.ignored.fullmatch(name)}:
        raise CheckpointError(f"{where} has {_some(extra)}, unknown to the model that its config describes")
    for theirs, names in groups.items():
        empty = torch.cat([torch.empty(ours[name].shape, device="meta") for name in names])
        expected = tuple(layout.to_theirs(names[0], empty).shape)
        if stored[theirs].shape != expected:
            raise CheckpointError(f"{where}: {theirs} has shape {stored[theirs].shape}; the config makes it {expected}")
    return groups


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
