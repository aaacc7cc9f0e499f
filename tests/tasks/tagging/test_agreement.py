"""The planted corpus: the same bytes, what its tags say, and the bound of a forward reader by enumeration."""

import math
import re
from collections import defaultdict
from fractions import Fraction

from seqtrain.system.shipped import config_paths, folder
from seqtrain.tasks.tagging import agreement

SHIPPED = folder("data") / "agreement.txt"
SENTENCES = [[token.split("/") for token in line.split()] for line in SHIPPED.read_text("utf-8").splitlines()]


def test_the_corpus_is_written_again_byte_for_byte(tmp_path):
    agreement.write_corpus(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == SHIPPED.read_bytes()
    assert SHIPPED.stat().st_size < 300_000


def noun_phrases(words):
    """The places of the words of each noun phrase, by its article, and where its number shows first."""
    for start, word in enumerate(words):
        if word in ("the", "this", "these"):
            stop = next(n for n in range(start + 1, len(words)) if words[n] not in agreement.ADJECTIVES) + 1
            yield range(start, stop), word


def test_tags_follow_from_the_whole_sentence():
    """The subject's from the verb, 2 to 12 words later; another's from its noun or its first word."""
    distances, others = set(), 0
    for sentence in SENTENCES:
        words, tags = zip(*sentence, strict=True)
        (verb,) = (n for n, word in enumerate(words) if word in ("is", "are", "was", "were"))
        subject, *rest = noun_phrases(words)
        distances.add(verb - subject[0].stop)
        is_plural = [words[verb] in ("are", "were")]
        is_plural += [article == "these" or words[own[-1]].endswith("s") for own, article in rest]
        for (own, _), plural in zip([subject, *rest], is_plural, strict=True):
            assert {tags[n][-2:] for n in own} == {".p" if plural else ".s"}
        assert tags[verb][-2:] == tags[verb + 1][-2:] == (".p" if is_plural[0] else ".s")
        others += any(plural != is_plural[0] for plural in is_plural)
    assert distances == {*range(2, 13)}
    assert others > 0.4 * len(SENTENCES)


def all_sentences(monkeypatch):
    """Every sentence that the writer may write, with its probability: each choice is tried."""
    script, made = [], []

    def below(self, count):
        if len(made) == len(script):
            script.append(0)
        made.append(count)
        return script[len(made) - 1]

    monkeypatch.setattr(agreement._Writer, "below", below)
    while True:
        made.clear()
        sentence = agreement._Writer().sentence()
        yield [token.split("/") for token in sentence.split()], Fraction(1, math.prod(made))
        while script and script[-1] == made[len(script) - 1] - 1:
            script.pop()
        if not script:
            return
        script[-1] += 1


def test_the_bound_is_that_of_the_best_reader_of_all_beginnings(monkeypatch):
    """With one word of each kind and at most 5 words between: for each beginning, the tag that is most likely then."""
    for name in ("ADJECTIVES", "SAME", "SINGULAR", "PREPOSITIONS", "TIMES", "ADVERBS", "VERBS"):
        monkeypatch.setattr(agreement, name, getattr(agreement, name)[:1])
    monkeypatch.setattr(agreement, "LONGEST", 5)
    seen = defaultdict(lambda: defaultdict(Fraction))
    total = Fraction(0)
    for sentence, probability in all_sentences(monkeypatch):
        total += probability
        for n, (_, tag) in enumerate(sentence):
            seen[tuple(word for word, _ in sentence[: n + 1])][tag] += probability
    assert total == 1
    for is_varied in (False, True):
        own = [tags for (*_, word), tags in seen.items() if not is_varied or word in ("the", "old", "sheep")]
        best = sum(max(tags.values()) for tags in own) / sum(sum(tags.values()) for tags in own)
        assert agreement.share_of_forward_reader(varied=is_varied) == best


def test_the_shipped_corpus_has_the_expected_words():
    """Within four standard errors of the mean; and the figure in the config is the bound."""
    mean, counts = agreement.expected(), []
    for sentence in SENTENCES:
        words = [word for word, _ in sentence]
        subject, *rest = noun_phrases(words)
        unclear = len(subject[0]) + sum(len(own) - 1 for own, article in rest if article == "the")
        varied = sum(word in ("the", *agreement.ADJECTIVES, *agreement.SAME) for word in words)
        counts.append((len(words), unclear, varied))
    for wanted, own in zip(mean, zip(*counts, strict=True), strict=True):
        found = sum(own) / len(own)
        error = math.sqrt(sum((one - found) ** 2 for one in own)) / len(own)
        assert abs(found - wanted) < 4 * error
    written = re.search(r"([\d.]+) % at most", config_paths()["agreement"].read_text("utf-8"))[1]
    assert f"{100 * float(agreement.share_of_forward_reader()):.2f}" == written
    assert agreement.share_of_forward_reader(varied=True) < Fraction(7, 10)
