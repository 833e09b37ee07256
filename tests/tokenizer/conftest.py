"""Texts that are hard to cut, and the published tokenizers to compare with."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

import pytest
import tiktoken
from hypothesis import strategies as st

from onward.tokenizer import Tokenizer, reference

SHAKESPEARE = gzip.decompress(resources.files("onward").joinpath("assets/tinyshakespeare.txt.gz").read_bytes()).decode()

# What uniform draws nearly never meet: borders between classes, contractions, runs of white space, combining marks,
# rare scripts, numbers that are no digits, characters outside the first plane.
_PARTS = [
    *"abstdmrevlTLRE'’.,!?-_<|>#/\\",
    *" \t\n\r\x0b\x0c\x1c\x85\u00a0\u1680\u2003\u2028\u202f\u3000",
    *"0159٣३Ⅷ²½〇",
    *"éßſǅʰЖжΩאعकதไ日本カ각𐐀𝒳",
    *"\u0301\u0308\u093f\u0e31\u20dd\u200d\ufe0f🙂👍🏽\x00\u007f\ufeff\ufffd\U0010ffff",
    *("'s", "'ll", "'re", "'LL", " '", "''", "  ", "   ", "\r\n", "\n\n", " \n", "<|endoftext|>"),
]
tricky_text = st.lists(
    st.one_of(
        st.sampled_from(_PARTS),
        st.tuples(st.sampled_from(_PARTS), st.integers(2, 70)).map(lambda part: part[0] * part[1]),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
).map("".join)


@pytest.fixture(scope="session")
def gpt2(shared_data: Path) -> Tokenizer:
    return Tokenizer.load(shared_data / "tokenizers/gpt2")


@pytest.fixture(scope="session")
def tiktoken_gpt2(gpt2: Tokenizer) -> tiktoken.Encoding:
    """tiktoken's own GPT-2, which it would otherwise download."""
    ranks = {gpt2.token_bytes(id_): id_ for id_ in range(50256)}
    return tiktoken.Encoding(
        "gpt2",
        pat_str=reference.PATTERNS["gpt2"],
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 50256},
    )


@pytest.fixture(scope="session")
def real_texts(shared_data: Path) -> dict[str, str]:
    names = ("alice_in_wonderland", "wikitext2_raw_valid", "tinyshakespeare")
    return {
        name: gzip.decompress((shared_data / f"text/{name}.txt.gz").read_bytes()).decode()[:300_000] for name in names
    }
