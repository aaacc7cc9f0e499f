"""The verb and the function: which model is inspected, what is read, and that the figures are those of the parts."""

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import SMALL, SMALL_SETS
from inspected import made

import seqtrain as package
from seqtrain.inspection import pictures, watch
from seqtrain.inspection import subject as module_of_subject
from seqtrain.inspection import traces as module_of_traces
from seqtrain.inspection.charts import charts, file_names
from seqtrain.inspection.defaults import TRACED
from seqtrain.inspection.gates import gates
from seqtrain.inspection.kept import what_is_kept
from seqtrain.inspection.subject import sequences_for_probes, sequences_of, subject
from seqtrain.inspection.traces import traces
from seqtrain.models import SequenceModel
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.system.errors import CheckpointError, ConfigError

QUICK = (*SMALL, *SMALL_SETS, "threads=1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run whose best checkpoint is not its last one, and another cell."""
    folder = tmp_path_factory.mktemp("runs")
    for cell in ("lstm", "rnn"):
        package.train("quickstart", [*QUICK, f"model.cell={cell}", "optimizer.lr=0.5"], out=folder / cell)
    return folder


def test_the_figures_are_those_of_the_parts(runs):
    found = package.inspect(runs / "lstm", sequences=12)
    one = subject(runs / "lstm")
    (wanted,) = gates(one.model, [sequences_of(one.task, "test", 12)])
    torch.testing.assert_close(found.gates[0].activations["f"].mean, wanted.activations["f"].mean)
    assert [curve.field for curve in found.gradients] == ["hidden", "cell"]
    assert found.gradients[0].norms.shape == (100, 12)
    assert found.context.sizes[-1] == 100
    assert (found.sequences, found.steps, found.split) == (12, 100, "test")
    as_json = json.loads(json.dumps(found.as_json()))
    assert as_json["gates"][0]["activations"]["f"]["mean"] == wanted.activations["f"].mean.tolist()
    assert as_json["context"]["steps_back"] == found.context.steps_back()


def test_which_weights(runs):
    best, last, init = (package.inspect(runs / "lstm", sequences=4, at=at) for at in ("best", "last", "init"))
    assert (last.step, init.step) == (4, 0)
    means = [each.gates[0].activations["f"].mean for each in (best, last, init)]
    assert not torch.equal(means[0], means[2])
    assert not torch.equal(means[1], means[2])
    untrained = package.inspect("quickstart", [*QUICK, "model.cell=lstm"], sequences=4)
    assert torch.equal(untrained.gates[0].activations["f"].mean, means[2])
    assert untrained.at == "init"


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("lookaround", ("model.direction=bidirectional", "model.depth=2", "model.cell=gru")),
        ("temporal-order", ("model.direction=backward", "model.cell=peephole", "task.length=20")),
        ("brackets", ("model.cell={name: coupled, peepholes: true}",)),
        ("quickstart", ("model.cell={name: odyssey, ablation: full_gate_recurrence}",)),
        ("quickstart", ("model.cell={name: gru, reset: before}",)),
        ("stories", ()),
    ],
)
def test_every_kind_of_model(config, options):
    found = package.inspect(config, [*SMALL_SETS, "model.hidden_size=4", *options], sequences=3)
    directions = {"bidirectional": 2}.get(next((o.partition("=")[2] for o in options if "direction" in o), ""), 1)
    assert len(found.gates) == directions * (2 if "model.depth=2" in options else 1)
    assert (found.context is None) == any("direction" in option for option in options)
    assert len(found.influence.distances) == len(found.influence.changes)


@pytest.mark.parametrize("cell", ["Unusual", "TwoBlocks", "WeightsInAModule", "NumberAsP"])
def test_cells_as_a_user_may_write_them(cell, tmp_path, monkeypatch):
    """More than 64 steps, so that the gradient goes through several windows."""
    monkeypatch.chdir(tmp_path)  # in the checkout, all of seqtrain would be code of the user's own
    settings = [*SMALL_SETS, f"model.cell=users_cells:{cell}", "model.hidden_size=3"]
    found = package.inspect("quickstart", [*settings, "task.length=70"], sequences=3)
    (gates,) = found.gates
    assert (gates.spectral_radius, gates.peepholes, gates.keeps, gates.half_life) == (None, {}, None, None)
    fields = [curve.field for curve in found.gradients]
    assert fields == (["hidden", "total", "matrix"] if cell == "Unusual" else ["hidden"])
    assert all(float(curve.mean()[60]) > 0 for curve in found.gradients)


