"""Tagging: what is read and asked, metrics and baseline against plain loops; nothing leaks, and padding is nowhere."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.tasks.tagging.features import parts_of, shape_of
from seqtrain.training import loop

IOB = {
    "Ada": "B-PER",
    "Lovelace": "I-PER",
    "in": "O",
    "New": "B-LOC",
    "York": "I-LOC",
    "sees": "O",
    "2020": "O",
    "b-c": "O",
}


def sentences(count, seed, *, rare="abc"):
    """Random words, most with the tag of their kind, some unknown or with another tag."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        own = []
        for word in draw.choices([*IOB], k=draw.randint(1, 7)):
            tag = draw.choice([*IOB.values()]) if draw.random() < 0.2 else IOB[word]
            own.append((word + draw.choice(rare) * 2 if draw.random() < 0.1 else word, tag))
        made.append(own)
    return made


def write(path, splits):
    path.mkdir(exist_ok=True)
    for split, own in splits.items():
        text = "\n\n".join("\n".join(f"{word} {tag}" for word, tag in sentence) for sentence in own)
        (path / f"{split}.conll").write_text(text + "\n")


SPLITS = {
    "train": sentences(40, 0),
    "valid": sentences(20, 1, rare="xyz"),
    "test": [*sentences(20, 2, rare="xyz"), [("Zoe", "B-NEW"), ("in", "I-NEW")]],
}


@pytest.fixture
def make(tmp_path):
    """A task on these splits."""

    def make(splits=SPLITS, fitted=None, **settings):
        write(tmp_path / "corpus", splits)
        task = {"name": "tagging", "path": str(tmp_path / "corpus")} | settings
        model = {"cell": "gru", "hidden_size": 4, "direction": "bidirectional"}
        return build_task(config_from({"task": task, "model": model}, "test"), fitted=fitted)

    return make


def slow_parts(word, suffixes, shape):
    found = [word]
    for size in range(1, suffixes + 1):
        found.append(word[max(0, len(word) - size) :])
    return [*found, shape_of(word)] if shape else found


SHAPES = {
    "Ada": "capital", "NATO": "capitals", "A": "capital", "iPhone": "mixed", "the": "lower", "2020": "none digit",
    "b-c": "lower hyphen", "U.S.": "capitals other", ",": "none other", "3-D": "capital digit hyphen", "Äß": "capital",
}  # fmt: skip


def test_shapes_and_suffixes():
    assert {word: shape_of(word) for word in SHAPES} == SHAPES
    assert parts_of("Ada", 5, shape=True) == ["Ada", "a", "da", "Ada", "Ada", "Ada", "capital"]


@pytest.mark.parametrize(("suffixes", "shape", "min_count"), [(3, True, 2), (0, False, 1), (0, True, 3), (2, False, 2)])
def test_what_is_read_and_asked(make, suffixes, shape, min_count):
    """Each word of each sentence once; its symbols named again are its parts, or <unk> if they are rare in training."""
    task = make(suffixes=suffixes, shape=shape, min_count=min_count)
    counts = [Counter() for _ in range(1 + suffixes + shape)]
    for sentence in SPLITS["train"]:
        for word, _ in sentence:
            for counter, part in zip(counts, slow_parts(word, suffixes, shape), strict=True):
                counter[part] += 1
    names = [(n, token) for n, alphabet in enumerate(task.learnt.alphabets) for token in alphabet]
    assert task.input_size == len(names) == len(set(names))
    assert task.learnt.tags == sorted(
        set(IOB.values()), key=lambda tag: -Counter(t for s in SPLITS["train"] for _, t in s)[tag]
    )
    for split, own in SPLITS.items():
        wanted = []
        for sentence in own:
            read = [slow_parts(word, suffixes, shape) for word, _ in sentence]
            read = [tuple((n, p if counts[n][p] >= min_count else "<unk>") for n, p in enumerate(row)) for row in read]
            wanted.append(
                [(row, tag if tag in IOB.values() else None) for row, (_, tag) in zip(read, sentence, strict=True)]
            )
        if split == "train":
            batches = [task.train_batch(step, 7) for step in range(task.steps_in(1, 7))]
        else:
            batches = [*task.eval_batches(split, 7)]
            assert len(batches) == task.count_eval_batches(split, 7)
        found = []
        for batch in batches:
            assert batch.inputs.dim() == (2 if suffixes + shape == 0 else 3)
            for b, length in enumerate(batch.scored.sum(0).tolist()):
                assert batch.lengths is None or length == batch.lengths[b]
                rows = batch.inputs[:length, b].reshape(length, -1).tolist()
                tags = [[*task.learnt.tags, None][tag] for tag in batch.targets[:length, b].tolist()]
                found.append([*zip([tuple(names[symbol] for symbol in row) for row in rows], tags, strict=True)])
                assert not batch.inputs[length:, b].any()
        assert sorted(map(repr, found)) == sorted(map(repr, wanted))


