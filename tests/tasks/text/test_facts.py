"""Facts of a text, against a reader that goes through it character by character."""

import torch

from seqtrain.tasks.text.facts import after_token, text_facts

TEXT = 'one (two [three]) "four\nfive" ) six (a) b\n(seven "eight" nine\n\n"ten" (eleven) "twelve (x'


def read_slowly(text):
    """For each character after the first line end: position, inside quotes, inside brackets."""
    found, position, brackets, quoted, known = {}, 0, 0, False, False
    for t, character in enumerate(text):
        position += 1
        brackets = max(0, brackets + (character in "([{") - (character in ")]}"))
        quoted ^= character == '"'
        if character == "\n":
            position, brackets, quoted, known = 0, 0, False, True
        if known:
            found[t] = (position, quoted, brackets > 0)
    return found


def numbers(text, vocabulary):
    return torch.tensor([vocabulary.index(character) for character in text])


def test_characters():
    vocabulary = sorted(set(TEXT))
    other = TEXT[30:] + TEXT[:30]
    inputs = torch.stack([numbers(TEXT, vocabulary), numbers(other, vocabulary)], 1)
    facts = text_facts(inputs, vocabulary)
    assert [fact.name for fact in facts] == ["position in the line", "inside quotes", "inside brackets"]
    for n, text in enumerate((TEXT, other)):
        wanted = read_slowly(text)
        for place, fact in enumerate(facts):
            known = fact.known[:, n].nonzero()[:, 0].tolist()
            assert known == [*wanted]
            assert [fact.values[t, n].item() for t in known] == [values[place] for values in wanted.values()]


def test_words_of_a_corpus():
    words = ["<eos>", "he", "said", "``", "yes", "(", "no", ")", "''", "and", "left", "<eos>", "“", "go", "”", "<eos>"]
    vocabulary = list(dict.fromkeys(words))
    inputs = torch.tensor([vocabulary.index(word) for word in words])[:, None]
    position, quotes, brackets = text_facts(inputs, vocabulary)
    assert position.values[:, 0].tolist() == [*range(12 - 1), *range(4), 0]
    assert [words[t] for t in range(len(words)) if quotes.values[t, 0]] == ["``", "yes", "(", "no", ")", "“", "go"]
    assert [words[t] for t in range(len(words)) if brackets.values[t, 0]] == ["(", "no"]


def test_a_text_without_line_ends_has_no_such_facts():
    inputs = torch.tensor([[0], [1], [0]])
    assert not any(bool(fact.known.any()) for fact in text_facts(inputs, ["a", "("]))


def test_after_a_token():
    fact = after_token(torch.tensor([[0, 1], [2, 0]]), ["a", "b", "a a"], "a")
    assert fact.values.tolist() == [[1, 0], [0, 1]]
    assert (fact.name, bool(fact.known.all())) == ("after 'a'", True)
