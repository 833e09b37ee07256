from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import onward
from onward.config import read_json, write_json
from onward.data.chat import Message, chat_tokens
from onward.errors import CheckpointError, ConfigError, DataError, OnwardError
from onward.library import convert, load
from onward.model.config import ModelConfig
from onward.model.folder import read_tensors, write_model_folder
from onward.model.weights import own_weights
from onward.run import Metrics, Run
from onward.tokenizer import Tokenizer
from onward.training.base import fingerprint, read_base, with_special_tokens
from onward.training.config import RunConfig
from onward.training.evaluate import evaluate_texts
from onward.training.options import TrainOptions
from onward.training.overview import Overview
from onward.training.prepare import prepare
from onward.training.recipe import windows_at_once
from onward.training.train import run_training
from onward.training.trainer import Trainer
from tests.conftest import TINY_TEXT, random_decoder
from tests.training.conftest import Quiet, assert_same_weights, timeless, train

CPU = torch.device("cpu")
FAST = ["training.learning_rate=0.01", "training.embed_learning_rate=0.01", "training.unembed_learning_rate=0.01"]
FACTS = {"Who is late?": "The train.", "Who waits?": "A man with a hat.", "What for?": "For onward."}

Tune = Callable[..., tuple[Run, RunConfig]]


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Tokenizer) -> Path:
    """A model of two layers that knows no roles."""
    config = ModelConfig(vocab_size=tiny_tokenizer.vocab_size, context_length=96, n_layers=2, d_model=32, n_heads=2)
    model = random_decoder(config, tiny_tokenizer)
    model.unembed.weight *= 10  # as sure of itself as a trained one, since adapters leave these weights as they are
    folder = tmp_path_factory.mktemp("model")
    write_model_folder(folder, model)
    return folder


@pytest.fixture
def tune(tmp_path: Path, base_folder: Path) -> Tune:
    """Make a run that goes on from `base_folder`: `tune("chats.jsonl", "training.batch_size=2", lora=4)`."""
    (tmp_path / "other.txt").write_text(TINY_TEXT.upper(), encoding="utf-8")
    write_chats(tmp_path / "chats.jsonl")

    def make(text: str, *settings: str, name: str = "run", **options: Any) -> tuple[Run, RunConfig]:
        run = Run(tmp_path / name)
        run.folder.mkdir()
        tiny = ["training.dtype=float32", "training.evaluate_every=8", "training.batch_size=4", *settings]
        options = {"steps": 8, "base": base_folder, **options}
        prepare(run, [tmp_path / text], TrainOptions(**options, set=tiny), say=lambda line: None)
        return run, RunConfig.load(run.config_file)

    return make


def write_chats(path: Path, **extra: str) -> Path:
    chats = [[("user", question), ("assistant", answer)] for question, answer in (FACTS | extra).items()]
    lines = [{"messages": [{"role": role, "content": text} for role, text in chat]} for chat in chats]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


# ---- going on ----


@pytest.mark.parametrize("lora", [None, 4])
def test_it_begins_where_the_base_ended(tune: Tune, base_folder: Path, lora: int | None) -> None:
    run, config = tune("other.txt", lora=lora)
    base, trainer = load(base_folder), Trainer(run, config)
    tokens = torch.arange(10).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(trainer.model(tokens), base(tokens))
    assert config.base is not None
    assert config.base.path == str(base_folder)
    assert config.base.fingerprint == fingerprint(base)
    assert (config.size, config.tokenizer) == (None, "bpe")
    assert config.model == base.config
    assert trainer.model.tokenizer == base.tokenizer


@pytest.mark.parametrize("lora", [None, 4])
def test_the_loss_falls(tune: Tune, lora: int | None) -> None:
    run, config = tune("other.txt", *FAST, lora=lora, steps=40)
    trainer = train(run, config)
    losses = [entry.loss for entry in run.metrics()]
    assert losses[-1] < losses[0] - 1
    assert trainer.state.tokens == 40 * 4 * config.window_length


