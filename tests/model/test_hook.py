from __future__ import annotations

import inspect
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from onward.errors import ConfigError, DataError
from onward.model.decoder import Decoder
from onward.model.hook import PLACES, ActivationCache, Hooks, _told_the_name, place_of
from tests.conftest import random_decoder
from tests.model.test_decoder import FORMS, TOKENS, decoder

IN_A_BLOCK = [
    "resid_pre",
    *(f"attn.{name}" for name in ("q", "k", "v", "scores", "pattern", "z", "out")),
    "resid_mid",
    *(f"mlp.{name}" for name in ("pre", "post", "out")),
    "resid_post",
]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Decoder:
    return decoder(**FORMS[request.param])


def named_places(model: Decoder) -> list[str]:
    added = [] if model.config.positions == "rotary" else ["position_embed"]
    blocks = [f"blocks.{layer}.{name}" for layer in range(2) for name in IN_A_BLOCK]
    return ["embed", *added, *blocks, "final_norm", "logits"]


def test_the_names_of_every_form(form: Decoder) -> None:
    """Frozen: these names, in this order, and no others; and each with the axes that the table says."""
    logits, cache = form.run_with_cache(TOKENS)
    assert list(cache) == named_places(form)
    assert sorted(form.hook_names) == sorted(cache)
    assert list(PLACES)[2:-2] == [f"blocks.{{i}}.{name}" for name in IN_A_BLOCK]
    config = form.config
    sizes = {"batch": 3, "#batch": 1, "pos": 12, "q_pos": 12, "k_pos": 12, "head": config.n_heads, "vocab": 50}
    sizes |= {"d_model": config.d_model, "d_head": config.d_head, "d_value": config.d_value, "d_mlp": config.d_mlp}
    sizes |= {"kv_head": config.n_kv_heads}
    for name, activation in cache.items():
        assert activation.shape == tuple(sizes[axis] for axis in place_of(name).axes), name
    assert torch.equal(cache["logits"], logits)
    torch.testing.assert_close(form.unembed(cache["final_norm"]), logits)


def test_every_place_can_be_edited(form: Decoder) -> None:
    """What is set to 0 at a place changes the logits, wherever it is."""
    before = form(TOKENS)
    for name in form.hook_names:
        after = form(TOKENS, hooks=Hooks(edit={name: torch.zeros_like}))
        if name.endswith("scores"):  # all keys count the same then, the hidden ones too
            assert not torch.equal(before[:, :-1], after[:, :-1]), name
        else:
            assert not torch.equal(before, after), name


def test_wildcards_stack_and_select() -> None:
    _, cache = decoder().run_with_cache(TOKENS)
    stacked = cache["blocks.*.attn.pattern"]
    assert stacked.shape == (2, 3, 4, 12, 12)
    assert torch.equal(stacked[1], cache["blocks.1.attn.pattern"])
    assert cache["blocks.0.resid_*"].shape == (3, 3, 12, 16)
    assert cache["blocks.[1].mlp.out"].shape == (1, 3, 12, 16)
    assert list(cache.select("blocks.0.mlp.*")) == [f"blocks.0.mlp.{name}" for name in ("pre", "post", "out")]
    with pytest.raises(ConfigError, match=r"'blocks\.0\.mlp\.\*' matches activations of different shapes.*select"):
        cache["blocks.0.mlp.*"]
    with pytest.raises(ConfigError, match=r"'blocks\.5\.mlp\.out' was not recorded; near it: blocks\.\d\.mlp\.out"):
        cache["blocks.5.mlp.out"]
    with pytest.raises(ConfigError, match="'embed' was not recorded$"):
        ActivationCache()["embed"]
    assert cache.get("blocks.5.mlp.out") is None
    assert "blocks.*.mlp.out" not in cache


def test_a_cache_shows_names_shapes_and_axes() -> None:
    _, cache = decoder(positions="learned").run_with_cache(TOKENS)
    lines = [" ".join(line.split()) for line in repr(cache).splitlines()]
    assert lines[0] == "ActivationCache of 30 activations, torch.float32"
    assert "position_embed (1, 12, 16) #batch pos d_model" in lines
    assert "blocks.{0-1}.attn.pattern 2 x (3, 4, 12, 12) batch head q_pos k_pos" in lines
    assert len(lines) == 1 + len(PLACES)
    assert repr(ActivationCache()) == "ActivationCache of 0 activations"


