"""What may follow a prompt: the distribution against a stupid restatement, the loop against reading everything anew."""

import inspect
import io
import json
import math
import signal
import subprocess
import sys
import unicodedata
from collections import Counter
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from conftest import SMALL, SMALL_SETS
from hypothesis import assume, given
from hypothesis import strategies as st

import seqtrain as package
from seqtrain import load_text_model
from seqtrain.config import load_config
from seqtrain.inference.sampling import (
    READ_AT_ONCE,
    TOGETHER,
    Sampling,
    continue_samples,
    continue_tokens,
    distribution,
    draw,
)
from seqtrain.inference.text_model import TextModel, pieces
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError
from seqtrain.system.rng import generator
from seqtrain.tasks.text.vocabulary import Vocabulary

LEARNT = ("model.hidden_size=16", "train.steps=40", "train.eval_every=40", "optimizer.lr=0.02", "schedule=constant")
RUNS = {
    "words": ("words", "task.min_count=400"),  # leaves much <unk>
    "characters": ("characters", "model.depth=2", "model.cell=gru"),
    "peephole": ("words", "model.cell=peephole", "engine=reference"),
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Models that have seen the shipped stories for a moment."""
    made = {}
    for name, (config, *overrides) in RUNS.items():
        made[name] = tmp_path_factory.mktemp("runs") / name
        train_run(load_config(config, [*LEARNT, *overrides]), made[name], resume=False, overwrite=False, quiet=True)
    return made


@pytest.fixture(scope="session")
def trained(runs) -> dict[str, TextModel]:
    return {name: load_text_model(run) for name, run in runs.items()}


class Fixed:
    """A model that always gives the same scores; its state counts the tokens it has read."""

    def __init__(self, scores):
        self.scores, self.calls = torch.tensor(scores), []

    def __call__(self, inputs, lengths=None, state=None):
        assert lengths is None
        self.calls.append((inputs.shape[0], state))
        return self.scores.expand(*inputs.shape, -1), (state or 0) + len(inputs)


# --- the distribution -------------------------------------------------------------------------------------------

scores_ = st.lists(st.integers(-80, 80).map(lambda n: n / 10), min_size=2, max_size=12)


def restated(scores, temperature, top_k, top_p, banned):
    """The definition in plain Python: rank, keep while both allow it, divide."""
    weights = [0.0 if n in banned else math.exp(score / temperature) for n, score in enumerate(scores)]
    probabilities = [weight / math.fsum(weights) for weight in weights]
    ranked = sorted(range(len(scores)), key=lambda n: (-probabilities[n], n))
    kept, mass = [], 0.0
    for n in ranked:
        if top_k is not None and len(kept) == top_k:
            break
        if top_p < 1 and mass >= top_p:
            break
        kept.append(n)
        mass += probabilities[n]
    return [probabilities[n] / mass if n in kept else 0.0 for n in range(len(scores))]


@given(
    scores_,
    st.floats(0.2, 5),
    st.none() | st.integers(1, 14),
    st.just(1.0) | st.floats(0.001, 1),
    st.none() | st.just(0) | st.just(1),
)
def test_the_distribution_is_what_its_definition_says(scores, temperature, top_k, top_p, banned):
    banned = [] if banned is None else [banned]
    wanted = restated(scores, temperature, top_k, top_p, banned)
    for nudged in (top_p - 1e-9, top_p + 1e-9):  # where the nucleus ends exactly at top_p, rounding decides
        assume(top_p == 1 or wanted == restated(scores, temperature, top_k, nudged, banned))
    found = distribution(torch.tensor(scores, dtype=torch.float64), Sampling(temperature, top_k, top_p), banned)
    assert found.tolist() == pytest.approx(wanted, abs=1e-12)


def test_a_large_vocabulary_by_the_same_definition():
    scores = torch.randn(3000, generator=generator("test"), dtype=torch.float64).mul(3).round(decimals=1)  # many ties
    for top_k, top_p in ((None, 0.9), (40, 1.0), (700, 0.9), (3000, 1.0), (5000, 0.05)):
        wanted = restated(scores.tolist(), 1.0, top_k, top_p, [7])
        assert distribution(scores, Sampling(1.0, top_k, top_p), [7]).tolist() == pytest.approx(wanted, abs=1e-12)


@given(scores_)
def test_greedy_is_the_first_best_as_is_one_of_the_top(scores):
    best = [float(n == scores.index(max(scores))) for n in range(len(scores))]
    given_scores = torch.tensor(scores)
    assert distribution(given_scores, Sampling(0)).tolist() == best
    assert distribution(given_scores, Sampling(1, top_k=1)).tolist() == best
    assert distribution(given_scores, Sampling(1, top_p=1e-9)).tolist() == best


def test_extreme_temperatures_and_scores_left_as_they_were():
    scores = torch.tensor([1.0, 3.0, 2.0])
    assert distribution(scores, Sampling(1e-300)).tolist() == [0, 1, 0]
    assert distribution(scores, Sampling(1e300)).tolist() == pytest.approx([1 / 3] * 3)
    assert distribution(scores, Sampling(0), banned=[1]).tolist() == [0, 0, 1]
    assert scores.tolist() == [1, 3, 2]
    assert distribution(torch.tensor([0.0, 1e38, -1e38]), Sampling()).tolist() == [0, 1, 0]


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_what_has_no_probability_is_never_drawn(monkeypatch, uniform):
    monkeypatch.setattr("torch.rand", lambda *_, **__: torch.tensor([uniform], dtype=torch.float64))
    probabilities = torch.tensor([0, 0.25, 0, 0.75, 0], dtype=torch.float64)
    assert draw(probabilities, generator()) == (1 if uniform == 0 else 3)
    assert draw(torch.full((7,), 1 / 7, dtype=torch.float64), generator()) == (0 if uniform == 0 else 6)


# The 0.999 quantiles of chi-square; the seeds are fixed, so a passing test passes for ever.
QUANTILES = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 8: 26.12, 15: 37.70, 24: 51.18}


def chi_square(counts, expected):
    return sum((counts[key] - wanted) ** 2 / wanted for key, wanted in expected.items())


@pytest.mark.parametrize(
    ("sampling", "banned"),
    [
        (Sampling(), []),
        (Sampling(0.5), []),
        (Sampling(2.0, top_k=3), []),
        (Sampling(1.0, top_p=0.7), []),
        (Sampling(1.5, top_k=4, top_p=0.8), [3]),
    ],
)
def test_tokens_are_as_frequent_as_the_distribution_says(sampling, banned):
    scores, total = [0.3, -0.5, 1.1, 1.4, -1.0], 6000
    drawn = continue_tokens(Fixed(scores), torch.tensor([0]), sampling, seed=3, banned=banned)
    numbers = [number for number, _ in islice(drawn, total)]
    wanted = restated(scores, *sampling, banned)
    expected = {n: total * p for n, p in enumerate(wanted) if p > 0}
    assert set(numbers) == set(expected)
    assert chi_square(Counter(numbers), expected) < QUANTILES[len(expected) - 1]
    pairs = Counter(zip(numbers[::2], numbers[1::2], strict=True))
    expected = {(a, b): total / 2 * wanted[a] * wanted[b] for a in expected for b in expected}
    assert chi_square(pairs, expected) < QUANTILES[len(expected) - 1]  # one token tells nothing of the next


# --- the loop ---------------------------------------------------------------------------------------------------


def whole_pass(model, numbers):
    """The scores `[N, V]` after each token, in one call."""
    with torch.no_grad():
        return model(torch.tensor(numbers)[:, None])[0][:, 0]


@pytest.mark.parametrize("name", list(RUNS))
def test_greedy_is_the_argmax_of_one_long_pass(trained, name):
    model, known = trained[name].model, trained[name].vocabulary
    start = known.encode(list("the old") if trained[name].unit == "character" else ["the", "old"])
    drawn = list(islice(continue_tokens(model, start, Sampling(0)), 60))
    numbers = [number for number, _ in drawn]
    scores = whole_pass(model, [*start.tolist(), *numbers])[len(start) - 1 : -1]
    assert scores.argmax(1).tolist() == numbers
    nats = -torch.log_softmax(scores.double(), 1).gather(1, torch.tensor(numbers)[:, None])[:, 0]
    assert [nats for _, nats in drawn] == pytest.approx(nats.tolist(), abs=1e-4)


@pytest.mark.parametrize("name", list(RUNS))
def test_the_carried_state_writes_what_reading_everything_anew_would(trained, name):
    model, sampling = trained[name].model, Sampling(1.3, top_k=20, top_p=0.95)
    start = trained[name].vocabulary.encode([trained[name].start()])
    numbers = start.tolist()
    for place in range(40):
        scores = whole_pass(model, numbers)[-1]
        numbers.append(draw(distribution(scores, sampling, [0]), generator(5, "generate", place)))
    drawn = continue_tokens(model, start, sampling, seed=5, banned=[0])
    assert [number for number, _ in islice(drawn, 40)] == numbers[1:]


def test_nats_are_the_models_own_whatever_the_sampling():
    scores = [0.3, -0.5, 1.1]
    wanted = [-math.log(p) for p in restated(scores, 1.0, None, 1.0, [])]
    for sampling in (Sampling(0), Sampling(0.3), Sampling(1, 2, 0.9)):
        for number, nats in islice(continue_tokens(Fixed(scores), torch.tensor([0]), sampling, banned=[0]), 5):
            assert nats == pytest.approx(wanted[number])


def test_a_prompt_is_one_call_and_each_token_one_more():
    model = Fixed([0.0, 1.0])
    assert len(list(islice(continue_tokens(model, torch.zeros(9, dtype=torch.long), Sampling(0)), 3))) == 3
    assert model.calls == [(9, None), (1, 9), (1, 10)]  # the last token is not read
    assert inspect.isgenerator(continue_tokens(model, torch.tensor([0]), Sampling()))


def test_a_long_prompt_is_read_in_parts_to_the_same_end(trained):
    model = trained["words"].model
    numbers = (torch.arange(READ_AT_ONCE * 2 + 5) * 7 % 30).tolist()
    wanted = whole_pass(model, numbers)[-1].softmax(0).double()
    words = [trained["words"].vocabulary.tokens[n] for n in numbers]
    predicted = trained["words"].predict(" ".join(words).replace("<eos>", "\n"), 10**9)
    found = {row.token: row.probability for row in predicted.next}
    tokens = trained["words"].vocabulary.tokens
    assert [found[token] for token in tokens] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1)


def test_more_tokens_go_on_where_fewer_end(trained):
    texts = [trained["words"].generate("the", count, seed=4) for count in (1, 7, 30)]
    assert [len(text.generated) for text in texts] == [1, 7, 30]
    for shorter, longer in pairwise(texts):
        assert longer.generated[: len(shorter.generated)] == shorter.generated
        assert longer.nats[: len(shorter.nats)] == shorter.nats
    assert trained["words"].generate("the", 30, seed=5).generated != texts[-1].generated


def test_unk_is_written_only_when_allowed(trained):
    model = trained["words"]
    allowed = model.generate("", 200, allow_unk=True)
    assert allowed.generated.count("<unk>") > 10
    assert "<unk>" in allowed.text
    assert "<unk>" not in model.generate("", 200).generated
    scores = torch.tensor([9.0, 1.0, 2.0])
    assert next(continue_tokens(Fixed(scores.tolist()), torch.tensor([1]), Sampling(0), banned=[0]))[0] == 2


def test_nothing_is_left_for_a_gradient_and_nothing_is_global(trained):
    before, mode = torch.random.get_rng_state(), torch.is_inference_mode_enabled()
    drawn = continue_tokens(trained["words"].model, torch.tensor([1]), Sampling())
    next(drawn)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.is_inference_mode_enabled() == mode
    assert torch.is_grad_enabled()


def test_what_python_callers_get_wrong():
    with pytest.raises(ValueError, match="top-p is 2; it must be above 0 and at most 1"):
        next(continue_tokens(Fixed([0.0, 1.0]), torch.tensor([0]), Sampling(top_p=2)))
    text_model = TextModel(Fixed([0.0, 1.0]), Vocabulary(["<unk>", "<eos>"], [1, 1]), "word")
    with pytest.raises(ConfigError) as refused:
        text_model.generate(tokens=0, top_k=0)
    assert refused.value.faults == [
        "top-k is 0; it must be 1 or more; leave it out for all tokens", "tokens is 0; it must be 1 or more",
    ]  # fmt: skip
    with pytest.raises(CheckpointError, match="the model's scores are not numbers"):
        next(continue_tokens(Fixed([0.0, math.nan]), torch.tensor([0]), Sampling(0)))
    with pytest.raises(AttributeError, match="no attribute 'load_modell'"):
        package.load_modell  # noqa: B018


# --- several samples --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(RUNS))
def test_a_sample_does_not_depend_on_the_number_of_the_others(trained, name):
    model, how = trained[name], {"tokens": 25, "top_k": 20, "top_p": 0.97, "seed": 3}
    many = model.generate_samples("the", TOGETHER + 2, **how).samples
    few = model.generate_samples("the", 3, **how).samples
    assert many[:3] == few
    assert len({sample.text for sample in many}) == len(many)
    alone = model.generate("the", **how)
    assert (few[0].generated, few[0].text) == (alone.generated, alone.text)
    assert few[0].nats == pytest.approx(alone.nats, abs=1e-5)


@pytest.mark.parametrize("name", list(RUNS))
def test_a_sample_is_what_reading_everything_anew_would_draw(trained, name):
    """With a token after which the model starts from a fresh state, at another place in each sample."""
    model, tokens = trained[name].model, 30
    end = trained[name].vocabulary.numbers[trained[name].start()]
    drawn = islice(continue_samples(model, torch.tensor([end]), Sampling(), 3, seed=5, fresh_after=end), tokens)
    for k, sample in enumerate(zip(*drawn, strict=True)):
        numbers = [end]
        for place, (number, nats) in enumerate(sample):
            last = len(numbers) - 1 - numbers[::-1].index(end)
            scores = whole_pass(model, numbers[last:])[-1]
            random = generator(5, "generate", place, *([k] if k else []))
            assert draw(distribution(scores, Sampling()), random) == number
            assert nats == pytest.approx(-float(scores.double().log_softmax(0)[number]), abs=1e-5)
            numbers.append(number)


def test_samples_are_as_frequent_as_the_distribution_says_and_independent():
    scores, samples = [0.3, -0.5, 1.1, 1.4, -1.0], 3000

    def stateless(inputs, lengths, state):
        assert inputs.shape[1] in (1, TOGETHER)
        return torch.tensor(scores).expand(*inputs.shape, -1), []

    drawn = continue_samples(stateless, torch.tensor([0]), Sampling(), samples, seed=3)
    first, second = ([number for number, _ in next(drawn)] for _ in range(2))
    wanted = restated(scores, 1.0, None, 1.0, [])
    expected = {n: samples * p for n, p in enumerate(wanted)}
    assert chi_square(Counter(first), expected) < QUANTILES[len(expected) - 1]
    pairs = {(a, b): samples * wanted[a] * wanted[b] for a in expected for b in expected}
    assert chi_square(Counter(zip(first, second, strict=True)), pairs) < QUANTILES[len(pairs) - 1]
    beside = Counter(zip(first[::2], first[1::2], strict=True))
    assert chi_square(beside, {pair: count / 2 for pair, count in pairs.items()}) < QUANTILES[len(pairs) - 1]


# --- prompts and texts ------------------------------------------------------------------------------------------

KNOWN = ["<unk>", "the", "<eos>", "cat", "你好"]


class Case(NamedTuple):
    text: str
    tokens: list[str]
    read: list[str] | None = None
    unknown: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "case",
    [
        Case("the cat", ["the", "cat"]),
        Case("  the\tcat ", ["the", "cat"]),
        Case("the\ncat", ["the", "<eos>", "cat"]),
        Case("the\r\n\r\ncat\r", ["the", "<eos>", "<eos>", "cat", "<eos>"]),
        Case("the cat\n", ["the", "cat", "<eos>"]),
        Case("the \n ", ["the", "<eos>"]),
        Case("\ufeffthe\n\ufeffcat", ["the", "<eos>", "cat"]),
        Case("你好 🙂 你好\u3000🙂", ["你好", "🙂", "你好", "🙂"], ["你好", "<unk>", "你好", "<unk>"], ("🙂",)),
        Case("The the <unk> dog", ["The", "the", "<unk>", "dog"], ["<unk>", "the", "<unk>", "<unk>"], ("The", "dog")),
        *(Case(text, [], ["<eos>"]) for text in ("", "   ", "\n\n", "\r\n", "\ufeff", "\u3000")),
    ],
)
def test_a_prompt_of_words(case):
    model = TextModel(Fixed([0.0]), Vocabulary(KNOWN, [1] * 5), "word")
    assert model.read(case.text) == (case.tokens, case.read or case.tokens, list(case.unknown))


def test_a_prompt_of_characters():
    model = TextModel(Fixed([0.0]), Vocabulary(["<unk>", "a", " ", "\n", "好"], [1] * 5), "character")
    assert model.read("a 好\r\na\r") == (list("a 好\na\n"), list("a 好\na\n"), [])
    assert model.read("a🙂<b🙂") == (list("a🙂<b🙂"), ["a", *["<unk>"] * 4], ["🙂", "<", "b"])
    assert model.read(" \n") == ([], ["\n"], [])


def test_where_a_text_starts_without_a_line_end():
    for unit in ("word", "character"):
        assert TextModel(Fixed([0.0]), Vocabulary(["b", "<unk>", "a", "c"], [3, 9, 5, 5]), unit).start() == "a"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_prompt_is_read_in_the_form_that_the_vocabulary_has(form):
    typed = {other: unicodedata.normalize(other, "café déjà") for other in ("NFC", "NFD")}
    words = typed[form].split()
    model = TextModel(Fixed([0.0]), Vocabulary(["<unk>", *words, "<eos>"], [1] * 4), "word")
    letters = sorted(set(typed[form]))
    by_letter = TextModel(Fixed([0.0]), Vocabulary(["<unk>", *letters], [1] * (len(letters) + 1)), "character")
    for text in typed.values():
        assert model.read(text) == (words, words, [])
        assert by_letter.read(text) == (list(typed[form]), list(typed[form]), [])


def test_a_prompt_that_is_not_utf8():
    model = TextModel(Fixed([0.0]), Vocabulary(KNOWN, [1] * 5), "word")
    with pytest.raises(SeqtrainError, match=r"the caf\\xe9: is not UTF-8"):
        model.read("the caf\udce9")


def test_how_tokens_are_joined():
    words = ["the", "cat", "<eos>", "<eos>", "a", "<unk>", "<eos>"]
    assert "".join(pieces(words, "word")) == "the cat\n\na <unk>\n"
    assert list(pieces(["a", "b"], "word")) == ["a", " b"]
    assert "".join(pieces(["<eos>", "a"], "word")) == "\na"
    assert "".join(pieces(["a", " ", "\n", "<", "🙂"], "character")) == "a \n<🙂"


# --- the verbs --------------------------------------------------------------------------------------------------


def test_generate_for_people_and_for_scripts(seqtrain, runs):
    arguments = ("generate", runs["words"], "--prompt", "the zebra of\nthe zebra", "--tokens", 30, "--seed", 2)
    shown = seqtrain(*arguments)
    assert (shown.code, shown.remarks) == (0, "not in the vocabulary, read as <unk>: 'zebra', 'of'\n")
    silent = seqtrain(*arguments, "--json")
    assert (silent.code, silent.err) == (0, "")
    result = silent.json
    assert shown.out == result["text"] + ("" if result["text"].endswith("\n") else "\n")
    assert result["text"].startswith("the zebra of\nthe zebra ")
    assert result["prompt"] == ["the", "zebra", "of", "<eos>", "the", "zebra"]
    assert result["read"] == ["the", "<unk>", "<unk>", "<eos>", "the", "<unk>"]
    assert result["unknown"] == ["zebra", "of"]
    assert len(result["generated"]) == len(result["nats"]) == 30
    assert all(nats > 0 for nats in result["nats"])
    assert result["settings"] == {"tokens": 30, "temperature": 1, "top_k": None, "top_p": 1, "allow_unk": False}
    assert (result["seed"], result["unit"]) == (2, "word")
    assert result["checkpoint"] == str(runs["words"] / "best.safetensors")
    assert seqtrain(*arguments).out == shown.out
    assert seqtrain(*arguments[:-1], 3).out != shown.out


def test_samples_for_people_and_for_scripts(seqtrain, runs, trained):
    arguments = ("generate", runs["words"], "--prompt", "the", "--tokens", 9, "--samples", 3)
    result = seqtrain(*arguments, "--json")
    assert (result.code, result.err) == (0, "")
    wanted = trained["words"].generate_samples("the", 3, 9).samples
    assert result.json["samples"] == [asdict(sample) for sample in wanted]
    assert result.json["settings"]["samples"] == 3
    assert {"checkpoint", "unit", "prompt", "read", "unknown", "seed"} < result.json.keys()
    ended = [sample.text if sample.text.endswith("\n") else sample.text + "\n" for sample in wanted]
    shown = "".join(f"--- {number} of 3 ---\n{text}" for number, text in enumerate(ended, 1))
    assert seqtrain(*arguments).out == shown
    refused = seqtrain("generate", runs["words"], "--samples", 0)
    assert (refused.code, refused.out) == (2, "")
    assert "--samples is 0; it must be 1 or more" in refused.err


def test_without_a_prompt_it_is_said_how_to_give_one(seqtrain, runs):
    hint = "no prompt, so the text starts after {!r}; give one with --prompt TEXT\n"
    assert seqtrain("generate", runs["words"], "--tokens", 3).remarks == hint.format("<eos>")
    assert seqtrain("predict", runs["characters"], "--prompt", " ").remarks == hint.format("\n")
    assert seqtrain("generate", runs["words"], "--tokens", 3, "--json").err == ""


def test_every_option_of_generate_acts(seqtrain, runs, trained):
    model, drawn = trained["words"], set()
    options = {
        ("--temperature", 0.5): {"temperature": 0.5},
        ("--temperature", 0): {"temperature": 0},
        ("--top-k", 3): {"top_k": 3},
        ("--top-p", 0.5): {"top_p": 0.5},
        ("--seed", -1): {"seed": -1},
        ("--allow-unk",): {"allow_unk": True},
        ("--prompt", "the"): {"prompt": "the"},
        (): {},
    }
    for given_options, settings in options.items():
        result = seqtrain("generate", runs["words"], "--tokens", 40, *given_options, "--json").json
        assert result["generated"] == model.generate(tokens=40, **settings).generated
        drawn.add(result["text"])
    assert len(drawn) == len(options)
    assert len(seqtrain("generate", runs["words"], "--json").json["generated"]) == 100


def test_a_checkpoint_serves_as_well_as_its_run(seqtrain, runs):
    run = runs["characters"]
    texts = {seqtrain("generate", target).out for target in (run, run / "best.safetensors")}
    assert len(texts) == 1
    assert len(texts.pop().removesuffix("\n")) in (99, 100)


def test_predict_for_people_and_for_scripts(seqtrain, runs, trained):
    arguments = ("predict", runs["words"], "--prompt", "the  zebra")
    shown = seqtrain(*arguments)
    assert shown.remarks == "not in the vocabulary, read as <unk>: 'zebra'\n"
    assert "after: the <unk>" in shown.out
    result = seqtrain(*arguments, "--json").json
    assert (result["prompt"], result["read"], result["unknown"]) == (["the", "zebra"], ["the", "<unk>"], ["zebra"])
    assert [row["token"] in shown.out for row in result["next"]] == [True] * 5
    everything = seqtrain(*arguments, "--top", 10**9, "--json").json["next"]
    assert everything[:5] == result["next"]
    model, known = trained["words"].model, trained["words"].vocabulary
    wanted = whole_pass(model, known.encode(["the", "<unk>"]).tolist())[-1].double().softmax(0).tolist()
    assert {row["token"]: row["probability"] for row in everything} == pytest.approx(
        dict(zip(known.tokens, wanted, strict=True)), abs=1e-6
    )
    nothing = seqtrain("predict", runs["words"], "--prompt", " ")
    assert "no prompt; after: <eos>" in nothing.out


def test_predict_of_characters_shows_those_that_cannot_be_seen(seqtrain, runs):
    shown = seqtrain("predict", runs["characters"], "--prompt", "x" * 300 + "\nthe cat", "--top", 1000).out
    assert f"after: ...{'x' * 91}\\nthe cat\n" in shown
    assert r"'\n'" in shown
    assert "' '" in shown
    assert r"no prompt; after: \n" in seqtrain("predict", runs["characters"]).out


@pytest.mark.parametrize(
    ("raw", "prompt"),
    [
        (b"the old\n", ["the", "old"]),
        ("\ufeffthe old\r\n".encode(), ["the", "old"]),
        (b"the\n\n", ["the", "<eos>"]),
        (b"\n", []),
        (b"", []),
    ],
)
def test_a_prompt_from_stdin(seqtrain, runs, monkeypatch, raw, prompt):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert seqtrain("predict", runs["words"], "--prompt", "-", "--json").json["prompt"] == prompt


def test_stdin_that_is_closed_or_no_text(seqtrain, runs, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("né".encode("latin-1"))))
    refused = seqtrain("generate", runs["words"], "--prompt", "-")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "seqtrain: stdin: is not UTF-8 (byte 0xe9 at byte offset 1); convert it, e.g. iconv -f latin1 -t utf-8\n"
    )
    monkeypatch.setattr("sys.stdin", None)
    assert seqtrain("generate", runs["words"], "--prompt", "-", "--json").json["prompt"] == []


def test_a_model_of_any_script_needs_its_text_no_more(seqtrain, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("你好 世界 🙂\ncafé 世界\n" * 60, encoding="utf-8")
    for config in ("words", "characters"):
        assert seqtrain("train", config, *SMALL, f"task.path={text}", "--out", config).code == 0
    text.unlink()
    words = seqtrain("generate", "words", "--prompt", "你好 世界\r\n🙂 再见", "--json", "--tokens", 9).json
    assert words["prompt"] == ["你好", "世界", "<eos>", "🙂", "再见"]
    assert words["unknown"] == ["再见"]
    assert words["text"].startswith("你好 世界\n🙂 再见")
    assert set(words["generated"]) <= {"你好", "世界", "🙂", "café", "<eos>"}
    characters = seqtrain("generate", "characters", "--prompt", "你好 再", "--json", "--tokens", 9).json
    assert characters["unknown"] == ["再"]
    assert characters["text"] == "你好 再" + "".join(characters["generated"])
    assert "世界" in seqtrain("predict", "words").out


MANY = ["--tokens", "0", "--temperature", "-1", "--top-k", "0", "--top-p", "0"]


@pytest.mark.parametrize(
    ("verb", "options", "wanted"),
    [
        ("generate", ["--tokens", "0"], ["--tokens is 0; it must be 1 or more"]),
        (
            "generate",
            ["--temperature", "nan"],
            ["--temperature is nan; it must be 0 (always the most likely token) or a number above"],
        ),
        (
            "generate",
            ["--temperature", "inf"],
            ["--temperature is inf; it must be 0 (always the most likely token) or a number above"],
        ),
        (
            "generate",
            ["--top-p", "1.01"],
            ["--top-p is 1.01; it must be above 0 and at most 1; leave it out for all tokens"],
        ),
        (
            "generate",
            MANY,
            [
                "--temperature is -1; it must be 0 (always the most likely token) or a number above",
                "--top-k is 0; it must be 1 or more; leave it out for all tokens",
                "--top-p is 0; it must be above 0 and at most 1; leave it out for all tokens",
                "--tokens is 0; it must be 1 or more",
            ],
        ),
        ("predict", ["--top", "0"], ["--top is 0; it must be 1 or more"]),
    ],
)
def test_numbers_that_make_no_sense(seqtrain, runs, verb, options, wanted):
    refused = seqtrain(verb, runs["words"], *options)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines() == [f"seqtrain: {line}" for line in wanted]


def test_a_usage_error_speaks_of_no_settings(seqtrain):
    refused = seqtrain("generate", "run", "--seed", 3, "--top-k", "many")
    assert (refused.code, refused.out) == (2, "")
    assert "--top-k" in refused.err
    assert "is a setting" not in refused.err


def test_stories_are_continued_in_their_own_words(seqtrain):
    """Their checkpoint has the vocabulary, without `<unk>` and without counts."""
    seqtrain("train", "stories", *SMALL, *SMALL_SETS, "--out", "tales")
    written = seqtrain("generate", "tales", "--prompt", "the keys", "--tokens", 5, "--json").json
    assert written["read"] == ["the", "keys"]
    assert len(written["generated"]) == 5
    model = load_text_model("tales")
    assert model.start() == "."
    assert set(written["generated"]) <= set(model.vocabulary.tokens)
    (first, *_) = seqtrain("predict", "tales", "--prompt", "the keys", "--top", 3, "--json").json["next"]
    scores, _ = model.model(model.vocabulary.encode(["the", "keys"])[:, None])
    assert first["probability"] == pytest.approx(scores[-1, 0].softmax(0).max().item(), rel=1e-5)
    refused = seqtrain("predict", "tales", "--prompt", "the zebra sang")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("seqtrain: not in the vocabulary: 'zebra'; the model has no <unk>")


@pytest.mark.parametrize("verb", ["generate", "predict"])
def test_what_is_no_language_model(seqtrain, tmp_path, verb):
    seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "--out", "other")
    refused = seqtrain(verb, "other", "--json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "seqtrain: other/best.safetensors: holds a model of task 'adding', which writes no text; give one of task "
        "'language_model' or 'stories', e.g. what seqtrain train words made\n"
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for target, wanted in (
        ("nowhere", "no such file"),
        ("empty", "is not a run directory"),
        ("x.safetensors", "is not a seqtrain checkpoint"),
    ):
        refused = seqtrain(verb, target)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err
    assert seqtrain(verb).code == 2


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"vocabulary": None, "counts": None}, "a language model needs a vocabulary with counts"),
        ({"vocabulary": ["<unk>"], "counts": [1]}, "the vocabulary does not fit the model"),
    ],
)
def test_a_damaged_checkpoint(seqtrain, runs, tmp_path, change, wanted):
    checkpoint = load_checkpoint(runs["words"] / "best.safetensors")
    header = checkpoint.header.model_copy(update=change)
    save_checkpoint(tmp_path / "x.safetensors", checkpoint._replace(header=header))
    refused = seqtrain("generate", "x.safetensors")
    assert (refused.code, refused.out) == (2, "")
    assert wanted in refused.err


# --- as a process -----------------------------------------------------------------------------------------------


def endless(run):
    return "generate", str(run), "--tokens", str(10**9), "--temperature", "0.7", "--prompt", "T"


def test_ctrl_c_ends_a_text_with_its_line(runs):
    command = [sys.executable, "-m", "seqtrain", *endless(runs["characters"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.read(20)  # comes as it is written, long before the end
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130
    assert out.endswith("\n")
    assert "Traceback" not in err


def test_a_reader_that_has_seen_enough_ends_it(start, runs):
    child = start(*endless(runs["characters"]))
    assert child.stdout.read(20)
    child.stdout.close()
    assert child.communicate() == (0, "", "")


def test_bytes_that_are_no_text_and_json_of_any_script(start, runs):
    command = ["generate", runs["words"], "--tokens", "3", "--prompt"]
    code, out, err = start(*command, "the \udcff").communicate()
    assert (code, out) == (2, "")
    assert err.startswith(r"seqtrain: the \xff: is not UTF-8;")
    code, out, _ = start(*command, "你 🙂", "--json").communicate()
    assert (code, json.loads(out)["unknown"]) == (0, ["你", "🙂"])
