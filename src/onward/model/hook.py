"""Looking inside: HookPoint names a place, Hooks come with the call and record or edit what passes there."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onward.errors import ConfigError

Edit = Callable[..., Tensor]
"""A function of an activation, and of the name of its place if it has a parameter `name`."""


class Place(NamedTuple):
    """What passes at a place: the names of its axes, and what it is."""

    axes: tuple[str, ...]
    meaning: str


def _place(axes: str, meaning: str) -> Place:
    return Place(tuple(axes.split()), meaning)


PLACES = {
    "embed": _place("batch pos d_model", "the token's embedding"),
    "position_embed": _place("#batch pos d_model", "what is added for the position, where positions are added"),
    "blocks.{i}.resid_pre": _place("batch pos d_model", "the residual stream as the block finds it"),
    "blocks.{i}.attn.q": _place("batch head pos d_head", "queries, normed and turned as the scores see them"),
    "blocks.{i}.attn.k": _place("batch kv_head pos d_head", "keys of these tokens, likewise"),
    "blocks.{i}.attn.v": _place("batch kv_head pos d_value", "values of these tokens"),
    "blocks.{i}.attn.scores": _place("batch head q_pos k_pos", "q·k / sqrt(d_head); -inf where a key is hidden"),
    "blocks.{i}.attn.pattern": _place("batch head q_pos k_pos", "softmax of the scores: who attends to whom"),
    "blocks.{i}.attn.z": _place("batch head pos d_value", "the values, averaged by the pattern"),
    "blocks.{i}.attn.out": _place("batch pos d_model", "what attention adds to the residual stream"),
    "blocks.{i}.resid_mid": _place("batch pos d_model", "the residual stream after attention"),
    "blocks.{i}.mlp.pre": _place("batch pos d_mlp", "the feedforward layer before its activation"),
    "blocks.{i}.mlp.post": _place("batch pos d_mlp", "and after it: what the narrowing layer takes"),
    "blocks.{i}.mlp.out": _place("batch pos d_model", "what the feedforward layer adds to the residual stream"),
    "blocks.{i}.resid_post": _place("batch pos d_model", "the residual stream as the block leaves it"),
    "final_norm": _place("batch pos d_model", "the residual stream as `unembed` takes it"),
    "logits": _place("batch pos vocab", "the score of every token as the next one"),
}
"""Every place of a model, in the order in which data passes them; {i} is the number of a block, from 0.

