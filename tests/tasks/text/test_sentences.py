"""Sentences of their own: each line once in a pass and in an evaluation, from a fresh state, without the others."""

import math

import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.training import loop

LINES = [" ".join("ab c dé f"[n % 5 : n % 5 + 2].split() * (1 + n % 7)) for n in range(90)]
TEXT = "".join(line + "\n" + "\n" * (n % 9 == 0) for n, line in enumerate(LINES))


@pytest.fixture
def make(tmp_path):
    """A config and its task on a text: `make(TEXT, unit="character")`."""

    def make(text, **settings):
        (tmp_path / "text.txt").write_text(text)
        task = {"name": "language_model", "path": str(tmp_path / "text.txt"), "sentences": "independent"} | settings
        config = config_from({"task": task, "model": {"cell": "gru", "hidden_size": 5, "embedding_size": 3}}, "test")
        return config, build_task(config)

    return make


def sentences_in(task, batch):
    """What stands in a batch, as lists of tokens: inputs and targets of each row."""
    lengths = [len(batch.inputs)] * batch.size if batch.lengths is None else batch.lengths.tolist()
    for n, length in enumerate(lengths):
        assert batch.scored is None or batch.scored[:, n].tolist() == [t < length for t in range(len(batch.inputs))]
        yield tuple(
            [task.vocabulary[number] for number in part[:length, n].tolist()] for part in (batch.inputs, batch.targets)
        )


def expected(lines, unit):
    for line in lines:
        if unit == "word":
            yield ["<eos>", *line.split()], [*line.split(), "<eos>"]
        else:
            yield ["\n", *line], [*line, "\n"]


@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_pass_has_each_sentence_once(make, unit):
    _, task = make(TEXT, unit=unit, fractions=[0.8, 0.1, 0.1])
    steps = task.steps_in(1, 8)
    passes = []
    for epoch in range(2):
        batches = [task.train_batch(step, 8) for step in range(epoch * steps, (epoch + 1) * steps)]
        assert all(batch.fresh and task.epoch_at(epoch * steps, 8) == epoch for batch in batches)
        passes.append([pair for batch in batches for pair in sentences_in(task, batch)])
        padding = sum(len(batch.inputs) * batch.size for batch in batches) / sum(len(t) for _, t in passes[-1])
        assert padding < 1.15
    train = [*expected(LINES, unit)][: len(passes[0])]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(train)
    assert passes[0] != passes[1]
    assert [*sentences_in(task, task.train_batch(3, 8))] == [
        *sentences_in(task, make(TEXT, unit=unit, fractions=[0.8, 0.1, 0.1])[1].train_batch(3, 8))
    ]


@pytest.mark.parametrize("unit", ["word", "character"])
def test_the_parts_are_cut_between_sentences_and_are_the_whole_text(make, unit):
    _, task = make(TEXT, unit=unit, fractions=[0.5, 0.2, 0.3])
    found = []
    for split in ("train", "valid", "test"):
        own = [pair for batch in task.eval_batches(split, 7) for pair in sentences_in(task, batch)]
        assert len(own) == task.facts(split)["sentences"] > 5
        found += own
    assert sorted(found) == sorted(expected(LINES, unit))
    assert sum(task.facts(split)["empty_lines"] for split in ("train", "valid", "test")) == 10


@pytest.mark.parametrize("unit", ["word", "character"])
def test_the_loss_is_that_of_each_sentence_alone(make, unit):
    config, task = make(TEXT, unit=unit)
    model = build_model(config, task.spec).eval()
    figures = loop.evaluate(model, task, "test", 7)
    nats, words, characters, tokens, counts = 0.0, 0, 0, 0, torch.tensor(task.counts)
    unigram = 0.0
    test = [pair for batch in task.eval_batches("test", 1) for pair in sentences_in(task, batch)]
    for inputs, targets in test:
        numbers, wanted = ([task.vocabulary.index(token) for token in part] for part in (inputs, targets))
        scores = model(torch.tensor(numbers)[:, None])[0][:, 0].detach()
        nats -= float(torch.log_softmax(scores.double(), -1)[range(len(wanted)), wanted].sum())
        tokens += len(wanted)
        line = (" " if unit == "word" else "").join(targets[:-1])
        words, characters = words + len(line.split()) + 1, characters + len(line) + 1
        unigram -= sum(math.log((counts[number] + 1) / (counts.sum() + len(counts))) for number in wanted)
    assert math.isclose(figures["loss"], nats / tokens, rel_tol=1e-5)
    assert math.isclose(task.baseline("test")["loss"], unigram / tokens, rel_tol=1e-5)
    assert task.facts("test")["tokens"] == tokens
    found = task.conversions("test", nats / tokens)
    if unit == "word":
        assert math.isclose(found["bits_per_character"], nats / math.log(2) / characters, rel_tol=1e-9)
    else:
        assert math.isclose(found["word_perplexity"], math.exp(nats / words), rel_tol=1e-9)


def test_a_last_line_of_characters_without_an_end(make):
    _, task = make("ab\nba\nab", unit="character", fractions=[0.3, 0.3, 0.4])
    found = [
        [pair for batch in task.eval_batches(split, 9) for pair in sentences_in(task, batch)]
        for split in ("train", "valid", "test")
    ]
    assert found == [
        [(["\n", "a", "b"], ["a", "b", "\n"])],
        [(["\n", "b", "a"], ["b", "a", "\n"])],
        [(["\n", "a"], ["a", "b"])],
    ]


def test_a_last_line_of_one_character_without_an_end_is_a_sentence(make):
    _, task = make("ab\nba\na", unit="character", fractions=[0.4, 0.3, 0.3])
    assert [pair for batch in task.eval_batches("test", 9) for pair in sentences_in(task, batch)] == [(["\n"], ["a"])]
    assert task.facts("test")["empty_lines"] == 0


def test_the_longest_sentence_decides_the_memory(make):
    _, task = make("a b\n" * 30 + "a b c d e f g h\n" + "a b\n" * 30, fractions=[0.9, 0.05, 0.05])
    assert len(task.specimen("train", 4).inputs) == 9
    assert len(task.specimen("test", 4).inputs) == 3


def test_what_does_not_fit(make):
    for settings in ({"window": 5}, {"vary_window": True}):
        with pytest.raises(ConfigError, match="each line is read whole; set task"):
            make(TEXT, **settings)
    with pytest.raises(DataError, match="a line with a token is needed"):
        make("a b\n\n\n\n", fractions=[0.5, 0.2, 0.3])


def test_a_batch_may_be_larger_than_the_text_has_sentences(make):
    _, task = make("a b\nc\nd e\n" * 2, fractions=[0.5, 0.25, 0.25])
    batch = task.train_batch(0, 100)
    assert (batch.size, task.steps_in(3, 100), task.trained_together(100)) == (3, 3, 3)
