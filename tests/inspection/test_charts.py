"""The charts of an inspection, number by number, and what the sentences say about them."""

from dataclasses import replace

import pytest
import torch

import seqtrain as package
from seqtrain.inspection.charts import BESIDE_GATES, charts
from seqtrain.inspection.context import Influence
from seqtrain.inspection.gradient import Curve
from seqtrain.inspection.page import _texts
from seqtrain.inspection.pictures import _surprise
from seqtrain.inspection.watch import Place
from seqtrain.inspection.words import sentences

SMALL = ["task.valid_size=60", "task.test_size=60", "model.hidden_size=5"]


@pytest.fixture(scope="module")
def found():
    return package.inspect("stories", [*SMALL, "task.distance=12", "model.cell={name: lstm, chrono: 20}"], sequences=20)


def chart(found, name):
    return next(one for own in charts([found]).values() for one in own if one.name == name)


def test_saturation_and_half_lives(found):
    (gates,) = found.gates
    (series,) = chart(found, "saturation-f").series
    assert series.x.tolist() == pytest.approx(gates.activations["f"].low.tolist())
    assert series.y.tolist() == pytest.approx(gates.activations["f"].high.tolist())
    assert series.x.tolist() != series.y.tolist()
    (series,) = chart(found, "half-life").series
    assert series.y.tolist() == sorted(gates.half_life.tolist())
    assert series.x.tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_gradients(found):
    place = Place(1, "forward")
    norms = torch.tensor([[1.0, 3.0, 2.0], [0.1, 0.5, 0.3], [0.01, float("nan"), 0.03]], dtype=torch.double)
    curves = [Curve(place, "hidden", norms)]
    before = [Curve(place, "hidden", 2 * norms)]
    one, dashed = chart(replace(found, gradients=curves, gradients_before=before), "gradient").series
    assert one.x.tolist() == [0, 1, 2]
    assert one.y.tolist() == pytest.approx([2.0, 0.3, 0.02])  # a sequence that is too short does not count
    assert one.low.tolist() == pytest.approx([1.2, 0.14, 0.012])
    assert one.high.tolist() == pytest.approx([2.8, 0.46, 0.028])
    assert (dashed.style, dashed.low) == ("dashed", None)
    assert dashed.y.tolist() == pytest.approx([4.0, 0.6, 0.04])


def test_context_and_influence(found):
    own = chart(found, "context")
    assert own.series[0].x.tolist() == found.context.sizes.tolist()
    assert own.series[0].y.tolist() == pytest.approx(found.context.losses.mean(1).tolist())
    assert own.marks == [(found.context.steps_back() + 1, 0)]
    own = chart(found, "influence").series[0]
    means = found.influence.mean()
    assert own.x.tolist() == found.influence.distances[~means.isnan()].tolist()
    assert own.y.tolist() == pytest.approx(means[~means.isnan()].tolist())
    assert bool((means[~means.isnan()] >= 0).all())
    low, high = (side[~means.isnan()] for side in found.influence.interval())
    assert (own.low.tolist(), own.high.tolist()) == (pytest.approx(low.tolist()), pytest.approx(high.tolist()))


def test_what_is_kept(found):
    kept = found.kept[2]
    state, gate = kept.best(state=True), kept.best(state=False)
    assert state.one.learnt == max(each.one.learnt for each in kept.readings if each.is_state)
    assert gate.one.learnt == max(each.one.learnt for each in kept.readings if not each.is_state)
    own = chart(found, "kept-number")
    one, every, of_gate = own.series
    for series, scores in ((one, state.one.by_step), (of_gate, gate.one.by_step)):
        known = [(k, score) for k, score in zip(kept.steps, scores, strict=True) if score == score]
        assert series.x.tolist() == [step for step, _ in known]
        assert series.y.tolist() == pytest.approx([score for _, score in known])
    wanted = [probe.score for probe in state.every_at if probe is not None]
    assert every.y.tolist() == pytest.approx(wanted)
    assert own.level == (0.5, "chance")
    assert f"unit {state.one.unit}" in one.label
    assert kept.is_constant
    assert kept.sequences < 60  # two kinds of three have no subject in the plural