def test_edits_of_one_place_follow_each_other_and_may_ask_for_its_name() -> None:
    model, told = decoder(), []

    def double(activation: Tensor, name: str) -> Tensor:
        told.append(name)
        return 2 * activation

    def with_a_default(activation: Tensor, name: str = "mine") -> Tensor:
        assert name == "mine"
        return activation + 1

    hooks = Hooks(record="*", edit={"blocks.*.mlp.out": double, "blocks.1.mlp.*": with_a_default})
    model(TOKENS, hooks=hooks)
    assert told == ["blocks.0.mlp.out", "blocks.1.mlp.out"]
    post = hooks.cache["blocks.1.mlp.post"]  # recorded as it went on, after the edit
    torch.testing.assert_close(hooks.cache["blocks.1.mlp.out"], 2 * model.blocks[1].mlp.down_proj(post) + 1)


def test_an_edit_that_is_no_function() -> None:
    with pytest.raises(ConfigError, match=r"the edit of embed must be a function of an activation; got 0"):
        inspect.unwrap(_told_the_name)("embed", 0)  # past the annotations, checked in tests alone


@pytest.mark.parametrize(
    ("edit", "got"),
    [
        (lambda activation: activation.double(), r"shape \(3, 12, 16\), torch\.float64, on cpu"),
        (lambda activation: activation.to("meta"), r"shape \(3, 12, 16\), torch\.float32, on meta"),
        (lambda activation: activation[:1], r"shape \(1, 12, 16\), torch\.float32, on cpu"),
        (lambda activation: None, "None"),
    ],
)
def test_an_edit_of_another_kind_is_refused(edit: Any, got: str) -> None:
    expected = r"the edit of embed must return a tensor of shape \(3, 12, 16\), torch\.float32, on cpu; got "
    with pytest.raises(ConfigError, match=expected + got):
        decoder()(TOKENS, hooks=Hooks(edit={"embed": edit}))


def test_a_name_of_no_place_gives_a_short_error() -> None:
    model = decoder(n_layers=50)
    for name, near in {
        "blocks.3.mlp": "blocks.3.mlp.pre",
        "blocks.7.atn.pattern": "blocks.7.attn.pattern",
        "blocks.77.mlp.out": "blocks.7.mlp.out",
        "hook_embed": "embed",
        "zzz": "embed",
    }.items():
        with pytest.raises(ConfigError) as refused:
            model.run_with_cache(TOKENS, names=name)
        message = str(refused.value)
        assert message.startswith(f"the model has no place {name!r}; near it: ")
        assert near in message.replace(",", "").split()
        assert len(message) < 200