def slow_figures(pairs, train):
    """The figures of guesses: a list of sentences, each a list of word, gold and guess."""
    known = {}
    for sentence in train:
        for word, tag in sentence:
            known.setdefault(word, set()).add(tag)

    def spans(tags):
        found, start = set(), None
        for t, tag in enumerate([*tags, "O"]):
            before = tags[t - 1] if t else "O"
            if start is not None and not (tag[0] == "I" and tag[1:] == before[1:]):
                found.add((start, t, before[2:]))
                start = None
            if tag != "O" and start is None:
                start = t
        return found

    words = [word for sentence in pairs for word in sentence]
    figures = {}
    for name, chosen in (
        ("accuracy", words),
        ("accuracy_ambiguous", [word for word in words if len(known.get(word[0], ())) > 1]),
        ("accuracy_unknown", [word for word in words if word[0] not in known]),
    ):
        figures[name] = sum(gold == guess for _, gold, guess in chosen) / len(chosen)
    both = [[spans([word[n] for word in sentence]) for n in (1, 2)] for sentence in pairs]
    right, wanted, guessed = (
        sum(map(len, one)) for one in ([a & b for a, b in both], [a for a, _ in both], [b for _, b in both])
    )
    return figures | {"precision": right / guessed, "recall": right / wanted, "f1": 2 * right / (guessed + wanted)}


def guesses(task, split, batch_size):
    """Scores for each word that are mostly right, the same however they are batched, and the figures of them."""
    scores = torch.rand(len(task._types), task.output_size, generator=torch.Generator().manual_seed(0))
    scores[:, :-1] += 2 * torch.nn.functional.one_hot(task._tags.clamp(max=task.output_size - 2), task.output_size - 1)
    scores[::3] = scores.flip(0)[::3]  # a third of the guesses are those for other words
    tally = None
    for batch in task.eval_batches(split, batch_size):
        outputs = scores[batch.marks]
        outputs[~batch.scored] = 99.0
        prediction = SimpleNamespace(outputs=outputs)
        tally = task.measure(prediction, batch) if tally is None else tally.merge(task.measure(prediction, batch))
    return scores, task.summarise(tally.means())


@pytest.mark.parametrize("split", ["valid", "test"])
def test_metrics_are_those_of_plain_loops(make, split):
    task = make()
    scores, figures = guesses(task, split, 7)
    assert figures == guesses(task, split, 1)[1] == guesses(task, split, 100)[1]
    start = 0
    for name in ("train", "valid", "test"):
        if name == split:
            break
        start += sum(map(len, SPLITS[name]))
    pairs = []
    for sentence in SPLITS[split]:
        own = scores[start : start + len(sentence), :-1].argmax(-1).tolist()
        pairs.append([(word, tag, task.learnt.tags[n]) for (word, tag), n in zip(sentence, own, strict=True)])
        start += len(sentence)
    assert figures == pytest.approx(slow_figures(pairs, SPLITS["train"]), abs=1e-12)
    assert 0.1 < figures["f1"] < 0.95
    assert task.metric.name == "f1"


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_baseline_is_the_most_frequent_tag_of_each_word(make, split):
    seen, every = {}, Counter()
    for sentence in SPLITS["train"]:
        for word, tag in sentence:
            seen.setdefault(word, Counter())[tag] += 1
            every[tag] += 1
    order = [tag for tag, _ in sorted(every.items(), key=lambda item: (-item[1], item[0]))]

    def guess(word):
        own = seen.get(word, every)
        return max(order, key=lambda tag: (own[tag], -order.index(tag)))

    pairs = [[(word, tag, guess(word)) for word, tag in sentence] for sentence in SPLITS[split]]
    if split == "train":
        pairs.append([("not there", "O", "O")])
    wanted, task = slow_figures(pairs, SPLITS["train"]), make()
    found = task.baseline(split)
    assert found.pop("f1 of most frequent tag") == found["f1"]
    if split == "train":
        assert "accuracy_unknown" not in found
        wanted = {name: value for name, value in wanted.items() if not name.startswith("accuracy")}
        found = {name: found[name] for name in wanted}
    assert found == pytest.approx(wanted, abs=1e-12)