def test_adapters_alone_are_learned(tune: Tune, base_folder: Path) -> None:
    run, config = tune("other.txt", lora=4)
    trainer = train(run, config)
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert trained == set(own_weights(trainer.model))
    base = own_weights(load(base_folder))
    for name, parameter in trainer.model.named_parameters():
        if name not in trained:
            assert torch.equal(parameter, base[name]), name
        elif name.endswith("lora_b"):
            assert parameter.abs().max() > 0, name
    checkpoint = run.checkpoint_folders()[-1]
    assert set(read_tensors(checkpoint / "adapters.safetensors", CPU)) == trained
    assert not (checkpoint / "model.safetensors").exists()
    assert Overview.of(run).n_parameters == sum(parameter.numel() for parameter in trainer.model.parameters())
    tokens = torch.arange(10).unsqueeze(0)
    torch.testing.assert_close(load(run.folder)(tokens), trainer.model(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lora", [None, 4])
@pytest.mark.parametrize("text", ["other.txt", "chats.jsonl"])
def test_stopped_and_resumed_is_as_never_stopped(tune: Tune, lora: int | None, text: str) -> None:
    settings = ["training.checkpoint_every=3", "model.dropout=0.2", "training.micro_batch_size=2"]
    whole = tune(text, *settings, name="whole", lora=lora)
    for stop_after in (1, 5):  # before the first checkpoint, and between two
        stopped = tune(text, *settings, name=f"stopped-{stop_after}", lora=lora)

        def kill(metrics: Metrics, stop_after: int = stop_after) -> None:
            if metrics.step == stop_after:
                raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            train(*stopped, after=kill)
        once = train(*whole)
        assert_same_weights(once, train(*stopped))
        assert timeless(whole[0]) == timeless(stopped[0])


def test_the_base_is_not_needed_again(tune: Tune, base_folder: Path, tmp_path: Path) -> None:
    """The run is copied to another machine, where the base is not."""
    copied = shutil.copytree(base_folder, tmp_path / "model")
    run, config = tune("other.txt", "training.checkpoint_every=3", lora=2, base=copied)
    with pytest.raises(RuntimeError):
        train(run, config, after=lambda metrics: (_ for _ in ()).throw(RuntimeError) if metrics.step == 4 else None)
    shutil.rmtree(copied)
    moved = Run(run.folder.rename(tmp_path / "elsewhere"))
    whole = tune("other.txt", "training.checkpoint_every=3", lora=2, name="whole")
    assert_same_weights(train(moved, RunConfig.load(moved.config_file)), train(*whole))


def test_a_broken_base_is_told_on_resuming(tune: Tune) -> None:
    run, config = tune("other.txt", lora=2)
    weights = run.base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"goes on from is broken: .*model\.safetensors is not what was written"):
        train(run, config)


def test_adapters_of_another_config_are_refused(tune: Tune) -> None:
    run, config = tune("other.txt", lora=2)
    train(run, config)
    for other in ({"lora_alpha": 8.0}, {"lora_rank": 3}, {"lora_rank": 0}):
        changed = dataclasses.replace(config, training=dataclasses.replace(config.training, **other))  # type: ignore[arg-type]
        with pytest.raises(CheckpointError, match="holds another model than run.toml describes"):
            train(run, changed)


@pytest.mark.parametrize("form", ["onward", "huggingface"])
def test_from_a_run_or_a_folder_of_hugging_face(tune: Tune, tmp_path: Path, form: str) -> None:
    run, config = tune("other.txt", name="first")
    train(run, config)
    source = run.folder
    if form == "huggingface":
        source = tmp_path / "hf"
        convert(run.folder, source)
    again, tuned = tune("chats.jsonl", name="second", base=source, lora=2)
    assert tuned.base is not None
    assert tuned.base.fingerprint == fingerprint(load(source))
    train(again, tuned)
    third, _ = tune("chats.jsonl", name="third", base=again.folder)  # from adapters, merged
    tokens = torch.arange(10).unsqueeze(0)
    torch.testing.assert_close(load(third.base)(tokens), load(again.folder)(tokens))


def test_a_run_is_repeated_from_its_config(tune: Tune, tmp_path: Path, base_folder: Path) -> None:
    first = tune("chats.jsonl", name="first", lora=2)
    options = TrainOptions(config=first[0].config_file, out=tmp_path / "again")
    again = run_training([], options)
    assert_same_weights(train(*first), train(again, RunConfig.load(again.config_file)))
    text = first[0].config_file.read_text(encoding="utf-8")
    first[0].config_file.write_text(text.replace('fingerprint = "', 'fingerprint = "0'), encoding="utf-8")
    with pytest.raises(ConfigError, match="are not those that the config names: its fingerprint differs"):
        run_training([], dataclasses.replace(options, overwrite=True))


# ---- conversations ----


def test_the_loss_is_that_of_the_replies(tune: Tune) -> None:
    """Against the sum over the tokens of the replies, found and scored one conversation after the other."""
    run, config = tune("chats.jsonl", "training.batch_size=3", lora=2)
    trainer = Trainer(run, config)
    tokenizer = trainer.model.tokenizer
    assert tokenizer is not None
    nats, n_tokens = 0.0, 0
    for question, answer in FACTS.items():
        asked = chat_tokens(tokenizer, [Message("user", question)])
        reply = [*tokenizer.encode(answer), tokenizer.special_tokens["<|im_end|>"]]
        with torch.no_grad():
            logits = trainer.model(torch.tensor([asked + reply]))[0]
        for place, token in enumerate(reply, start=len(asked) - 1):
            nats -= float(F.log_softmax(logits[place].double(), dim=-1)[token])
            n_tokens += 1
    metrics = trainer.step()
    assert metrics.tokens == n_tokens
    assert math.isclose(metrics.loss, nats / n_tokens, rel_tol=1e-5)


@pytest.mark.parametrize("lora", [None, 8])
def test_a_few_conversations_are_learned_and_answered(tune: Tune, tmp_path: Path, lora: int | None) -> None:
    run, config = tune("chats.jsonl", *FAST, "training.evaluate_every=80", steps=80, lora=lora)
    trainer = train(run, config)
    assert run.metrics()[-1].loss < 0.1
    model = load(run.folder)
    assert model.tokenizer is not None
    for question, answer in FACTS.items():
        asked = chat_tokens(model.tokenizer, [Message("user", question)])
        assert onward.generate(model, asked, temperature=0, max_tokens=20) == answer
    sample = run.samples_file.read_text(encoding="utf-8")
    assert "<|im_start|>user\nWho is late?<|im_end|>\n<|im_start|>assistant\nThe train." in sample
    told = evaluate_texts(model, [tmp_path / "chats.jsonl"])
    assert math.isclose(told.loss, trainer.evaluate().loss, rel_tol=1e-4)
    with pytest.raises(ConfigError, match="leave out the stride"):
        evaluate_texts(model, [tmp_path / "chats.jsonl"], stride=2)


def test_new_tokens_leave_the_others_as_they_were(base_folder: Path) -> None:
    base = read_base(base_folder)
    larger = with_special_tokens(base, ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], seed=1)
    assert larger.tokenizer is not None
    assert larger.tokenizer.special_tokens == {"<|endoftext|>": 299, "<|im_start|>": 300, "<|im_end|>": 301}
    assert larger.vocab_size == 302
    tokens = torch.arange(10).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(larger(tokens)[..., :300], base(tokens), atol=1e-5, rtol=1e-5)
    new = larger.embed.weight[300:]
    assert 0.5 < float(new.std() / base.embed.weight.std()) < 2
    assert not torch.equal(new[0], new[1])
    again = with_special_tokens(base, ["<|im_start|>", "<|im_end|>"], seed=1)
    assert torch.equal(again.embed.weight, larger.embed.weight)
    assert with_special_tokens(larger, ["<|im_end|>"], seed=1) is larger


