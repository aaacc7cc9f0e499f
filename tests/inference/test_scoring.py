"""Scores of sentences: against a loop over single steps and the nats of generated texts; pairs, and bad input."""

import io
import json
import math

import pytest
import torch
from conftest import SMALL

import seqtrain as package
from seqtrain import load_text_model
from seqtrain.inference import scoring, text_model
from seqtrain.system.errors import CheckpointError, ConfigError

LEARNT = (
    "model.hidden_size=12",
    "train.steps=40",
    "train.eval_every=40",
    "optimizer.lr=0.02",
    "schedule=constant",
    "train.epochs=null",
)
RUNS = {
    "running": ("words",),
    "independent": ("words", "task.sentences=independent"),
    "characters": ("characters", "task.window=null", "task.sentences=independent"),
    "adaptive": ("words", "model.softmax=adaptive", "model.embedding_size=16", "model.hidden_size=64"),
    "stories": ("stories",),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}
    for name, (config, *overrides) in RUNS.items():
        folder = tmp_path_factory.mktemp("runs") / name
        epochs = [
            setting for setting in LEARNT if name != "stories" or not setting.startswith(("train.epochs", "schedule"))
        ]
        own = [setting for setting in epochs if name != "adaptive" or "hidden" not in setting]
        package.train(config, [*own, *overrides], out=folder)
        made[name] = folder, load_text_model(folder)
    return made


SENTENCES = [
    "the keys were found",
    "",
    "Anna bought a house .",
    "xyzzy sold the house",
    "the",
    "in summer the birds sang . " * 5,
]


def slow_nats(text_model, sentence, *, beginnings):
    """Step by step, with a softmax in double precision."""
    known, model = text_model.vocabulary, text_model.model
    if text_model.unit == "character":
        tokens, start, ends = list(sentence), "\n", ["\n"]
    else:
        tokens = sentence.split()
        start = "<eos>" if "<eos>" in known.numbers else "."
        ends = ["<eos>"] if "<eos>" in known.numbers else []
    numbers = known.encode([start, *tokens, *([] if beginnings else ends)]).tolist()
    state, found = None, []
    for number, after in zip(numbers, numbers[1:], strict=False):
        scores, state = model(torch.tensor([[number]]), None, state)
        found.append(-float(torch.log_softmax(scores[0, 0].detach().double(), -1)[after]))
    return found


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("beginnings", [False, True])
def test_scores_are_those_of_single_steps(models, name, beginnings, monkeypatch):
    monkeypatch.setattr(text_model, "SCORED_TOGETHER", 4)
    monkeypatch.setattr(scoring, "MOST_TOKENS", 11)
    monkeypatch.setattr(scoring, "MOST_SCORES", 400)
    model = models[name][1]
    sentences = [sentence for sentence in SENTENCES if name != "stories" or "xyzzy" not in sentence]
    found = [*model.score(iter(sentences), beginnings=beginnings)]
    assert [one.sentence for one in found] == sentences
    for one in found:
        wanted = slow_nats(model, one.sentence, beginnings=beginnings)
        assert one.nats == pytest.approx(wanted, abs=1e-5)
        assert len(one.tokens) == len(wanted)
        if name in ("running", "independent"):
            assert one.unknown == [word for word in ("xyzzy",) if word in one.sentence]


@pytest.mark.parametrize("name", ["running", "independent", "stories", "characters"])
def test_a_generated_text_scores_the_sum_of_its_nats(models, name):
    model = models[name][1]
    written = model.generate("", 400, seed=4)
    lines = written.text.split("\n")
    if name in ("running", "stories"):  # the state goes on after a line end, so that the first line is comparable alone
        lines, count = lines[:1], len(lines[0].split()) + (len(lines) > 1)
        assert count > 3
    else:
        assert len(lines) > 2
        count = len(written.nats)
    whole = len(lines) == 1 and count == len(written.nats)
    scored = [*model.score(lines[:-1])] if len(lines) > 1 else []
    scored += [*model.score(lines[-1:], beginnings=whole or len(lines) > 1)]
    total = math.fsum(one.total for one in scored)
    assert math.isclose(total, math.fsum(written.nats[:count]), rel_tol=1e-5)


