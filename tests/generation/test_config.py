from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from onward.errors import ConfigError
from onward.generation.config import Sampling


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0 (greedy) or above; got -1.0"),
        ({"temperature": math.nan}, "temperature must be 0 (greedy) or above; got nan"),
        ({"temperature": math.inf}, "temperature must be 0"),
        ({"top_k": 0}, "top_k must be a whole number from 1 to"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1; got 0.0; None to draw from all"),
        ({"top_p": 1.1}, "top_p must be above 0"),
        ({"top_p": math.nan}, "top_p must be above 0"),
        ({"min_p": 0}, "min_p must be above 0"),
        ({"min_p": 2}, "min_p must be above 0"),
        ({"repetition_penalty": 0}, "repetition_penalty must be from 0.01 to 100; got 0; 1 for none"),
        ({"presence_penalty": 2.1}, "presence_penalty must be from -2 to 2"),
        ({"frequency_penalty": math.nan}, "frequency_penalty must be from -2 to 2"),
        ({"logit_bias": [(3, 101)]}, "the logit_bias of token 3 must be from -100 to 100; got 101"),
        ({"logit_bias": [(-1, 0)]}, "a token id in logit_bias must be a whole number from 0"),
        ({"banned_tokens": [True]}, "a token id in banned_tokens must be a whole number from 0"),
        ({"stop": [""]}, "a stop string must have at least one character"),
        ({"min_tokens": -1}, "min_tokens must be a whole number from 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens = 9 is above max_tokens = 8"),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        ({"seed": 10**20}, "seed must be a whole number from 0 to"),
        ({"seed": -1}, "seed must be a whole number from 0 to"),
        ({"n": 10**9}, "n must be a whole number from 1 to 128; got 1000000000; ask again for more"),
        ({"n": 0}, "n must be a whole number from 1 to 128"),
        ({"logprobs": 10**9}, "logprobs must be a whole number from 0 to 1,000"),
    ],
)
def test_values_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Sampling(**settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["banned_tokens", "stop_tokens", "logit_bias"])
def test_tokens_that_the_model_does_not_have(name: str) -> None:
    sampling = Sampling(**{name: [(300, 1.0)] if name == "logit_bias" else [300]})
    sampling.check_vocabulary(301)
    with pytest.raises(ConfigError, match=f"{name} names token 300; the model's tokens are 0 to 299"):
        sampling.check_vocabulary(300)


def test_values_of_the_wrong_type() -> None:
    """In a process of its own, whose types nobody checks at run time."""
    code = """
from onward.errors import ConfigError
from onward.generation.config import Sampling
for settings in ({"temperature": "hot"}, {"top_k": 1.5}, {"stop_tokens": ["end"]}, {"stop": [3]}, {"context": "jump"}):
    try:
        Sampling(**settings)
    except ConfigError as error:
        print(error)
assert Sampling(logit_bias={3: 4}) == Sampling(logit_bias=[(3, 4)])
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert printed == [
        "temperature must be 0 (greedy) or above; got 'hot'",
        "top_k must be a whole number from 1 to 2,147,483,648; got 1.5; None to draw from all",
        "a token id in stop_tokens must be a whole number from 0 to 2,147,483,648; got 'end'; "
        "see: onward tokenizer encode",
        "a stop string must have at least one character; got 3; leave it out",
        "context must be 'slide' or 'refuse'; got 'jump'",
    ]