def test_a_text(text_folder):
    found = package.inspect(
        "words", [f"task.path={text_folder}", "model.hidden_size=4", "model.dropout=0"], sequences=3
    )
    assert found.sequences == 3
    assert 1 < found.steps <= 256


def test_what_people_read(seqtrain, runs, monkeypatch):
    monkeypatch.setattr(pictures, "write_pictures", lambda *_: [])  # `test_the_files` draws them
    shown = seqtrain("inspect", runs / "lstm", runs / "rnn", "--sequences", 4, "--out", "seen")
    assert shown.code == 0
    for words in (
        ": layer 1, forward",
        "half-life",
        "state: h < -0.9, h > 0.9",
        "a spectral radius of",
        "steps back (95 % interval",
        "the gradient ",
    ):
        assert words in shown.out
    for words in ("sum so far", "all units", "p "):
        assert words in shown.out
    assert seqtrain("inspect", runs / "lstm", "--sequences", 4, "--json", "--quiet").json["runs"][0]["cell"] == "lstm"


def test_the_files(seqtrain, runs, monkeypatch):
    """Pictures and tables of all charts; those of an earlier inspection go, the user's own stay."""
    folder = Path("seen")
    assert seqtrain("inspect", runs / "lstm", runs / "rnn", "--sequences", 4, "--out", folder, "-q").code == 0
    (folder / "mine.png").write_text("mine")
    listed = json.loads((folder / "inspect.json").read_text())
    (folder / "inspect.json").write_text(json.dumps(listed | {"files": [*listed["files"], "mine.png"]}))
    both = {path.name for path in folder.iterdir()}
    assert {"inspect.html", "inspect.json", "gradient.png", "gradient.csv", "units-lstm.png", "units-rnn.png"} < both
    assert {"kept-sum-so-far.png", "kept-sum-so-far-lstm-example-1.csv", "saturation-f.png", "influence.csv"} < both
    assert {path.read_bytes()[:4] for path in folder.glob("*.png")} == {b"\x89PNG", b"mine"}
    with (folder / "context.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    found = package.inspect(runs / "lstm", sequences=4)
    own = [row for row in rows if row["series"].endswith("lstm")]
    assert [float(row["inputs"]) for row in own] == found.context.sizes.tolist()
    losses = [float(row["loss of the last prediction"]) for row in own]
    assert losses == pytest.approx(found.context.losses.mean(1).tolist())
    monkeypatch.setattr(pictures, "encoded", lambda _, form, __: form.encode())  # drawn above
    again = seqtrain("inspect", runs / "lstm", "--sequences", 4, "--out", folder, "--pictures", "svg", "-q")
    assert again.code == 0
    one = {path.name for path in folder.iterdir()}
    assert one > {"units.svg", "gradient.svg", "gradient.csv", "mine.png"}
    assert {name for name in one if name.endswith(".png")} == {"mine.png"}
    assert (folder / "units.svg").read_text() == "svg"
    assert {*json.loads((folder / "inspect.json").read_text())["files"]} < one


@pytest.mark.parametrize("held", ["mine.txt", "inspect.html", "config.yaml", "inspect.json"])
def test_a_folder_of_something_else_stays_as_it_is(held, seqtrain, runs):
    folder = Path("other")
    folder.mkdir()
    (folder / held).write_text('{"files": 3}')
    refused = seqtrain("inspect", runs / "lstm", "--out", folder)
    assert (refused.code, "holds files that inspect did not write" in refused.err) == (2, True)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(held, '{"files": 3}')]
    assert seqtrain("inspect", runs / "lstm", "--out", "other/mine.txt/x" if held == "mine.txt" else "/proc").code == 2


