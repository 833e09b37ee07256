from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onward.generation.text import TextStream
from onward.tokenizer import Tokenizer

BYTES = Tokenizer.train_on(["ab"], vocab_size=257)
TOKEN_OF = {BYTES.token_bytes(token): token for token in range(256)}


def shown(text: str, stop: list[str]) -> tuple[list[str], bool]:
    stream = TextStream(BYTES, stop)
    pieces = [stream.push(TOKEN_OF[bytes([byte])]) for byte in text.encode()]
    return [*pieces, stream.finish()], stream.stopped


def first_to_end(text: str, stop: list[str]) -> str:
    """What is to be shown, found by looking at every beginning of the text."""
    for end in range(1, len(text) + 1):
        ending = [one for one in stop if text[:end].endswith(one)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


def test_a_stop_string_across_tokens_is_never_shown() -> None:
    assert shown("no, not so", ["not"]) == (["", "", "no,", " ", "", "", "", "", "", "", ""], True)


def test_what_only_begins_like_one_is_shown_as_soon_as_that_is_sure() -> None:
    assert shown("nonot", ["note"]) == (["", "", "no", "", "", "not"], False)


def test_whole_characters_only() -> None:
    assert shown("日é", []) == (["", "", "日", "", "é", ""], False)
    assert shown("日本", ["本"]) == (["", "", "日", "", "", "", ""], True)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_the_first_whole_stop_string_ends_the_text(text: str, stop: list[str]) -> None:
    pieces, stopped = shown(text, stop)
    assert "".join(pieces) == first_to_end(text, stop)
    assert stopped == any(one in text for one in stop)


@given(
    st.lists(st.text("abc", min_size=1, max_size=5), max_size=5),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_how_the_text_falls_into_pieces_changes_nothing(pieces: list[str], stop: list[str]) -> None:
    stream = TextStream(BYTES, stop)
    text = "".join("" if stream.stopped else stream._show(piece) for piece in pieces) + stream.finish()
    assert text == first_to_end("".join(pieces), stop)