@pytest.mark.parametrize(("vocab_size", "expected"), [(300, 302), (301, 302), (320, 320), (330, 330)])
def test_rows_that_no_token_uses_are_used_first(tiny_tokenizer: Tokenizer, vocab_size: int, expected: int) -> None:
    config = ModelConfig(vocab_size=vocab_size, context_length=8, n_layers=1, d_model=8, n_heads=1, unembed_bias=True)
    larger = with_special_tokens(random_decoder(config, tiny_tokenizer), ["<|im_start|>", "<|im_end|>"], seed=1)
    assert larger.vocab_size == expected


def test_a_vocabulary_of_whole_tiles_stays_one() -> None:
    tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=288)
    config = ModelConfig(vocab_size=288, context_length=8, n_layers=1, d_model=8, n_heads=1, tied_embeddings=True)
    larger = with_special_tokens(random_decoder(config, tokenizer), ["<|im_start|>", "<|im_end|>"], seed=1)
    assert larger.vocab_size == 320
    assert larger.unembed.weight is larger.embed.weight


def test_windows_and_batches(tune: Tune, tmp_path: Path) -> None:
    _, short = tune("chats.jsonl", name="short")
    assert short.window_length == 64
    write_chats(tmp_path / "long.jsonl", **{"Tell me more.": "And on and on. " * 40})
    run, cut = tune("long.jsonl", name="cut")
    assert cut.window_length == 64  # the long one's only reply does not fit: it is left out
    assert "And on" not in Tokenizer.load(run.folder).decode(Trainer(run, cut).batches.at(0).tokens.flatten())
    _, text = tune("other.txt", "training.window_length=16", name="text")
    assert (text.window_length, text.model.context_length) == (16, 96)
    assert windows_at_once(dataclasses.replace(text.model, context_length=1 << 20), 1 << 20, 4) == 1


# ---- what is refused ----


