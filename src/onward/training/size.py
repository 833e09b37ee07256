"""The size of a model that nobody gave: by the length of the text, the time, and the speed of the machine."""

from __future__ import annotations

from onward.model.config import preset
from onward.model.decoder import count_parameters
from onward.training.recipe import MOST_EPOCHS, default_vocab_size
from onward.training.speed import flops_a_token

SIZES = ("tiny", "small", "base")
"""The sizes to choose from, the smallest first: those of onward's own form."""

# Tokens a parameter: a larger model learns more of each token, but sees fewer in the same time; see docs/recipe.md.
_FEWEST = 2.0
# Of the speed in large matrix products, what a step with all that goes with it was measured to reach.
_USED_SHARE = 0.35
_BYTES_A_TOKEN = 2.0


def choose_size(n_bytes: int, minutes: float, peak_flops: float) -> tuple[str, str]:
    """The largest size that sees two tokens for each of its parameters, in the time and in five epochs of the text.

    Args:
        n_bytes: length of the training text.
        minutes: how long the run may take.
        peak_flops: floating-point operations a second of the machine in large matrix products.

    Returns:
        The size, and in one line why it is that.

    >>> choose_size(1_000_000, minutes=10, peak_flops=100e9)[0]
    'small'
    >>> print(choose_size(1_000_000, minutes=1, peak_flops=100e9)[1])
    tiny sees about 13 tokens a parameter in 1 minute; small would see 0.37, fewer than 2
    """
    chosen, reason, limits = SIZES[0], "", ""
    for name in SIZES:
        config = preset(name, vocab_size=default_vocab_size(n_bytes, preset(name, vocab_size=1).d_model))
        in_time = 60 * minutes * _USED_SHARE * peak_flops / flops_a_token(config)
        in_text = MOST_EPOCHS * n_bytes / _BYTES_A_TOKEN
        share = min(in_time, in_text) / count_parameters(config)
        limit = f" in {minutes:g} minute{'s'[: minutes != 1]}" if in_time < in_text else f" in {MOST_EPOCHS} epochs"
        if share < _FEWEST and name != SIZES[0]:
            then = "" if limit == limits else limit
            return chosen, f"{reason}; {name} would see {share:.2g}{then}, fewer than {_FEWEST:g}"
        chosen, reason, limits = name, f"{name} sees about {share:.2g} tokens a parameter{limit}", limit
    return chosen, reason
