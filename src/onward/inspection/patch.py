"""Ablation and activation patching: edits for Hooks, which change what passes and so show what it was there for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from onward.errors import ConfigError
from onward.model.hook import Edit, place_of


def ablate(
    names: str, *, heads: Sequence[int] | None = None, positions: Sequence[int] | None = None
) -> dict[str, Edit]:
    """Edits that put 0 at the places `names`: at these heads and positions, or at all.

    Args:
        names: one place, or several by wildcards.
        heads: which heads, for places that have them; those of k and v are counted as such.
        positions: which of the tokens of the call, from 0, or from -1 backwards; at scores and pattern, the queries.

    Raises:
        ConfigError: when the model runs, for a head or a position that is not there.

    >>> from onward import Hooks
    >>> hooks = Hooks(edit=ablate("blocks.*.attn.z", heads=[1]))
    >>> hooks.visit("blocks.0.attn.z", torch.ones(1, 2, 1, 3)).tolist()
    [[[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]]
    """

    def edit(activation: Tensor, name: str) -> Tensor:
        return activation.masked_fill(_chosen(activation, name, heads, positions), 0)

    return {names: edit}


def patch(
    names: str,
    cache: Mapping[str, Tensor],
    *,
    heads: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
) -> dict[str, Edit]:
    """Edits that put at the places `names` what another run had there: at these heads and positions, or at all.

    Source: Vig et al., Causal Mediation Analysis, 2020; Meng et al., Locating and Editing Factual Associations, 2022.

    Args:
        names: one place, or several by wildcards.
        cache: what `run_with_cache` recorded of a text of as many tokens; one row serves all rows.
        heads: as for `ablate`.
        positions: as for `ablate`.

    Raises:
        ConfigError: when the model runs, for a head or a position that is not there, or a cache that does not fit.

    >>> from onward import Hooks
    >>> hooks = Hooks(edit=patch("embed", {"embed": torch.ones(1, 3, 1)}, positions=[-1]))
    >>> hooks.visit("embed", torch.zeros(1, 3, 1)).flatten().tolist()
    [0.0, 0.0, 1.0]
    """

    def edit(activation: Tensor, name: str) -> Tensor:
        if name not in cache:
            raise ConfigError(f"{name} is to be patched, but was not recorded; record it with names={names!r}")
        source = cache[name].to(activation)
        if source.shape[1:] != activation.shape[1:] or source.shape[0] not in (1, activation.shape[0]):
            raise ConfigError(
                f"the cache holds {name} of {tuple(source.shape)}, and here {tuple(activation.shape)} passes; "
                f"patch between texts of as many tokens"
            )
        return torch.where(_chosen(activation, name, heads, positions), source, activation)

    return {names: edit}


def _chosen(
    activation: Tensor, name: str, heads: Sequence[int] | None, positions: Sequence[int] | None
) -> Bool[Tensor, "*axes"]:
    """True where the activation is of one of these heads and of one of these positions."""
    chosen = torch.ones([1] * activation.ndim, dtype=torch.bool, device=activation.device)
    for what, wanted, axis_names in (("head", heads, {"head", "kv_head"}), ("position", positions, {"pos", "q_pos"})):
        if wanted is None:
            continue
        axes = place_of(name).axes
        axis = next((axis for axis, axis_name in enumerate(axes) if axis_name in axis_names), None)
        if axis is None:
            raise ConfigError(f"{name} has no {what}s to choose from; its axes are {', '.join(axes)}")
        size = activation.shape[axis]
        for index in wanted:
            if not -size <= index < size:
                raise ConfigError(f"there is no {what} {index} at {name}; it has {size}, from 0")
        along = torch.zeros(size, dtype=torch.bool, device=activation.device)
        along[list(wanted)] = True
        chosen = chosen & along.view([size if other == axis else 1 for other in range(activation.ndim)])
    return chosen