All forms have all of them, but for `position_embed`, which is there where positions are learned or sinusoidal.
"""


def place_of(name: str) -> Place:
    """The place in the table that `name` is an instance of.

    >>> place_of("blocks.3.attn.z").axes
    ('batch', 'head', 'pos', 'd_value')
    """
    return PLACES[_in_any_block(name)]


class Shapes(NamedTuple):
    """A place in all blocks in which activations of one shape pass: blocks.{0-11}.mlp.out."""

    place: str
    names: str
    n_blocks: int
    shape: tuple[int, ...]


def by_place(shapes: Mapping[str, tuple[int, ...]]) -> list[Shapes]:
    """Shapes by name, brought to one line for each place and shape, in the order of the first name.

    >>> by_place({"blocks.0.mlp.out": (1, 8), "blocks.1.mlp.out": (1, 8)})[0].names
    'blocks.{0-1}.mlp.out'
    """
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, shape in shapes.items():
        groups.setdefault((_in_any_block(name), shape), []).append(name)
    return [Shapes(place, _span(place, names), len(names), shape) for (place, shape), names in groups.items()]


class ActivationCache(dict[str, Tensor]):
    """What was recorded, by name, in the order in which it passed.

    A name with wildcards gives all that match, stacked along a new first axis: `cache["blocks.*.attn.pattern"]` has
    the axes layer, batch, head, q_pos, k_pos. `select` gives them by name instead.

    >>> cache = ActivationCache({f"blocks.{i}.mlp.out": torch.zeros(1, 5, 8) for i in range(2)})
    >>> cache["blocks.1.mlp.out"].shape, cache["blocks.*.mlp.out"].shape
    (torch.Size([1, 5, 8]), torch.Size([2, 1, 5, 8]))
    >>> cache
    ActivationCache of 2 activations, torch.float32
      blocks.{0-1}.mlp.out  2 x (1, 5, 8)  batch pos d_model
    """

    def __missing__(self, name: str) -> Tensor:
        found = self.select(name)
        if not found:
            raise ConfigError(f"{name!r} was not recorded{_near(name, self)}")
        if len({tensor.shape for tensor in found.values()}) > 1:
            raise ConfigError(
                f"{name!r} matches activations of different shapes, which cannot be stacked; "
                f"cache.select({name!r}) gives them by name"
            )
        return torch.stack(list(found.values()))

    def select(self, pattern: str) -> ActivationCache:
        """The activations whose names match."""
        return ActivationCache({name: self[name] for name in fnmatch.filter(self, pattern)})

    def __repr__(self) -> str:
        kinds = ", ".join(sorted({str(tensor.dtype) for tensor in self.values()}))
        rows = [
            (
                names,
                f"{f'{n_blocks} x ' if n_blocks > 1 else ''}{shape}",
                " ".join(PLACES[place].axes) if place in PLACES else "",
            )
            for place, names, n_blocks, shape in by_place({name: tuple(tensor.shape) for name, tensor in self.items()})
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        lines = [f"  {names:{widths[0]}}  {shape:{widths[1]}}  {axes}" for names, shape, axes in rows]
        return "\n".join([f"ActivationCache of {len(self)} activations{', ' if kinds else ''}{kinds}", *lines])


class Hooks:
    """What is recorded and what is changed during one call of a model.

    Names may hold wildcards, as in `blocks.*.attn.pattern` or `blocks.[01].mlp.*`. What was recorded is in `cache`; a
    second call with the same Hooks records over it. An edit takes the activation and returns, as a new tensor of the
    same shape, what goes on in its place; an edit with a parameter `name` is told the name of the place. A recording
    shows what went on.

    Args:
        record: names to record.
        edit: edits by name; of several that match a place, each takes what the one before returned.

    >>> hooks = Hooks(record=["blocks.*.mlp.out"], edit={"blocks.0.mlp.out": torch.zeros_like})
    >>> hooks.wants("blocks.3.mlp.out"), hooks.wants("embed")
    (True, False)
    """

    def __init__(self, *, record: str | Iterable[str] = (), edit: Mapping[str, Edit] | None = None) -> None:
        self._record = [record] if isinstance(record, str) else list(record)
        self._edit = {pattern: _told_the_name(pattern, function) for pattern, function in (edit or {}).items()}
        # Compiled here and not where they are used, so that torch.compile can follow a call with hooks.
        self._match = {name: re.compile(fnmatch.translate(name)).match for name in [*self._record, *self._edit]}
        self.cache = ActivationCache()

    def wants(self, name: str) -> bool:
        """Whether the place `name` is recorded or edited."""
        return any(match(name) for match in self._match.values())

    def visit(self, name: str, activation: Tensor) -> Tensor:
        """Take what passes at `name`, and return what goes on.

        Raises:
            ConfigError: an edit returns something that cannot take the activation's place.
        """
        for pattern, edit in self._edit.items():
            if self._match[pattern](name):
                edited = edit(activation, name)
                if not isinstance(edited, Tensor) or _kind(edited) != _kind(activation):
                    raise ConfigError(
                        f"the edit of {name} must return a tensor of {_described(activation)}; got {_described(edited)}"
                    )
                activation = edited
        if any(self._match[pattern](name) for pattern in self._record):
            self.cache[name] = activation
        return activation

    def check(self, names: Iterable[str]) -> None:
        """Refuse a pattern that matches none of the model's places.

        Raises:
            ConfigError: with the names nearest to it.
        """
        names = list(names)
        for pattern, match in self._match.items():
            if not any(match(name) for name in names):
                raise ConfigError(f"the model has no place {pattern!r}{_near(pattern, names)} (model.hook_names: all)")


class HookPoint:
    """A place in the forward pass that has a name; without hooks it costs one comparison."""

    name = ""

    def __call__(self, activation: Tensor, hooks: Hooks | None) -> Tensor:
        """Let the activation pass, by way of the call's hooks if it has any."""
        return activation if hooks is None else hooks.visit(self.name, activation)


def name_hook_points(model: nn.Module) -> list[str]:
    """Name each HookPoint of the model by its module and attribute, and return the names in the order of definition.

    The attribute `hook_pattern` of the module `blocks.0.attn` becomes `blocks.0.attn.pattern`.
    """
    names = []
    for module_name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, HookPoint):
                value.name = f"{module_name}.{attribute.removeprefix('hook_')}".removeprefix(".")
                names.append(value.name)
    return names


def _told_the_name(pattern: str, edit: Edit) -> Callable[[Tensor, str], Tensor]:
    """The edit as a function of an activation and a name, whether it asks for the name or not."""
    if not callable(edit):
        raise ConfigError(f"the edit of {pattern} must be a function of an activation; got {edit!r}")
    try:
        parameter = inspect.signature(edit).parameters.get("name")
    except ValueError:  # many functions of torch, such as zeros_like, have no signature
        parameter = None
    if parameter is not None and parameter.default is inspect.Parameter.empty:
        return lambda activation, name: edit(activation, name=name)
    return lambda activation, _: edit(activation)


def _kind(activation: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return activation.shape, activation.dtype, activation.device


def _described(activation: object) -> str:
    if not isinstance(activation, Tensor):
        return repr(activation)
    return f"shape {tuple(activation.shape)}, {activation.dtype}, on {activation.device}"


def _near(wanted: str, names: Iterable[str]) -> str:
    """The names that may have been meant."""
    names = list(names)
    inside = [name for name in names if name.startswith(f"{wanted}.")]
    near = inside or difflib.get_close_matches(wanted, names, n=4, cutoff=0.5) or names
    return f"; near it: {', '.join(near[:4])}" if near else ""


def _in_any_block(name: str) -> str:
    return re.sub(r"\.\d+\.", ".{i}.", name, count=1)


def _span(place: str, names: list[str]) -> str:
    """The names of one place in several blocks, as one."""
    if len(names) == 1:
        return names[0]
    numbers = [int(match[1]) for name in names if (match := re.search(r"\.(\d+)\.", name))]
    whole = numbers == list(range(numbers[0], numbers[-1] + 1))
    text = f"{numbers[0]}-{numbers[-1]}" if whole else ",".join(map(str, numbers))
    return place.replace("{i}", f"{{{text}}}")