def test_two_threads_with_hooks_of_their_own(form: Decoder) -> None:
    """One edits, one records, one does neither, all at once on one model: none sees what another does."""
    expected = form(TOKENS)
    ablated = form(TOKENS, hooks=Hooks(edit={"blocks.0.*.out": torch.zeros_like}))
    meet, wrong = threading.Barrier(3), []

    def run(kind: str) -> None:
        for _ in range(30):
            hooks = {
                "edit": Hooks(edit={"blocks.0.*.out": torch.zeros_like}),
                "record": Hooks(record="blocks.0.*.out"),
                "none": None,
            }[kind]
            meet.wait(timeout=60)
            logits = form(TOKENS, hooks=hooks)
            if not torch.allclose(logits, ablated if kind == "edit" else expected, atol=1e-5):
                wrong.append(kind)
            if hooks is not None and len(hooks.cache) != (2 if kind == "record" else 0):
                wrong.append(f"{kind}: {list(hooks.cache)}")

    threads = [threading.Thread(target=run, args=(kind,)) for kind in ("edit", "record", "none")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_recording_with_a_kv_cache(form: Decoder) -> None:
    """Queries, keys and values are those of the new tokens; the pattern spans all, and is the end of the whole one."""
    _, whole = form.run_with_cache(TOKENS)
    state, hooks = form.start(3), Hooks(record="*")
    form(TOKENS[:, :9], state)
    form(TOKENS[:, 9:], state, hooks=hooks)
    for name, activation in hooks.cache.items():
        axes = place_of(name).axes
        axis = axes.index("q_pos") if "q_pos" in axes else axes.index("pos")
        expected = whole[name].narrow(axis, 9, 3).expand_as(activation)
        torch.testing.assert_close(activation, expected, atol=1e-5, rtol=1e-4)


def test_in_bfloat16(form: Decoder) -> None:
    expected = form(TOKENS)
    logits, cache = form.bfloat16().run_with_cache(TOKENS)
    assert {activation.dtype for activation in cache.values()} == {torch.bfloat16}
    torch.testing.assert_close(logits.float(), expected, atol=0.1 * float(expected.abs().max()), rtol=0)


def test_gradients_reach_what_is_recorded() -> None:
    """The logit's derivative by an activation, as attribution asks for it, is what moving the activation shows."""
    model = random_decoder(decoder().config).double()
    leaf = {"blocks.0.resid_post": lambda activation: activation.detach().requires_grad_()}
    hooks = Hooks(record="blocks.*.resid_post", edit=leaf)
    model(TOKENS, hooks=hooks)[0, -1, 7].backward()
    gradient = hooks.cache["blocks.0.resid_post"].grad
    assert gradient is not None
    step = torch.zeros_like(gradient)
    step[0, 3, 5] = 1e-6

    def logit(change: Tensor) -> float:
        return float(model(TOKENS, hooks=Hooks(edit={"blocks.0.resid_post": lambda resid: resid + change}))[0, -1, 7])

    assert float(gradient[0, 3, 5]) == pytest.approx((logit(step) - logit(-step)) / 2e-6, rel=1e-5)


def test_gradients_pass_through_edits_to_the_weights() -> None:
    model = decoder().requires_grad_()
    hooks = Hooks(record="blocks.1.attn.pattern", edit={"blocks.0.mlp.out": lambda activation: 2 * activation})
    model(TOKENS, hooks=hooks).sum().backward()
    for block in model.blocks:
        block.mlp.down_proj.weight.data *= 2 if block is model.blocks[0] else 1
    edited = model.embed.weight.grad
    model.zero_grad()
    model(TOKENS).sum().backward()
    torch.testing.assert_close(edited, model.embed.weight.grad)
    assert hooks.cache["blocks.1.attn.pattern"].grad_fn is not None


def test_tokens_that_the_model_cannot_look_up() -> None:
    model = decoder()
    with pytest.raises(DataError, match="token 50 is outside the model's vocabulary of 0 to 49"):
        model(torch.tensor([[1, 50]]))
    with pytest.raises(DataError, match="token -1 is outside"):
        model.run_with_cache(torch.tensor([[-1, 3]]))
    with pytest.raises(DataError, match=r"there are no tokens \(shape \(1, 0\)\)"):
        model.run_with_cache(torch.zeros(1, 0, dtype=torch.long))
    # Past the annotations, checked in tests alone.
    run = inspect.unwrap(Decoder.resid)
    with pytest.raises(DataError, match=r"integers of shape \(batch, pos\).*got torch\.int64 of shape \(2,\)"):
        run(model, torch.tensor([1, 2]))
    with pytest.raises(DataError, match=r"got torch\.float32 of shape \(1, 2\)"):
        run(model, torch.tensor([[1.0, 2.0]]))


def test_text_and_tokens_both_ways(tiny_model: Decoder) -> None:
    tokens = tiny_model.to_tokens("Line 7 日")
    pieces = tiny_model.to_str_tokens("Line 7 日")
    assert pieces[0] == "<|endoftext|>"
    assert pieces == tiny_model.to_str_tokens(tokens) == [tiny_model.to_str_tokens(token)[0] for token in tokens[0]]
    assert tiny_model.to_string(tokens) == "<|endoftext|>Line 7 日"
    assert tiny_model.to_string(tokens[0, 1]) == pieces[1]
    special = tiny_model.to_tokens("Line<|endoftext|>", allowed_special="all")
    assert special[0, 0] == special[0, -1]
    assert tiny_model.to_tokens("").shape == (1, 1)