def test_runs_have_pictures_of_their_own():
    def ends(*names):
        return file_names([SimpleNamespace(name=name) for name in names])

    assert ends("runs/a", "runs/b") == ["-a", "-b"]
    assert ends("runs/3", "runs/a", "q/a") == ["-1", "-2", "-3"]
    assert ends("runs/A", "runs/a") == ["-1", "-2"]


def test_a_run_without_a_checkpoint_is_not_shown_untrained_unasked(runs, tmp_path):
    shutil.copytree(runs / "lstm", tmp_path / "run", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(CheckpointError, match="has no checkpoint; --at init shows it untrained"):
        package.inspect(tmp_path / "run", sequences=3)
    assert package.inspect(tmp_path / "run", sequences=3, at="init").step == 0


def test_a_run_whose_path_looks_like_a_setting(seqtrain, runs, monkeypatch):
    monkeypatch.setattr(pictures, "write_pictures", lambda *_: [])
    shutil.copytree(runs / "lstm", "x=1")
    assert seqtrain("inspect", "x=1", "--sequences", 3, "--json", "-q").json["runs"][0]["name"] == "x=1"


def test_the_gradient_before_training_is_that_of_the_untrained_model(runs):
    trained, untrained = (package.inspect(runs / "lstm", sequences=4, at=at) for at in ("last", "init"))
    torch.testing.assert_close(trained.gradients_before[0].norms, untrained.gradients[0].norms)
    assert not torch.equal(trained.gradients[0].norms, untrained.gradients[0].norms)
    assert untrained.gradients_before == []


def test_a_prompt(seqtrain, text_folder):
    text = (text_folder / "train.txt").read_text().split()[:4]
    settings = [f"task.path={text_folder}", "model.hidden_size=4", "model.dropout=0"]
    found = package.inspect("words", settings, prompt=" ".join(text))
    assert (found.steps, found.sequences, found.split) == (4, 1, None)
    assert found.traces.inputs == [text]
    assert (found.context, found.influence, found.kept) == (None, None, [])
    one = subject("words", settings)
    numbers = torch.tensor([[one.task.vocabulary.index(word)] for word in text])
    nats = -torch.log_softmax(one.model.predict(numbers)[0].outputs, -1)[[0, 1, 2], 0, numbers[1:, 0]]
    torch.testing.assert_close(found.traces.surprisal[:3, 0].float(), nats.detach() / math.log(2))
    assert bool(found.traces.surprisal[3].isnan())
    assert found.gradients[0].norms.shape == (3, 1)  # back from the last token that has a target
    shown = seqtrain("inspect", "words", *settings, "--prompt", " ".join(text), "--out", "seen")
    assert (shown.code, "a prompt of 4 tokens" in shown.out) == (0, True)


def test_a_prompt_of_stories(seqtrain):
    """Whose own sequences say which word needs a memory, which a prompt does not."""
    shown = seqtrain("inspect", "stories", "model.hidden_size=4", "--prompt", "the keys ( the old", "--out", "seen")
    assert (shown.code, "a prompt of 5 tokens" in shown.out) == (0, True)


def test_units_that_follow_a_token(text_folder):
    settings = [f"task.path={text_folder}", "model.hidden_size=4", "model.dropout=0"]
    one = subject("words", settings)
    counts = dict(zip(one.task.vocabulary, one.task.counts, strict=True))
    frequent = max((word for word in counts if word != "<eos>"), key=counts.get)
    default, given = package.inspect("words", settings), package.inspect("words", settings, after=["<eos>", frequent])
    assert [kept.fact for kept in default.kept if kept.fact.startswith("after")] == [f"after {frequent!r}"]
    assert [kept.fact for kept in given.kept][-2:] == ["after '<eos>'", f"after {frequent!r}"]


def test_the_position_in_the_line_is_read_from_a_cell_that_counts(tmp_path):
    """An LSTM whose first unit adds one at each token and is emptied at the end of a line."""
    lines = [" ".join(["a"] * (2 + n * 7 % 11)) for n in range(3000)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    settings = [f"task.path={tmp_path / 'a.txt'}", "model.hidden_size=3", "model.embedding_size=2", "model.dropout=0"]
    one = subject("words", [*settings, "task.fractions=[0.5,0.1,0.4]"])
    cell = one.model.stack.cells()[0][0]
    with torch.no_grad():
        weights = one.model.encoder.weight
        weights[one.task.vocabulary.index("a")] = torch.tensor([1.0, 0.0])
        weights[one.task.vocabulary.index("<eos>")] = torch.tensor([0.0, 1.0])
        for name, (word, end) in {"i": (20, 20), "f": (20, -20), "g": (0.1, -20), "o": (20, 20)}.items():
            cell.block(cell.w_x, name)[1] = torch.tensor([float(word), float(end)])
            cell.block(cell.w_h, name)[1] = 0
            cell.block(cell.b, name)[1] = 0
    many = sequences_for_probes(one, "test", 20)
    (position, *_) = what_is_kept(one.model, one.task, many, one.task.hidden_facts)
    best = position.best(state=True)
    assert (position.fact, best.name, best.one.unit) == ("position in the line", "cell", 1)
    assert best.one.score > 0.99
    assert best.one.score > 1.5 * float(best.one.by_unit[[0, 2]].max())


def test_the_last_weights_are_those_of_the_last_checkpoint(runs, tmp_path):
    shutil.copytree(runs / "lstm", tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run/last.safetensors")
    checkpoint.weights["stack.layers.0.0.b"].zero_()
    save_checkpoint(tmp_path / "run/last.safetensors", checkpoint)
    last, best = (package.inspect(tmp_path / "run", sequences=3, at=at) for at in ("last", "best"))
    alone = package.inspect(tmp_path / "run/last.safetensors", sequences=3)
    means = [each.gates[0].activations["f"].mean for each in (last, alone, best)]
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[0], means[2])


def test_traces_are_zero_on_padding():
    model, task = made({"name": "embedded_reber"}, cell="gru")
    batch = next(task.eval_batches("valid", 5))
    kept = traces(model, task, batch)
    for values in next(iter(kept.activations.values())).values():
        for n, length in enumerate(batch.lengths.tolist()):
            assert bool((values[length:, n] == 0).all())
            assert bool((values[:length, n] != 0).any())


def test_the_split_is_the_one_that_is_asked_for(runs):
    test, valid = (package.inspect(runs / "lstm", sequences=4, split=split) for split in ("test", "valid"))
    assert not torch.equal(test.traces.activations[test.gates[0].place]["f"],
                           valid.traces.activations[valid.gates[0].place]["f"])  # fmt: skip


def test_weights_that_are_not_finite_are_refused(runs, tmp_path):
    checkpoint = load_checkpoint(runs / "rnn/best.safetensors")
    checkpoint.weights["stack.layers.0.0.w_x"][0, 0] = torch.nan
    save_checkpoint(tmp_path / "nan.safetensors", checkpoint)
    with pytest.raises(CheckpointError, match=r"weights that are not finite \(stack\.layers\.0\.0\.w_x\)"):
        package.inspect(tmp_path / "nan.safetensors")


def test_what_cannot_be_inspected(seqtrain, runs):
    for arguments, wanted in [
        ((runs / "lstm", "--at", "first"), "--at is 'first'; choose one of init, best, last"),
        ((runs / "lstm", "--split", "train"), "has no fixed training set"),
        ((runs / "lstm", "--sequences", 1), "--sequences is 1; it must be 2 or more"),
        ((runs / "lstm", "model.hidden_size=3"), "belongs to the weights"),
        (("nothing",), "nothing: no such file"),
        (("train.steps=3",), "got only settings"),
        ((runs / "lstm", "--prompt", "a b"), "--prompt is a text, but task adding has none"),
        ((runs / "lstm", "--after", "a"), "--after is a token of a text, but task adding has none"),
        ((runs / "lstm", "--prompt", "a b", "--split", "test"), "leave out --split, --sequences and --after"),
        (("words", "--after", "xyzzy"), "--after: not in the vocabulary: 'xyzzy'"),
        (("words", "--prompt", "the"), "--prompt has 1 token; give at least 2"),
    ]:
        refused = seqtrain("inspect", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err
    with pytest.raises(ConfigError):
        package.inspect(Path("nothing"))


def test_long_sequences_are_read_in_windows(monkeypatch):
    """No pass with gradients or observed steps holds more than a window, except the traces of a few sequences."""
    monkeypatch.setattr(watch, "TOGETHER", 400)
    passes = []
    predict = SequenceModel.predict

    def recorded(self, inputs, *rest, **named):
        passes.append(tuple(inputs.shape[:2]))
        return predict(self, inputs, *rest, **named)

    monkeypatch.setattr(SequenceModel, "predict", recorded)
    settings = ["task.length=300", "model.hidden_size=3", "task.valid_size=8", "task.test_size=8"]
    found = package.inspect("quickstart", settings, sequences=8)
    assert found.steps == 300
    assert max(T for T, B in passes if B > TRACED) == 64  # those of the gradient; the others have 400 / 8 = 50
    assert {T for T, B in passes if B <= TRACED} <= {300}


def test_more_sequences_of_a_text_are_not_shorter_ones(tmp_path):
    (tmp_path / "a.txt").write_text("a b c d e f g\n" * 3000)
    settings = [
        f"task.path={tmp_path / 'a.txt'}",
        "task.fractions=[0.1,0.1,0.8]",
        "model.hidden_size=2",
        "model.dropout=0",
    ]
    one = subject("words", settings)
    tokens = len(one.task.tokens["test"])
    for count, wanted in ((5, 5), (40, 40), (10**6, tokens // 256)):
        batch = sequences_of(one.task, "test", count)
        assert (len(batch.inputs), batch.size) == (256, pytest.approx(wanted, abs=1))


def test_which_weights_of_a_file_and_of_a_config(runs):
    named = {name: package.inspect(runs / "lstm" / f"{name}.safetensors", sequences=3).at for name in ("best", "last")}
    assert named == {"best": "best", "last": "last"}
    for target, at in [(runs / "lstm/best.safetensors", "last"), ("quickstart", "last"), ("quickstart", "best")]:
        with pytest.raises(ConfigError, match="leave --at out, or name a run directory"):
            package.inspect(target, at=at)


def test_facts_with_like_names_have_charts_of_their_own(tmp_path):
    (tmp_path / "a.txt").write_text("a A , . b\n" * 300)
    settings = [f"task.path={tmp_path / 'a.txt'}", "model.hidden_size=2", "model.dropout=0"]
    found = package.inspect("words", settings, after=["a", "A", ",", "."])
    names = [chart.name for own in charts([found]).values() for chart in own]
    assert len(names) == len(set(names))
    titles = [chart.title for chart in charts([found])["kept"]]
    assert {f"Fact: after {token!r}" for token in "aA,."} <= set(titles)


def test_chance_is_drawn_only_where_it_is_the_same_for_all(tmp_path):
    sizes = ["task.delay=1", "model.hidden_size=2", "task.valid_size=60", "task.test_size=60"]
    two, four = (package.inspect("recall", [*sizes, f"task.values={n}"], sequences=5) for n in (2, 4))
    levels = {name: charts(found)["kept"][0].level for name, found in {"two": [two], "both": [two, four]}.items()}
    assert levels == {"two": (0.5, "chance"), "both": None}


def test_sentences_of_their_own_are_not_the_shortest_ones(tmp_path):
    (tmp_path / "a.txt").write_text("".join("a " * (1 + n % 30) + "\n" for n in range(900)))
    settings = [
        f"task.path={tmp_path / 'a.txt'}",
        "task.sentences=independent",
        "model.hidden_size=2",
        "model.dropout=0",
    ]
    one = subject("words", settings)
    batch = sequences_of(one.task, "test", 20)
    assert batch.size == 20
    assert 10 < float(batch.lengths.double().mean()) < 22
    found = package.inspect("words", settings, sequences=20)
    assert found.steps > 20


def test_the_same_run_twice_is_told_apart(seqtrain, runs, monkeypatch):
    monkeypatch.setattr(pictures, "write_pictures", lambda *_: [])
    run = runs / "lstm"
    shown = seqtrain("inspect", run, run / "last.safetensors", run, "--sequences", 4, "--json").json["runs"]
    assert [one["name"] for one in shown] == [f"{run} (1)", str(run / "last.safetensors"), f"{run} (3)"]


def test_many_facts_are_cut(tmp_path):
    settings = [
        "task.pairs=12",
        "task.keys=12",
        "task.delay=1",
        "model.hidden_size=2",
        "task.valid_size=60",
        "task.test_size=60",
    ]
    found = package.inspect("recall", settings, sequences=5)
    assert [kept.fact for kept in found.kept] == [f"value of pair {n}" for n in range(1, 9)]


def test_which_predictions_are_judged(tmp_path):
    """Of stories the marked word, not the last one; of a text more parts than are traced."""
    small = ["task.valid_size=40", "task.test_size=40", "task.distance=12", "model.hidden_size=3"]
    stories = package.inspect("stories", small, sequences=20)
    assert int(stories.context.sizes[-1]) <= stories.steps - 1
    assert len(stories.gradients[0].norms) == int(stories.context.sizes[-1])
    (tmp_path / "a.txt").write_text("a b c d e f g\n" * 3000)
    settings = [
        f"task.path={tmp_path / 'a.txt'}",
        "task.fractions=[0.1,0.1,0.8]",
        "model.hidden_size=2",
        "model.dropout=0",
    ]
    text = package.inspect("words", settings, sequences=5)
    assert (text.sequences, text.context.losses.shape[1]) == (5, 24_000 * 8 // 10 // 256)


def test_limits_of_what_is_kept_in_memory(monkeypatch):
    monkeypatch.setattr(module_of_traces, "STEPS", 7)
    monkeypatch.setattr(module_of_subject, "MOST_STEPS", 300)
    one = subject("quickstart", ["task.length=20", "model.hidden_size=3", "task.valid_size=60", "task.test_size=60"])
    assert sequences_for_probes(one, "test", 4).size == 15
    assert sequences_for_probes(one, "test", 40).size == 40
    batch = sequences_of(one.task, "test", 4)
    found = traces(one.model, one.task, batch)
    assert {values.shape[0] for values in next(iter(found.activations.values())).values()} == {7}
    assert [len(words) for words in found.inputs] == [7] * 4


def test_a_replaced_input_is_that_of_another_sequence():
    """With two sequences that differ everywhere, every replacement changes an untrained model's loss."""
    settings = ["task.length=6", "model.hidden_size=4", "task.valid_size=2", "task.test_size=2"]
    found = package.inspect("quickstart", settings, sequences=2)
    assert bool((found.influence.changes > 0).all())


def test_the_words_of_tagged_sentences_are_shown_also_those_read_as_unk(tmp_path):
    """The sentences are drawn from all, not the shortest ones."""
    sentences = [[f"rare{n}", *["the"] * (n % 7), "end"] for n in range(100)]
    (tmp_path / "a.conll").write_text("\n\n".join("\n".join(f"{word} X" for word in one) for one in sentences))
    settings = (f"task.path={tmp_path / 'a.conll'}", "task.fractions=[0.4,0.1,0.5]", "model.hidden_size=3")
    one = subject("agreement", settings, quiet=True)
    batch = sequences_of(one.task, "test", 20)
    found = traces(one.model, one.task, batch)
    assert all(words in sentences[50:] for words in found.inputs)
    assert len({tuple(words) for words in found.inputs}) == 20
    assert {len(words) for words in found.inputs} == {*range(2, 9)}
    assert found.surprisal is None


def test_a_model_of_another_device_is_inspected_on_the_cpu(tmp_path):
    (tmp_path / "c.yaml").write_text("device: cuda\ntask: {name: adding, length: 5}\nmodel: {cell: lstm}\n")
    assert next(subject(tmp_path / "c.yaml", SMALL_SETS).model.parameters()).device.type == "cpu"
    with pytest.raises(ConfigError, match="device=cuda: an inspection computes on the CPU"):
        subject("quickstart", ["device=cuda"])
