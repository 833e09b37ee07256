"""Encoding and decoding with the vocabulary of a tokenizer of onward's, by onward and by each of its peers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from peers import TIKTOKEN_PATTERNS, installed

RANKS = "ranks.tiktoken"


class Peer(NamedTuple):
    """The ways into and out of ids that one library has."""

    name: str
    to_array: Callable[[str], Any] | None = None
    to_list: Callable[[str], Any] | None = None
    from_list: Callable[[Any], Any] | None = None
    from_array: Callable[[Any], Any] | None = None


def competitors(tokenizer: Any, folder: Path) -> list[Peer]:
    """onward first, then those of its peers that are installed and can have this tokenizer's vocabulary."""  # noqa: D403
    saved, ranks = folder / "tokenizer.json", folder / RANKS
    tokenizer.save(saved)
    tokenizer.save(ranks)
    onward = Peer(
        "onward",
        to_array=lambda text: tokenizer.encode_array(text, disallowed_special=()),
        to_list=lambda text: tokenizer.encode(text, disallowed_special=()),
        from_list=tokenizer.decode,
        from_array=tokenizer.decode,
    )
    makers = {"tokenizers": from_tokenizers, "tiktoken": from_tiktoken, "gigatoken": from_gigatoken}
    makers |= {"fastokens": from_fastokens, "tuetoken": from_tuetoken}
    if tokenizer.split_pattern == "cl100k" and tokenizer.vocab_size > 100_000:
        makers |= {"toktok": from_toktok, "quicktok": from_quicktok}  # they bring OpenAI's vocabularies, and no others
    return [onward, *(maker(saved, tokenizer) for name, maker in makers.items() if installed(name))]


def from_tokenizers(saved: Path, _: Any) -> Peer:
    import tokenizers

    peer = tokenizers.Tokenizer.from_file(str(saved))
    return Peer("tokenizers", to_list=lambda text: peer.encode(text).ids, from_list=peer.decode)


def from_tiktoken(_: Path, tokenizer: Any) -> Peer:
    import tiktoken

    learned = range(min(tokenizer.special_tokens.values()))  # the special tokens have the last ids
    ranks = {tokenizer.token_bytes(id_): id_ for id_ in learned}
    pattern = TIKTOKEN_PATTERNS[tokenizer.split_pattern]
    peer = tiktoken.Encoding("-", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Peer("tiktoken", peer.encode_to_numpy, peer.encode_ordinary, peer.decode)


def from_gigatoken(saved: Path, tokenizer: Any) -> Peer:
    import gigatoken

    # It does not know cl100k's pattern in a tokenizer.json.
    peer = gigatoken.Tokenizer.from_tiktoken(saved.with_name(RANKS), pretokenizer=tokenizer.split_pattern)
    return Peer(
        "gigatoken",
        to_array=peer.encode,
        to_list=lambda text: peer.encode_batch_list([text], parallel=False)[0],
        from_list=lambda ids: peer.decode(ids).decode(),
        from_array=lambda ids: peer.decode(ids).decode(),
    )


def from_fastokens(saved: Path, tokenizer: Any) -> Peer:
    import fastokens
    import numpy as np

    if tokenizer.split_pattern == "cl100k":  # whose tokenizer.json it does not take
        peer = fastokens.Tokenizer.from_tiktoken(str(saved.with_name(RANKS)), encoding="cl100k_base")
    else:
        peer = fastokens.Tokenizer.from_file(str(saved))
    return Peer(
        "fastokens",
        to_array=lambda text: np.frombuffer(peer.encode_batch_flat([text], split_special_tokens=True)[0], np.uint32),
        to_list=lambda text: peer.encode_ordinary(text).ids,
        from_list=peer.decode,
    )


def from_tuetoken(saved: Path, _: Any) -> Peer:
    import numpy as np
    import tuetoken

    peer = tuetoken.Tokenizer(str(saved))
    return Peer(
        "tuetoken",
        to_array=lambda text: np.frombuffer(peer.encode_to_bytes(text), np.uint32),
        to_list=peer.encode_ordinary,
        from_list=peer.decode,
        from_array=peer.decode_array,
    )


def from_toktok(_: Path, __: Any) -> Peer:
    import toktok

    peer = toktok._encoding("cl100k_base")  # what its README names for ids; the public functions only count
    return Peer("toktok", peer.encode_to_numpy, peer.encode_ordinary, peer.decode)


def from_quicktok(_: Path, __: Any) -> Peer:
    import quicktok

    peer = quicktok.get_encoding("cl100k_base")
    return Peer("quicktok", lambda text: peer.encode_batch([text], 1)[0], peer.encode_ordinary, peer.decode)
