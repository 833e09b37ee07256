"""`onward generate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from onward.generation.config import Sampling

if TYPE_CHECKING:
    from onward.generation.completion import Completion
    from onward.model.decoder import Decoder


def generate(
    model: Path,
    /,
    *,
    prompt: str = "",
    chat: str | None = None,
    sampling: Annotated[Sampling | None, Parameter(name="*")] = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    dtype: str = "auto",
) -> None:
    """Write on from a prompt, streamed as it comes.

    ```
    onward generate runs/demo --prompt "ROMEO:"
    onward generate runs/demo --temperature 0 --dtype int8
    onward generate runs/demo --prompt "First Citizen:" --top-p 0.9 --min-p 0.02 --seed 1
    onward generate runs/demo --prompt "ROMEO:" --stop "JULIET:" --stop "NURSE:"
    onward generate runs/demo --prompt "ROMEO:" --logit-bias 262 -5 --logit-bias 12 1.5
    onward generate runs/demo --prompt "ROMEO:" --n 3 --max-tokens 40
    onward generate runs/demo --prompt "ROMEO:" --explain --max-tokens 5
    onward generate runs/demo --prompt "ROMEO:" --beams 4 --n 2 --max-tokens 40
    onward generate SmolLM2.gguf --chat "What is the capital of Italy?" --temperature 0
    ```

    Args:
        model: A run folder, a checkpoint in it, any model folder, a folder of Hugging Face, or a GGUF file.
        prompt: What the text begins with; empty: the model begins a document of its own.
        chat: A message to a model that was trained to answer, in ChatML; it writes its reply.
        sampling: how the text is written.
        beams: Look for the likeliest texts by beam search, keeping so many; nothing is drawn then.
        length_penalty: With --beams: 0 ranks texts by their probability, 1 by the mean a token, more favours long ones.
        dtype: What the weights are kept in: float32, bfloat16, or int8, the fastest; auto: float32.
    """
    import onward
    from onward.data.chat import Message, chat_tokens
    from onward.errors import ConfigError
    from onward.generation.beam import beam_search, settings_for_beams
    from onward.model.language_model import tokenizer_of

    sampling = sampling or Sampling()
    if beams is None and length_penalty is not None:
        raise ConfigError("--length-penalty ranks the texts of beam search; give --beams too")
    if chat is not None and prompt:
        raise ConfigError("--chat and --prompt exclude each other: a reply begins with nothing")
    loaded = onward.load(model, dtype=dtype)
    begin: str | list[int] = prompt
    if chat is not None:
        begin = chat_tokens(tokenizer_of(loaded), [Message("user", chat)])
    if beams is not None:
        ranked_by = 1.0 if length_penalty is None else length_penalty
        search = settings_for_beams(sampling)
        _show(beam_search(loaded, begin, beams=beams, length_penalty=ranked_by, **search), prompt, loaded)
    elif sampling.n > 1 or sampling.explain or sampling.logprobs is not None:
        _show(onward.generate_batch(loaded, [begin], sampling), prompt, loaded)
    else:
        _show_as_it_comes(onward.stream(loaded, begin, **vars(sampling)), prompt)


def _show_as_it_comes(pieces: Iterator[str], prompt: str) -> None:
    print(prompt, end="", flush=True)
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    finally:  # Ctrl-C, too, leaves what came until then, on lines of its own
        print(flush=True)


def _show(completions: list[Completion], prompt: str, model: Decoder) -> None:
    """Print texts, and what is to be reported about each."""
    from onward.model.language_model import tokenizer_of

    pieces = tokenizer_of(model).pieces
    for number, completion in enumerate(completions, start=1):
        if len(completions) > 1:
            score = "" if completion.score is None else f", score {completion.score:.4f}"
            print(f"--- {number} of {len(completions)}: {completion.finish_reason}{score}")
        print(f"{prompt}{completion.text}")
        for token in completion.logprobs or []:
            named = zip(pieces(list(token.best)), token.best.values(), strict=True)
            best = "  ".join(f"{text!r} {logprob:.3f}" for text, logprob in named)
            print(f"{pieces([token.token])[0]!r:<20} {token.logprob:7.3f}  {best}")
        for explanation in completion.explanations or []:
            print(explanation)