def test_a_unit_over_a_sequence(found):
    kept = found.kept[2]
    example = kept.examples[0]
    big = {name: values * (-9 if name == "cell" else 1) for name, values in example.unit.items()}
    changed = replace(found, kept=[replace(kept, examples=[replace(example, unit=big)])])
    own = chart(changed, "kept-number-example-1")
    assert own.ticks == example.inputs
    assert own.marks == [(example.start, 7), (example.end, 7)]
    series = next(one for one in own.series if one.label.startswith("cell"))
    most = float(big["cell"].abs().max())
    assert (most > BESIDE_GATES) == ("/" in series.label)
    scale = most if most > BESIDE_GATES else 1
    assert series.y.tolist() == pytest.approx((big["cell"] / scale).tolist(), abs=1e-6)
    assert [one.style for one in own.series] == ["line"] + ["dashed"] * (len(own.series) - 1)


def test_sentences(found):
    place = Place(1, "forward")

    def said(factor, steps=200):
        norms = torch.tensor([[factor**k] * 2 for k in range(steps)], dtype=torch.double)
        changed = replace(found, gradients=[Curve(place, "hidden", norms)])
        return next(sentence for sentence in sentences(changed) if "the gradient" in sentence)

    assert "the gradient vanishes: 1 % of it is left 44 steps back (a factor of 0.9 a step)" in said(0.9)
    assert said(1.02, steps=20).endswith("the gradient grows by a factor of 1.02 a step back")
    assert "it explodes" in said(1.05)
    assert "the gradient reaches the start of the sequences" in said(0.999)
    backward = package.inspect(
        "lookaround", [*SMALL[:2], "model.hidden_size=4", "model.direction=bidirectional"], sequences=10
    )
    assert any(
        "the input" in sentence and "changes the predictions most" in sentence for sentence in sentences(backward)
    )


def test_surprisal_stands_under_its_word(tmp_path):
    """In the JSON, in the table, and in the text of the page: every traced sequence, and nothing for the first word."""
    (tmp_path / "a.txt").write_text("a b c " * 1500 + "\n")
    settings = [f"task.path={tmp_path / 'a.txt'}", "model.hidden_size=4", "model.dropout=0"]
    found = package.inspect("words", settings, sequences=3)
    bits, texts = found.traces.surprisal, found.as_json()["text"]
    assert len(texts) == 3
    for n, text in enumerate(texts):
        assert [one["token"] for one in text] == found.traces.inputs[n]
        assert text[0]["bits"] is None
        assert [one["bits"] for one in text[1:]] == bits[: len(text) - 1, n].tolist()
    shown = [*_texts([found])]
    assert [[word["text"] for word in text["words"]] for text in shown] == found.traces.inputs
    for word, one in zip(shown[1]["words"][1:], texts[1][1:], strict=True):
        assert word["bits"] == one["bits"]
        assert word["share"] == pytest.approx(min(1, one["bits"] / 12))
    header, *rows = _surprise([found])
    assert header == ["model", "sequence", "token", "bits"]
    assert [row[2:] for row in rows if row[1] == 1][1:] == [[one["token"], one["bits"]] for one in texts[1][1:]]


def test_the_interval_of_the_influence():
    """The mean of 400 normal numbers has a standard error of 1/20; a missing one does not count."""
    changes = torch.randn(2, 400, generator=torch.Generator().manual_seed(1)) + 5
    changes[1, :100] = torch.nan
    low, high = Influence(torch.arange(2), changes).interval()
    for row, size in ((0, 400), (1, 300)):
        assert float(high[row] - low[row]) == pytest.approx(2 * 1.96 / size**0.5, rel=0.15)
        assert low[row] < changes[row].nanmean() < high[row]
