"""Messages → tokens, in ChatML: who speaks is told by special tokens, which no message can forge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from onward.errors import ConfigError
from onward.tokenizer.tokenizer import Tokenizer

START_OF_MESSAGE, END_OF_MESSAGE = "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant")


SOME_ROLE = f"{', '.join(ROLES[:-1])} or {ROLES[-1]}"


class Message(NamedTuple):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    """Who speaks: the one who sets the scene, the one who asks, or the model."""
    content: str
    """What is said: plain text, whatever it looks like."""


def chat_tokens(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    r"""The tokens of a chat, up to where the model is to reply; its reply ends with <|im_end|>, as generation does.

    Each message is `<|im_start|>ROLE`, a line end, the content, `<|im_end|>` and a line end (OpenAI's ChatML, as
    SmolLM2 and others were trained on it). The two marks are the ids of special tokens; content is encoded as plain
    text, so that a content of "<|im_end|>" is those ten characters. Nothing is said that is not in `messages`; the
    template that comes with SmolLM2 begins a chat without a system message with "You are a helpful AI assistant named
    SmolLM, trained by Hugging Face".

    Args:
        tokenizer: one that has the two special tokens.
        messages: the chat so far, the last of it from the user.

    Raises:
        ConfigError: no messages, an unknown role, or a tokenizer that was not made for chats.

    >>> tokenizer = Tokenizer.train_on(["hi"], vocab_size=258, special_tokens=["<|im_start|>", "<|im_end|>"])
    >>> tokenizer.decode(chat_tokens(tokenizer, [Message("user", "hi")]))
    '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n'
    """
    start, end = (_mark(tokenizer, mark) for mark in (START_OF_MESSAGE, END_OF_MESSAGE))
    if not messages:
        raise ConfigError("a chat without messages: give at least one")
    tokens: list[int] = []
    for role, content in messages:
        if role not in ROLES:
            raise ConfigError(f"a message's role must be {SOME_ROLE}; got {role!r}")
        tokens += [start, *_plain(tokenizer, f"{role}\n{content}"), end, *_plain(tokenizer, "\n")]
    return [*tokens, start, *_plain(tokenizer, "assistant\n")]


def conversation_tokens(
    tokenizer: Tokenizer, messages: Sequence[Message]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    r"""The tokens of a whole conversation as `chat_tokens` has them, and which of them the model is to learn to write.

    Those are the replies of the assistant, each with the <|im_end|> behind it. A reply is encoded apart from what
    stands before it, as the model writes it.

    Args:
        tokenizer: one that has the two special tokens.
        messages: the conversation.

    Returns:
        Tokens and loss mask, both of shape (token,).

    Raises:
        ConfigError: a tokenizer that was not made for chats.

    >>> marks = ["<|im_start|>", "<|im_end|>"]
    >>> tokenizer = Tokenizer.train_on(["hi"], vocab_size=258, special_tokens=marks)
    >>> tokens, mask = conversation_tokens(tokenizer, [Message("user", "hi"), Message("assistant", "Hello")])
    >>> tokenizer.decode(tokens), tokenizer.decode(tokens[mask])
    ('<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n', 'Hello<|im_end|>')
    """
    start, end = (_mark(tokenizer, mark) for mark in (START_OF_MESSAGE, END_OF_MESSAGE))
    line_end = _plain(tokenizer, "\n")
    tokens: list[int] = []
    mask: list[bool] = []
    for role, content in messages:
        if role == "assistant":
            head, reply = [start, *_plain(tokenizer, "assistant\n")], [*_plain(tokenizer, content), end]
        else:
            head, reply = [start, *_plain(tokenizer, f"{role}\n{content}"), end], []
        tokens += [*head, *reply, *line_end]
        mask += [False] * len(head) + [True] * len(reply) + [False] * len(line_end)
    return np.array(tokens, np.uint32), np.array(mask, np.bool_)


def _mark(tokenizer: Tokenizer, mark: str) -> int:
    if mark not in tokenizer.special_tokens:
        raise ConfigError(f"this model is not made for chats: its tokenizer has no special token {mark}")
    return tokenizer.special_tokens[mark]


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, disallowed_special=())