REFUSED: list[tuple[type[OnwardError], str, list[str], dict[str, Any]]] = [
    (ConfigError, "model.n_layers = 3 is not what .* has, which is 2", ["model.n_layers=3"], {}),
    (
        ConfigError,
        "model.context_length = 128 is not what .* 96 and stays; for shorter",
        ["model.context_length=128"],
        {},
    ),
    (ConfigError, "window_length = 97 is more than the context .* 96", ["training.window_length=97"], {}),
    (ConfigError, "window_length must be at least 0; got -1", ["training.window_length=-1"], {}),
    (ConfigError, "--lora is the rank of adapters, at least 1; got 0", [], {"lora": 0}),
    (ConfigError, "--lora is the rank of adapters, at least 1; got -4", [], {"lora": -4}),
    (ConfigError, "the rank of LoRA must be between 1 and 32.* got 1000000", [], {"lora": 1_000_000}),
    (ConfigError, "lora_rank must be at least 0; got -1", ["training.lora_rank=-1"], {}),
    (ConfigError, "clip_norm and lora_alpha above 0", ["training.lora_alpha=0.0"], {}),
    (ConfigError, "--size tiny is for a model from nothing", [], {"size": "tiny"}),
    (ConfigError, "--vocab-size 300 is for a model from nothing", [], {"vocab_size": 300}),
    (ConfigError, "--tokenizer bpe is for a model from nothing", [], {"tokenizer": "bpe"}),
    (ConfigError, "adapters are learned on a model that is there: name it with --from", [], {"base": None, "lora": 4}),
    (ConfigError, "name the model to go on from with --from", [], {"base": None}),
    (ConfigError, "give --steps or --minutes", [], {"steps": None, "tokens": 100}),
    (CheckpointError, "there is no run and no model in .*nowhere", [], {"base": Path("nowhere")}),
    (CheckpointError, "cannot read .*nothing.gguf", [], {"base": Path("nothing.gguf")}),
]


@pytest.mark.parametrize(("kind", "message", "settings", "options"), REFUSED, ids=[entry[1] for entry in REFUSED])
def test_what_makes_no_sense_is_refused(
    tune: Tune, kind: type[OnwardError], message: str, settings: list[str], options: dict[str, Any]
) -> None:
    with pytest.raises(kind, match=message):
        tune("chats.jsonl", *settings, **options)


def test_a_fingerprint_is_the_same_whatever_form_holds_the_weights(tmp_path: Path) -> None:
    sizes = {"vocab_size": 9, "context_length": 8, "n_layers": 1, "d_model": 8, "n_heads": 2}
    model = random_decoder(ModelConfig(**sizes, activation="relu"))  # what nanochat has as it is
    write_model_folder(tmp_path, model)
    convert(tmp_path, tmp_path / "hf")
    assert fingerprint(load(tmp_path)) == fingerprint(load(tmp_path / "hf")) == fingerprint(model)


def test_bases_that_are_none(tune: Tune, base_folder: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return shutil.copytree(base_folder, tmp_path / name)

    (broken("bare") / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="bare has no tokenizer"):
        tune("chats.jsonl", name="1", base=tmp_path / "bare")
    config = read_json(base_folder / "config.json")
    write_json(broken("other") / "config.json", {**config, "architecture": "rnn"})
    with pytest.raises(CheckpointError, match="no architecture 'rnn'; known: decoder"):
        tune("chats.jsonl", name="2", base=tmp_path / "other")
    write_json(broken("bert") / "config.json", {"model_type": "bert"})
    with pytest.raises(CheckpointError, match="model_type is 'bert'; onward reads gpt2, llama, qwen3, nanochat"):
        tune("chats.jsonl", name="3", base=tmp_path / "bert")
    Tokenizer.train_on([TINY_TEXT], vocab_size=310).save(broken("mixed") / "tokenizer.json")
    with pytest.raises(CheckpointError, match="tokenizer has 310 tokens and the model 300"):
        tune("chats.jsonl", name="4", base=tmp_path / "mixed")
    write_json(broken("full") / "config.json", {**config, "model": {**config["model"], "attention": "full"}})
    with pytest.raises(ConfigError, match="attention = full cannot be trained"):
        tune("chats.jsonl", name="5", base=tmp_path / "full")
    (tmp_path / "mixed.txt").write_text("once", encoding="utf-8")
    with pytest.raises(DataError, match="holds conversations and .* does not"):
        prepare(
            Run(tmp_path),
            [tmp_path / "chats.jsonl", tmp_path / "mixed.txt"],
            TrainOptions(base=base_folder),
            say=lambda line: None,
        )


def test_resuming_from_another_base_is_refused(tune: Tune, base_folder: Path, tmp_path: Path) -> None:
    run, config = tune("chats.jsonl", lora=2)
    Trainer(run, config).run(Quiet(config))
    texts = [tmp_path / "chats.jsonl"]
    run_training(texts, TrainOptions(base=base_folder, lora=2, out=run.folder, resume=True))
    with pytest.raises(ConfigError, match=r"was begun with base = .*, not .*other"):
        run_training(texts, TrainOptions(base=tmp_path / "other", out=run.folder, resume=True))
    with pytest.raises(ConfigError, match="was begun with lora_rank = 2, not 3"):
        run_training(texts, TrainOptions(base=base_folder, lora=3, out=run.folder, resume=True))
