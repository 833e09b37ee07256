"""JSON Lines of messages → conversations → tokens, of which the replies are learned."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from onward.data.chat import ROLES, SOME_ROLE, Message, conversation_tokens
from onward.data.shards import TokenFile
from onward.data.text import as_data_error, open_texts
from onward.errors import DataError
from onward.tokenizer.sources import TextFiles
from onward.tokenizer.tokenizer import Tokenizer

_ONE_IN = 10  # conversations, one is set aside

Conversation = list[Message]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedConversations:
    """The tokens of conversations."""

    tokens: list[npt.NDArray[np.uint32]]
    """Of each conversation, shape (token,)."""
    loss_masks: list[npt.NDArray[np.bool_]]
    """Of each conversation, which tokens are of a reply, shape (token,)."""
    n_bytes: int
    """Length in UTF-8 of what these tokens say."""
    n_cut: int
    """How many were longer, and end with an earlier reply."""
    n_left_out: int
    """How many are left out, since not even their first reply fits."""

    @property
    def longest(self) -> int:
        """Tokens of the longest one."""
        return max(map(len, self.tokens), default=0)

    def as_token_file(self, tokenizer: Tokenizer) -> TokenFile:
        """The same in memory as a token file is on disk, each conversation led by the end token."""
        end = np.array([tokenizer.end_token or 0], np.uint32)
        starts = np.cumsum([0, *(1 + len(tokens) for tokens in self.tokens[:-1])])
        return TokenFile(
            tokens=np.concatenate([part for tokens in self.tokens for part in (end, tokens)]),
            document_starts=starts.astype(np.uint64),
            loss_mask=np.concatenate([part for mask in self.loss_masks for part in ([0], mask)]).astype(np.uint8),
            vocab_size=tokenizer.vocab_size,
            n_bytes=self.n_bytes,
        )


def encode_conversations(
    tokenizer: Tokenizer, conversations: Sequence[Conversation], most: int
) -> EncodedConversations:
    """Encode conversations; of one that has more than `most` tokens, as many replies as fit.

    Raises:
        ConfigError: a tokenizer without the role tokens.
        DataError: none fits.
    """
    encoded = [conversation_tokens(tokenizer, messages) for messages in conversations]
    fitting = [_up_to_a_reply(tokens, mask, most) for tokens, mask in encoded]
    kept = [pair for pair in fitting if len(pair[0])]
    if not kept:
        shortest = min(int(np.flatnonzero(np.diff(mask, append=False) & mask)[0]) + 1 for _, mask in encoded)
        raise DataError(
            f"no conversation has a reply within the first {most} tokens; the shortest needs {shortest}: "
            f"raise training.window_length, or shorten them"
        )
    return EncodedConversations(
        tokens=[tokens for tokens, _ in kept],
        loss_masks=[mask for _, mask in kept],
        n_bytes=sum(_n_bytes(chat, mask) for chat, (_, mask) in zip(conversations, fitting, strict=True)),
        n_cut=sum(0 < len(pair[0]) < len(whole[0]) for pair, whole in zip(fitting, encoded, strict=True)),
        n_left_out=len(fitting) - len(kept),
    )


def are_conversations(paths: Sequence[str | Path]) -> bool:
    """Whether the files hold conversations, and not texts: JSON Lines whose first object has "messages".

    Raises:
        DataError: a path that is missing or unreadable; or some files hold conversations and some texts.
    """
    texts = open_texts(paths)
    holds = {file: _holds_conversations(texts, file) for file in texts.files}
    if len(set(holds.values())) > 1:
        text, conversations = (next(file for file in holds if holds[file] is kind) for kind in (False, True))
        raise DataError(f"{conversations} holds conversations and {text} does not; give the one or the other")
    return any(holds.values())


def read_conversations(paths: Sequence[str | Path]) -> list[Conversation]:
    """Read conversations from JSON Lines, plain or compressed: `{"messages": [{"role": ..., "content": ...}, ...]}`.

    Roles are system, user and assistant; at least one message is the assistant's, and what follows its last one is left
    out, since it teaches nothing. Other keys are not looked at. Empty lines are skipped.

    Raises:
        DataError: a path that is missing or unreadable; a line that is no such conversation, with file and line; a file
            without any.
    """
    texts = open_texts(paths)
    conversations: list[Conversation] = []
    for file in texts.files:
        n_before = len(conversations)
        with as_data_error():
            for number, line in enumerate(texts.lines(file), start=1):
                if line.strip():
                    conversations.append(_conversation(line, f"{file}, line {number}"))
        if len(conversations) == n_before:
            raise DataError(f"{file} is empty: there is nothing to learn from; give a file with conversations")
    return conversations


def split_conversations(
    conversations: Sequence[Conversation],
) -> tuple[list[Conversation], list[Conversation]]:
    """Split conversations into training and validation: every tenth is set aside; of fewer than ten, none is.

    Then the validation figures are of the training conversations themselves.

    >>> chats = [[Message("assistant", str(number))] for number in range(10)]
    >>> [len(part) for part in split_conversations(chats)], [len(part) for part in split_conversations(chats[:9])]
    ([9, 1], [9, 9])
    """
    if len(conversations) < _ONE_IN:
        return list(conversations), list(conversations)
    training = [chat for place, chat in enumerate(conversations, start=1) if place % _ONE_IN]
    return training, list(conversations[_ONE_IN - 1 :: _ONE_IN])


def _up_to_a_reply(
    tokens: npt.NDArray[np.uint32], mask: npt.NDArray[np.bool_], most: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """The conversation, if it has at most so many tokens; else up to the end of the last reply that fits, if any."""
    if len(tokens) <= most:
        return tokens, mask
    ends = np.flatnonzero(np.diff(mask, append=False) & mask) + 1
    end = int(ends[ends <= most].max(initial=0))
    return tokens[:end], mask[:end]


def _n_bytes(messages: Conversation, mask: npt.NDArray[np.bool_]) -> int:
    """Length in UTF-8 of what is kept of a conversation, whose loss mask ends with a reply where it is cut."""
    if not len(mask):
        return 0
    lengths = [len(f"{role}\n{content}\n".encode()) for role, content in messages]
    if not mask[-1]:
        return sum(lengths)
    replies = [place for place, message in enumerate(messages) if message.role == "assistant"]
    n_kept = int((np.diff(mask, append=False) & mask).sum())
    return sum(lengths[: replies[n_kept - 1] + 1]) - 1  # without the line end


def _holds_conversations(texts: TextFiles, file: Path) -> bool:
    if ".jsonl" not in file.suffixes:
        return False
    with as_data_error():
        for line in texts.lines(file):
            if line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):  # whoever reads the file says so
                    return False
                return isinstance(value, dict) and "messages" in value
    return False


def _conversation(line: bytes, where: str) -> Conversation:
    """The messages of one line.

    Raises:
        DataError: it is no conversation, or nobody replies in it.
    """
    expected = 'expected {"messages": [{"role": "user", "content": "..."}, ...]}'
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}; {expected}") from None
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list):
        raise DataError(f"{where}: no list of messages; {expected}")
    found = [_message(entry, f"{where}, message {number}") for number, entry in enumerate(messages, start=1)]
    while found and found[-1].role != "assistant":
        found.pop()
    if not found:
        raise DataError(f"{where}: the assistant says nothing, so that there is nothing to learn; give it a reply")
    return found


def _message(entry: Any, where: str) -> Message:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: {entry!r:.80} is no object with a role and a content")
    role, content = entry.get("role"), entry.get("content")
    if role not in ROLES:
        raise DataError(f"{where}: the role must be {SOME_ROLE}; got {role!r:.80}")
    if not isinstance(content, str):
        raise DataError(f"{where}: the content must be text; got {content!r:.80}")
    if not content.strip():
        raise DataError(f"{where}: the content is empty; leave out the message, or say something")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: character {error.start} is half of a surrogate pair, and no character") from None
    return Message(cast("Literal['system', 'user', 'assistant']", role), content)