def test_a_tag_that_training_does_not_have_is_wrong_and_counts(make):
    """The best scores for its class do not help, and the loss of the word is in the mean."""
    task = make()
    (batch,) = [batch for batch in task.eval_batches("test", 100) if (batch.targets == task.output_size - 1).any()]
    outputs = torch.nn.functional.one_hot(batch.targets, task.output_size).float()
    tally = task.measure(SimpleNamespace(outputs=outputs), batch)
    assert tally.counts["accuracy"] - tally.sums["accuracy"] == 2
    assert tally.counts["accuracy"] == sum(map(len, SPLITS["test"]))
    facts = task.facts("test")
    assert (facts["words"], facts["tags_not_in_training"], facts["sentences"]) == (tally.counts["accuracy"], 2, 21)
    (remark,) = task.remarks_on_evaluation("test")[-1:]
    assert remark == "2 words of test have tags that training does not have (B-NEW, I-NEW); they count as wrong"
    assert remark in task.remarks(8)


def test_padding_and_batches_change_no_figure(make):
    task = make()
    config = config_from(
        {
            "task": {"name": "tagging", "path": task.path},
            "model": {"cell": "gru", "hidden_size": 4, "direction": "bidirectional"},
        },
        "test",
    )
    model = build_model(config, task.spec)
    alone, together = (loop.evaluate(model, task, "test", size) for size in (1, 50))
    assert alone == pytest.approx(together, abs=1e-6)


def test_a_held_out_sentence_changes_nothing_of_training(make):
    """Neither words, suffixes, shapes, tags nor batches; the fingerprint of its split alone differs."""
    first = make()
    other = make(SPLITS | {"test": [[("ADA!", "B-OTHER"), ("Adaadada", "O")]], "valid": sentences(20, 9)})
    assert first.learnt == other.learnt
    assert first.spec == other.spec
    for step in range(6):
        ours, others = first.train_batch(step, 7), other.train_batch(step, 7)
        assert torch.equal(ours.inputs, others.inputs)
        assert torch.equal(ours.targets, others.targets)
    assert [first.fingerprints()[s] == other.fingerprints()[s] for s in SPLITS] == [True, False, False]
    assert first.definition != other.definition


def test_what_is_learnt_is_kept(make):
    """On another corpus, words and tags have the numbers of training, and so has the baseline."""
    first = make()
    again = make({"train": SPLITS["test"], "valid": SPLITS["train"], "test": SPLITS["test"]}, fitted=first.fitted)
    assert again.spec == first.spec
    for split, other in (("test", "test"), ("train", "valid")):
        for ours, others in zip(first.eval_batches(split, 5), again.eval_batches(other, 5), strict=True):
            assert torch.equal(ours.inputs, others.inputs)
            assert torch.equal(ours.targets, others.targets)
        assert first.baseline(split) == again.baseline(other)


@pytest.mark.parametrize(
    "change",
    [
        {"tags": []},
        {"tags": ["O", "O"]},
        {"words": {"a": [99]}},
        {"words": {"a": []}},
        {"alphabets": []},
        {"alphabets": [["a"]] * 5},
        {"alphabets": [["<unk>", "a", "a"]] * 5},
        {"words": 3},
        {"more": 1},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(make, change):
    with pytest.raises(DataError, match="use another checkpoint"):
        make(fitted=make().fitted | change)


def test_without_entities_accuracy_decides(make):
    plain = {
        split: [[(word, tag.replace("-", "")) for word, tag in own] for own in part] for split, part in SPLITS.items()
    }
    task = make(plain)
    assert task.metric.name == "accuracy"
    assert "f1" not in task.baseline("valid")
    assert task.baseline("valid")["accuracy of most frequent tag"] == task.baseline("valid")["accuracy"]


def test_a_rule_that_is_as_good_is_named_unless_both_are_perfect(make):
    metric, rule = make().metric, "f1 of most frequent tag"
    assert metric.remark(0.9, {"f1": 0.9, rule: 0.9}) == "f1 0.9 is no better than that of most frequent tag, 0.9"
    assert metric.remark(1.0, {"f1": 1.0, rule: 1.0}) is None


def test_few_words_are_remarked_on(make):
    task = make(SPLITS | {"valid": SPLITS["valid"][:2]})
    assert "with fewer than 100, the figures say little; give a longer corpus" in task.remarks(8)[0]
    assert f"valid has {sum(map(len, SPLITS['valid'][:2]))} words" in task.remarks(8)[0]


def test_settings_that_do_not_fit(make, tmp_path):
    with pytest.raises(ConfigError, match=r"tag_column.*is for CoNLL columns, and task.form is slash; remove one"):
        make(form="slash", tag_column=1)
    with pytest.raises(ConfigError, match="is a folder with its own train, valid and test; remove fractions"):
        make(fractions=[0.8, 0.1, 0.1])
    (tmp_path / "corpus" / "test.conll").unlink()
    with pytest.raises(ConfigError, match=r"lacks test.conll; add what is missing"):
        config_from({"task": {"name": "tagging", "path": str(tmp_path / "corpus")}, "model": {"cell": "gru"}}, "test")
