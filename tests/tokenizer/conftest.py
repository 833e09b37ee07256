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


PUBLISHED = {
    "gpt2": ("gpt2", reference.PATTERNS["gpt2"]),
    "cl100k": (
        "cl100k_base.tiktoken.gz",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    "o200k": ("o200k_base.tiktoken.gz", reference.PATTERNS["o200k"]),
}
"""Where the vocabularies that OpenAI published are, and the expressions that tiktoken splits by."""


@pytest.fixture(scope="session", params=PUBLISHED)
def published(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Tokenizer, tiktoken.Encoding]:
    """A published tokenizer, and tiktoken's own of the same vocabulary, which it would otherwise download."""
    file, expression = PUBLISHED[request.param]
    tokenizer = Tokenizer.load(shared_data / "tokenizers" / file)
    special = set(tokenizer.special_tokens.values())
    tokens = {id_: tokenizer.token_bytes(id_) for id_ in range(tokenizer.vocab_size) if id_ not in special}
    peer = tiktoken.Encoding(
        request.param,
        pat_str=expression,
        mergeable_ranks={token: id_ for id_, token in tokens.items() if token},
        special_tokens=tokenizer.special_tokens,
    )
    return tokenizer, peer


@pytest.fixture(scope="session")
def real_texts(shared_data: Path) -> dict[str, str]:
    names = ("alice_in_wonderland", "wikitext2_raw_valid", "tinyshakespeare")
    return {
        name: gzip.decompress((shared_data / f"text/{name}.txt.gz").read_bytes()).decode()[:300_000] for name in names
    }
