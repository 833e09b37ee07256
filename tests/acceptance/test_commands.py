"""The commands, as a person types them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onward.cli.app import main
from onward.data.chat import Message, chat_tokens
from onward.generation.generator import generate
from onward.library import load
from onward.model.config import ModelConfig
from onward.model.folder import write_model_folder
from onward.tokenizer import Tokenizer
from tests.conftest import TINY_TEXT, random_decoder

ONWARD = [sys.executable, "-m", "onward.cli.app"]
TRAIN = ["train", "book.txt", "--size", "tiny", "--vocab-size", "300", "--set", "training.batch_size=4"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a book in it, to type commands in."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TINY_TEXT, encoding="utf-8")
    return tmp_path


def onward(*arguments: str) -> str:
    """Run the command in a process of its own; what it prints."""
    done = subprocess.run([*ONWARD, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    """The one line that the command complains with; it leaves nothing half-written."""
    before = sorted(path for path in Path().rglob("*") if path.name != ".lock")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["onward", *arguments])
        main()
    errors = capsys.readouterr().err
    assert ended.value.code == status, errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert sorted(path for path in Path().rglob("*") if path.name != ".lock") == before
    return errors


def test_going_on_from_a_model() -> None:
    onward(*TRAIN, "--steps", "2", "--out", "runs/base")
    chat = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]
    Path("chats.jsonl").write_text(json.dumps({"messages": chat}) + "\n", encoding="utf-8")
    printed = onward("train", "--from", "runs/base", "chats.jsonl", "--lora", "4", "--steps", "2")
    assert "from runs/base: " in printed
    assert "2 special tokens are new" in printed
    assert "too few conversations to set any aside" in printed
    assert 'next: onward generate runs/chats --chat "..."' in printed
    assert onward("generate", "runs/chats", "--chat", "Hello?", "--max-tokens", "3")
    assert "AutoModelForCausalLM" in onward("convert", "runs/chats", "merged")
    assert "bits per byte" in onward("evaluate", "merged", "chats.jsonl")


def test_the_whole_way() -> None:
    printed = onward(*TRAIN, "--steps", "20", "--seed", "3")
    assert "text: " in printed
    assert "step 20/20" in printed
    assert "bits per byte" in printed
    assert 'next: onward generate runs/book --prompt "..."' in printed

    run = Path("runs/book")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert {"step", "tokens", "seconds", "loss", "validation_loss", "validation_bits_per_byte"} <= lines[-1].keys()
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "seed = 3" in (run / "run.toml").read_text()

    generate = ["generate", "runs/book", "--prompt", "Line 7 ", "--max-tokens", "20", "--seed", "1"]
    assert onward(*generate) == onward(*generate)
    assert onward(*generate).startswith("Line 7 ")
    assert onward(*generate, "--temperature", "0") == onward(*generate[:-1], "2", "--temperature", "0")

    figures = dict(line.rsplit(maxsplit=1) for line in onward("evaluate", "runs/book", "book.txt").splitlines()[:2])
    assert figures["bytes"] == f"{len(TINY_TEXT.encode()):,}"

    assert onward("runs").splitlines()[1].startswith("finished  20/20 ")
    assert "all settings are the same" in onward("compare", "runs/book", "runs/book", "--out", "compare.png")
    assert onward("report", "runs/book").strip() == "written: runs/book/report.html"
    assert Path("compare.png").read_bytes().startswith(b"\x89PNG")
    assert "Line" in Path("runs/book/report.html").read_text()

    pieces = onward("tokenizer", "encode", "runs/book", "Line 日").splitlines()
    assert pieces[-1].endswith("tokens for 8 bytes")
    assert "Line" in "".join(pieces)


def test_generate_and_all_that_it_can_report(capsys: pytest.CaptureFixture[str]) -> None:
    onward(*TRAIN, "--steps", "5")
    generate = ["generate", "runs/book", "--prompt", "Line 7 ", "--seed", "1"]
    endless, generate = [*generate, "--logit-bias", "299", "-100"], [*generate, "--max-tokens", "8"]  # 299: the end
    text = onward(*generate).removesuffix("\n")
    printed = onward(*generate, "--n", "2", "--logprobs", "3", "--explain", "--top-k", "300")
    assert printed.startswith(f"--- 1 of 2: length\n{text}\n")
    assert printed.count("\n  top_k = 300 ") == 16
    ranked = onward("generate", "runs/book", "--prompt", "Line", "--max-tokens", "5", "--beams", "3", "--n", "2")
    assert "--- 2 of 2: length, score -" in ranked
    assert onward(*generate, "--stop", text[7:]) == "Line 7 \n"
    assert onward(*generate, "--logit-bias", "5", "100", "--logit-bias", "6", "-100").endswith(8 * "&" + "\n")

    assert "error: top_p must be above 0" in fails(capsys, *generate, "--top-p", "0")
    assert "n must be a whole number from 1 to 128" in fails(capsys, *generate, "--n", "1000000000")
    assert "beam search draws nothing and has no seed" in fails(capsys, *generate, "--beams", "2")
    assert "give --beams too" in fails(capsys, *generate, "--length-penalty", "2")

    # Ctrl-C keeps what was streamed.
    command = [*ONWARD, *endless, "--max-tokens", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        begin = process.stdout.read(60)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")
    assert begin.startswith(b"Line 7 ")
    assert rest.endswith(b"\n")


def test_same_command_same_run_and_overwrite() -> None:
    weights = Path("runs/book/checkpoints/step-000005/model.safetensors")
    onward(*TRAIN, "--steps", "5")
    first = weights.read_bytes()
    onward(*TRAIN, "--steps", "5", "--overwrite")
    assert weights.read_bytes() == first


def test_ctrl_c_saves_and_the_same_command_resumes() -> None:
    command = [*TRAIN, "--steps", "400", "--set", "training.evaluate_every=100", "--set", "training.dtype=float32"]
    onward(*command, "--out", "runs/whole")
    with subprocess.Popen([*ONWARD, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        metrics = Path("runs/book/metrics.jsonl")
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text().count("\n") > 20) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "onward train --out runs/book --resume" in printed
    (saved,) = Path("runs/book/checkpoints").iterdir()
    assert saved.name != "step-000400"
    assert "resuming after step" in onward(*command, "--resume")
    for name in ("model.safetensors", "optimizer.safetensors"):
        ends = [Path("runs", run, "checkpoints", "step-000400", name).read_bytes() for run in ("book", "whole")]
        assert ends[0] == ends[1]


def test_killed_anywhere_it_resumes_to_the_same_weights() -> None:
    """SIGKILL at five moments of a run that is all checkpoints."""
    command = [*TRAIN, "--steps", "120", "--checkpoint-every", "1", "--set", "training.dtype=float32"]
    onward(*command, "--out", "runs/whole")
    resume: list[str] = []
    for _ in range(5):
        with subprocess.Popen([*ONWARD, *command, *resume], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while "step" not in process.stdout.readline():
                pass
            time.sleep(0.15)
            process.kill()
        resume = ["--resume"]
    onward(*command, *resume)
    for name in ("checkpoints/step-000120/model.safetensors", "checkpoints/step-000120/optimizer.safetensors"):
        assert Path("runs/book", name).read_bytes() == Path("runs/whole", name).read_bytes()
    assert Path("runs/book/samples.txt").read_text() == Path("runs/whole/samples.txt").read_text()
    assert not list(Path("runs/book").rglob(".partial-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_preparing_nothing_is_left(number: signal.Signals) -> None:
    with subprocess.Popen([*ONWARD, "train"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "text:" in process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "")
    assert [path.name for path in Path().iterdir()] == ["book.txt"]


def test_minutes_are_measured_kept_and_obeyed() -> None:
    began = time.monotonic()
    onward("train", "--size", "tiny", "--minutes", "0.15")
    assert time.monotonic() - began < 40
    config = Path("runs/tinyshakespeare/run.toml").read_text()
    steps = Path("runs/tinyshakespeare/metrics.jsonl").read_text().count("\n")
    assert steps > 10
    assert f"steps = {steps}\n" in config
    assert "minutes = 0.15" in config


def test_a_config_file_of_another_run() -> None:
    onward(*TRAIN, "--steps", "3", "--set", "model.n_layers=1")
    onward("train", "--config", "runs/book/run.toml", "--out", "runs/again")
    weights = [Path("runs", run, "checkpoints/step-000003/model.safetensors") for run in ("book", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_characters_as_tokens() -> None:
    onward("train", "book.txt", "--tokenizer", "characters", "--size", "tiny", "--steps", "6")
    assert 'tokenizer = "characters"\n' in Path("runs/book/run.toml").read_text()
    assert "after step 6 of 6" in onward("train", "--out", "runs/book", "--resume", "--tokenizer", "characters")
    assert onward("generate", "runs/book", "--prompt", "Line", "--max-tokens", "5", "--seed", "1").startswith("Line")
    Path("other.txt").write_text("Line ф")
    figures = [line.split(maxsplit=1) for line in onward("evaluate", "runs/book", "other.txt").splitlines()]
    assert figures[0] == ["tokens", "6"]
    assert ["unknown", "1 tokens (16.67 %), which count as spelled out, 8 bits a byte"] in figures


def test_bad_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no file nowhere.txt" in fails(capsys, "train", "nowhere.txt")
    Path("empty.txt").touch()
    assert "empty.txt is empty" in fails(capsys, "train", "empty.txt")
    Path("folder").mkdir()
    assert "the folder folder has no .txt" in fails(capsys, "train", "folder")
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    assert "picture.png is a binary file, no text" in fails(capsys, "train", "picture.png")
    Path("short.txt").write_text("abc " * 20)
    assert "fewer than the context's 128 tokens" in fails(capsys, "train", "short.txt")
    assert "the text can fill" in fails(capsys, "train", "book.txt", "--vocab-size", "60000")
    Path("letter.txt").write_text("a")
    assert "the text is too short" in fails(capsys, "train", "letter.txt")


def test_bad_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no size 'huge'; there are tiny, small" in fails(capsys, "train", "book.txt", "--size", "huge")
    assert "--minutes must be above 0" in fails(capsys, "train", "book.txt", "--minutes", "0")
    assert "exclude each other" in fails(capsys, "train", "book.txt", "--minutes", "1", "--steps", "9")
    assert "model.d_model must be between 1 and" in fails(capsys, *TRAIN, "--set", "model.d_model=-4")
    assert "window = 4 looks back" in fails(capsys, *TRAIN, "--set", "model.window=4", "--set", "model.attention=full")
    assert "sees that token already" in fails(capsys, *TRAIN, "--set", "model.attention=full")
    assert "training.steps must be at least 1" in fails(capsys, *TRAIN, "--steps", "0")
    assert "(did you mean 'n_layers'?)" in fails(capsys, *TRAIN, "--set", "model.n_layer=3")
    assert "--set takes model.KEY=VALUE" in fails(capsys, *TRAIN, "--set", "modle.n_layers=3")
    assert "exclude each other" in fails(capsys, *TRAIN, "--resume", "--overwrite")
    Path("my.toml").write_text("[training]\nlerning_rate = 1.0\n")
    assert "my.toml: training: unknown key 'lerning_rate'" in fails(capsys, *TRAIN, "--config", "my.toml")
    Path("my.toml").write_text("[training\n")
    assert "my.toml is not a TOML file" in fails(capsys, *TRAIN, "--config", "my.toml")
    assert "the time is too short" in fails(capsys, *TRAIN, "--minutes", "0.001")
    assert "Did you mean --steps" in fails(capsys, "train", "book.txt", "--stpes", "3", status=2)


def test_models_by_name() -> None:
    lines = {line.split()[0]: line.split() for line in onward("models").splitlines()}
    assert lines["gpt2"] == ["gpt2", "gpt2", "124,439,808", "12", "768", "12", "12", "1024", "50,257"]
    assert lines["smollm2-135m"] == ["smollm2-135m", "llama", "134,515,008", "30", "576", "9", "3", "8192", "49,152"]
    assert " ".join(lines["llama-mini"]).startswith("llama-mini llama 738,432 + 256 a token 4 128 4 2 128")
    assert "4 layers of width 128, 4 heads" in onward(*TRAIN[:2], "--size", "llama-mini", *TRAIN[4:], "--steps", "2")


def test_bad_run_folders(capsys: pytest.CaptureFixture[str]) -> None:
    onward(*TRAIN, "--steps", "3")
    assert "go on with --resume, replace it with --overwrite" in fails(capsys, *TRAIN, "--steps", "3")
    message = fails(capsys, *TRAIN, "--steps", "4", "--resume")
    assert "was begun with steps = 3, not 4" in message
    message = fails(capsys, *TRAIN, "--steps", "3", "--tokenizer", "words", "--resume")
    assert "was begun with tokenizer = bpe, not words" in message
    message = fails(capsys, *TRAIN, "--steps", "3", "--set", "model.n_layers=3", "--resume")
    assert "was begun with n_layers = 2, not 3" in message
    message = fails(capsys, *TRAIN, "--steps", "3", "--batch-tokens", "128", "--resume")
    assert "was begun with batch_size = 4, not 2" in message
    message = fails(capsys, "train", "other.txt", "--out", "runs/book", "--resume")
    assert "was begun with texts = ['book.txt'], not ['other.txt']" in message
    assert "there is no run in runs/other to resume" in fails(capsys, *TRAIN, "--out", "runs/other", "--resume")
    Path("thesis").mkdir()
    Path("thesis/chapter.md").touch()
    assert "thesis exists and is not a run" in fails(capsys, *TRAIN, "--out", "thesis", "--overwrite")
    assert "there is no run and no model in thesis" in fails(capsys, "generate", "thesis")
    assert "the prompt has" in fails(capsys, "generate", "runs/book", "--prompt", "Q" * 500)
    weights = Path("runs/book/checkpoints/step-000003/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    message = fails(capsys, "generate", "runs/book")
    assert "model.safetensors is cut short" in message
    assert "the one before it is runs/book/checkpoints/step-000002" in message
    printed = onward(*TRAIN, "--steps", "3", "--resume")
    assert "a broken checkpoint is skipped: runs/book/checkpoints/step-000003/model.safetensors has" in printed
    assert "resuming after step 2 of 3" in printed
    # An overwrite that fails leaves the old run as it was.
    assert "no file nowhere.txt" in fails(capsys, "train", "nowhere.txt", "--out", "runs/book", "--overwrite")


def test_a_full_disk() -> None:
    """No file may grow beyond 200 kB: the tokens fit, the checkpoint does not."""
    limited = f"ulimit -f 200; exec {' '.join(ONWARD)} {' '.join(TRAIN)} --steps 6 --checkpoint-every 3"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: cannot save runs/book/checkpoints/step-000003: ")
    assert not Path("runs/book/checkpoints").exists()
    assert "step 6/6" in onward(*TRAIN, "--resume")


def test_a_reader_that_leaves_early() -> None:
    onward(*TRAIN, "--steps", "2")
    command = f"{' '.join(ONWARD)} generate runs/book --max-tokens 500 | head -c 5"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.stderr == b""


def test_a_tokenizer_on_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    printed = onward("tokenizer", "train", "book.txt", "--vocab-size", "300", "--out", "mine.json")
    assert printed.startswith("mine.json: 300 tokens, learned in ")
    lines = onward("tokenizer", "encode", "mine.json", "Line 7<|endoftext|>").splitlines()
    assert lines[-2].split() == ["299", "'<|endoftext|>'"]
    ids = [line.split()[0] for line in lines[:-1]]
    assert onward("tokenizer", "decode", "mine.json", *ids) == "Line 7<|endoftext|>\n"
    assert "id 300 at position 0 is not in the vocabulary" in fails(capsys, "tokenizer", "decode", "mine.json", "300")
    assert onward("tokenizer", "encode-file", "mine.json", "book.txt", "--out", "a.tokens").startswith("a.tokens: ")
    Path("broken.json").write_text("{")
    assert "broken.json" in fails(capsys, "tokenizer", "encode", "broken.json", "x")
    assert "nowhere" in fails(capsys, "tokenizer", "encode", "nowhere", "x")
    Path("more.jsonl").write_text('{"text": "Zwölf Boxkämpfer jagen"}\n{"text": "Viktor quer über den Deich"}\n')
    command = ["tokenizer", "train", "more.jsonl", "--extend", "mine.json", "--vocab-size", "305", "--out", "more.json"]
    printed = onward(*command, "--max-bytes", "40", "--max-words", "100", "--threads", "2")
    assert printed.startswith("only the first 40 bytes of the text were read\nmore.json: 305 tokens, learned in ")
    assert "leave --special-tokens and --split-pattern out" in fails(capsys, *command, "--split-pattern", "byte")
    train = ["tokenizer", "train", "book.txt", "--vocab-size", "300", "--out", "chat.json"]
    onward(*train, "--special-tokens", "<|user|>", "--special-tokens", "<|end|>", "--split-pattern", "llama3")
    lines = onward("tokenizer", "encode", "chat.json", "<|user|><|end|>").splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["298", "299"]


def test_tokenizers_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    onward("tokenizer", "train", "book.txt", "--vocab-size", "300", "--out", "mine.json")
    onward("tokenizer", "train", "book.txt", "--vocab-size", "280", "--out", "small.json")
    assert onward("tokenizer", "simple", "words", "book.txt", "--out", "words.json").startswith("words.json: ")
    lines = onward("tokenizer", "show", "mine.json", "Line 7").splitlines()
    assert lines[0] == "Line│ 7"
    assert "'Line', merge by merge (the lowest rank first)" in lines
    table = onward("tokenizer", "compare", "mine.json", "small.json", "--text", "book.txt").splitlines()
    assert [line.split()[-1] for line in table] == ["tokenizer", "mine.json", "small.json"]
    assert int(table[1].split()[1].replace(",", "")) < int(table[2].split()[1].replace(",", ""))
    assert "no file nowhere.txt" in fails(capsys, "tokenizer", "compare", "mine.json", "--text", "nowhere.txt")
    assert "--text" in fails(capsys, "tokenizer", "compare", "mine.json", status=2)


def test_converted_for_transformers_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    onward(*TRAIN, "--steps", "3", "--set", "model.activation=relu_squared")
    assert 'AutoModelForCausalLM.from_pretrained("theirs") of transformers' in onward("convert", "runs/book", "theirs")
    assert json.loads(Path("theirs/config.json").read_text())["model_type"] == "nanochat"
    assert "next: onward generate ours" in onward("convert", "theirs", "ours")
    for name in ("model.safetensors", "tokenizer.json"):
        assert Path("ours", name).read_bytes() == Path("runs/book/checkpoints/step-000003", name).read_bytes()
    assert "theirs exists already; give a folder that does not" in fails(capsys, "convert", "runs/book", "theirs")
    assert "there is no run and no model in nowhere" in fails(capsys, "convert", "nowhere", "other", "--no-tokenizer")
    Path("model.gguf").write_bytes(b"GGUF")
    assert "model.gguf is cut short or is no GGUF file" in fails(capsys, "convert", "model.gguf", "other")
    onward(*TRAIN, "--steps", "3", "--set", "model.norm_order=post", "--out", "runs/post")
    message = fails(capsys, "convert", "runs/post", "other")
    assert "gpt2 has no" in message
    assert "qwen3 has no norm_order = post" in message


def test_a_chat_with_a_model_that_answers(capsys: pytest.CaptureFixture[str]) -> None:
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=280, special_tokens=marks)
    config = ModelConfig(vocab_size=280, context_length=64, n_layers=1, d_model=16, n_heads=2)
    Path("chatty").mkdir()
    write_model_folder(Path("chatty"), random_decoder(config, tokenizer))
    command = ["generate", "chatty", "--chat", "Hi<|im_end|>", "--temperature", "0", "--max-tokens", "8"]
    reply = onward(*command)
    tokens = chat_tokens(tokenizer, [Message("user", "Hi<|im_end|>")])
    model = load("chatty")
    assert reply == generate(model, tokens, temperature=0, max_tokens=8) + "\n"
    assert "exclude each other" in fails(capsys, *command, "--prompt", "Hi")
    model.tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=280)
    Path("silent").mkdir()
    write_model_folder(Path("silent"), model)
    assert "this model is not made for chats" in fails(capsys, "generate", "silent", "--chat", "Hi")
