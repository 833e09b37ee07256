"""Looking inside: HookPoint names a place, Hooks come with the call and record or edit what passes there."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from onward.errors import ConfigError

Edit = Callable[[Tensor], Tensor]


class Hooks:
    """What is recorded and what is changed during one call of a model.

    Names may hold wildcards, as in `blocks.*.attn.pattern`. What was recorded is in `cache`, by name. An edit takes
    the activation and returns what goes on in its place; a recording shows what went on.

    >>> import torch
    >>> hooks = Hooks(record=["blocks.*.mlp.out"], edit={"blocks.0.mlp.out": torch.zeros_like})
    >>> hooks.wants("blocks.3.mlp.out"), hooks.wants("embed")
    (True, False)
    """

    def __init__(self, *, record: str | Iterable[str] = (), edit: Mapping[str, Edit] | None = None) -> None:
        self.record = [record] if isinstance(record, str) else list(record)
        self.edit = dict(edit or {})
        self.cache: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        """Whether the place `name` is recorded or edited."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in [*self.record, *self.edit])

    def visit(self, name: str, activation: Tensor) -> Tensor:
        """Take what passes at `name`, and return what goes on."""
        for pattern, edit in self.edit.items():
            if fnmatch.fnmatchcase(name, pattern):
                edited = edit(activation)
                if not isinstance(edited, Tensor) or edited.shape != activation.shape:
                    got = tuple(edited.shape) if isinstance(edited, Tensor) else edited
                    raise ConfigError(
                        f"the edit of {name} must return a tensor of {tuple(activation.shape)}; got {got}"
                    )
                activation = edited
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.record):
            self.cache[name] = activation
        return activation

    def check(self, names: Iterable[str]) -> None:
        """Refuse a pattern that names no place of the model.

        Raises:
            ConfigError: with the names that there are.
        """
        names = list(names)
        for pattern in [*self.record, *self.edit]:
            if not fnmatch.filter(names, pattern):
                raise ConfigError(f"the model has no place {pattern!r}; it has {', '.join(names)}")


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