def test_what_the_command_prints(models, seqtrain, tmp_path):
    run, model = models["independent"]
    (tmp_path / "lines.txt").write_bytes("\ufeffthe keys were found\r\nfrançais <b> the\n\nthe".encode())
    shown = seqtrain("score", run, "lines.txt", "--json", "--tokens")
    *lines, summary = map(json.loads, shown.out.splitlines())
    sentences = ["the keys were found", "français <b> the", "", "the"]
    assert [line["sentence"] for line in lines] == sentences
    for line, one in zip(lines, model.score(sentences), strict=True):
        assert line["nats"] == pytest.approx(one.total)
        assert line["token_nats"] == [
            [token, pytest.approx(nats)] for token, nats in zip(one.tokens, one.nats, strict=True)
        ]
        assert line["perplexity"] == pytest.approx(math.exp(one.total / len(one.tokens)))
        assert line["bits_per_word"] == (pytest.approx(one.total / math.log(2) / one.words) if one.words else None)
    total = math.fsum(line["nats"] for line in lines)
    assert summary["summary"]["nats"] == pytest.approx(total)
    assert summary["summary"]["perplexity"] == pytest.approx(math.exp(total / (5 + 4 + 1 + 2)))
    assert summary["summary"]["bits_per_word"] == pytest.approx(total / math.log(2) / (4 + 3 + 0 + 1))
    assert set(scoring.figures(0.0, 0, 0).values()) == {None}
    people = seqtrain("score", run, "lines.txt", "--tokens")
    assert (people.code, "4 sentences, 12 tokens: perplexity " in people.out) == (0, True)
    assert "not in the vocabulary" in people.err


def test_pairs(models, seqtrain, tmp_path):
    run, model = models["running"]
    (tmp_path / "pairs.txt").write_text(
        "the birds sang .\tsang . birds the\nsang . birds the\tthe birds sang .\nthe\tthe\n"
    )
    shown = seqtrain("score", run, "pairs.txt", "--pairs", "--json")
    *pairs, summary = map(json.loads, shown.out.splitlines())
    assert [pair["preferred"] for pair in pairs] == ["first", "second", "neither"]
    good, bad = model.score(["the birds sang .", "sang . birds the"])
    assert [one["nats"] for one in pairs[0]["pair"]] == pytest.approx([good.total, bad.total])
    assert summary["summary"] == {"pairs": 3, "right": 1, "ties": 1, "share_right": pytest.approx(1 / 3)}
    assert (
        "3 pairs: the first sentence is preferred in 1 (33.3 %), neither in 1"
        in seqtrain("score", run, "pairs.txt", "--pairs").out
    )
    (tmp_path / "bad.txt").write_text("a\tb\nno tab\na\tb\tc\n\tb\na\t \n")
    refused = seqtrain("score", run, "bad.txt", "--pairs")
    assert refused.code == 2
    assert [line.partition("; ")[0] for line in refused.err.splitlines()] == [
        "seqtrain: bad.txt:2: has 0 tabs",
        "seqtrain: bad.txt:3: has 2 tabs",
        "seqtrain: bad.txt:4: has an empty side",
        "seqtrain: bad.txt:5: has an empty side",
    ]


def test_standard_input(models, seqtrain, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the birds\nthe\n")))
    lines = seqtrain("score", models["running"][0], "--json").out.splitlines()
    assert [json.loads(line).get("sentence") for line in lines] == ["the birds", "the", None]


def test_a_closed_standard_input_is_told(models, seqtrain, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    refused = seqtrain("score", models["running"][0])
    assert (refused.code, "stdin: is closed" in refused.err) == (2, True)


def test_what_cannot_be_scored(models, seqtrain, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"ok\ncaf\xe9\n")
    (tmp_path / "good.txt").write_text("ok\n")
    package.train("quickstart", [*SMALL, "task.valid_size=8", "task.test_size=8"], out=tmp_path / "adding")
    for arguments, wanted in [
        ((models["running"][0], "nothing.txt"), "nothing.txt: cannot be read"),
        ((models["running"][0], "latin.txt"), "latin.txt:2: "),
        (("adding", "good.txt"), "which writes no text"),
        ((models["stories"][0], "good.txt"), "not in the vocabulary: 'ok'"),
    ]:
        refused = seqtrain("score", *arguments)
        assert (refused.code, refused.out, wanted in refused.err) == (2, "", True), refused
    with pytest.raises(ConfigError, match="holds a line end"):
        [*models["running"][1].score(["a\nb"])]
    model = models["running"][1]
    with torch.no_grad():
        kept = model.model.head.bias.clone()
        model.model.head.bias.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="not numbers"):
        [*model.score(["the"])]
    with torch.no_grad():
        model.model.head.bias.copy_(kept)


def test_an_independent_model_starts_each_sentence_anew(models):
    """A prompt of two lines is read from its last line on, as in training."""
    model = models["independent"][1]
    assert model.read("the birds").read == ["<eos>", "the", "birds"]
    two, one = model.predict("in summer .\nthe birds"), model.predict("the birds")
    assert two.next == one.next
    running = models["running"][1]
    assert running.predict("in summer .\nthe birds").next != running.predict("the birds").next
