"""`seqtrain import-torch`: models of torch.nn, whose outputs the imported models give, and files that are refused."""

import contextlib
import json
import math
import os
import pickle
import random
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, SMALL_SETS
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from seqtrain import (
    CheckpointError,
    ConfigError,
    SeqtrainError,
    compare,
    evaluate,
    export,
    import_torch,
    load_model,
    load_text_model,
    train,
)
from seqtrain.config import load_config
from seqtrain.config.build import build_task
from seqtrain.interchange.torch_file import read_weights

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
QUICK = (*SMALL_SETS, "task.length=10", "train.steps=4", "train.batch_size=4", "train.eval_every=2")
TINY_SETS = ("task.valid_size=6", "task.test_size=6")


class Net(nn.Module):
    """An embedding if there are symbols, recurrent layers, a head: the model of many a tutorial."""

    def __init__(self, kind, inputs, outputs, hidden=5, *, symbols=None, every_step=False, head_bias=True, **options):
        super().__init__()
        torch.manual_seed(3)
        self.embedding = None if symbols is None else nn.Embedding(symbols, inputs)
        self.layers = LAYERS[kind](inputs, hidden, **options)
        self.fc = nn.Linear(hidden * (2 if options.get("bidirectional") else 1), outputs, bias=head_bias)
        self.every_step = every_step
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-1, 1)

    def forward(self, x):
        outputs, last = self.layers(x if self.embedding is None else self.embedding(x))
        if self.every_step:
            return self.fc(outputs)
        hidden = last[0] if isinstance(last, tuple) else last
        ends = hidden[-2:] if self.layers.bidirectional else hidden[-1:]
        return self.fc(torch.cat([*ends], -1))


def outputs_of(run, x):
    with torch.no_grad():
        return load_model(run)(x)[0]


def imported(net, tmp_path, *overrides, like="quickstart", **options):
    """The directory of the run that is made of a module or its weights."""
    weights = net.state_dict() if isinstance(net, nn.Module) else net
    sets = QUICK if like == "quickstart" else ()
    return import_torch(weights, like, [*sets, *overrides], out=tmp_path / "run", overwrite=True, **options).path


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}, {"bias": False}], ids=str
)
def test_the_outputs_are_those_of_torch(kind, options, tmp_path):
    net = Net(kind, 2, 1, **options)
    run = imported(net, tmp_path, f"model.cell={kind}")
    x = torch.randn(11, 7, 2)
    torch.testing.assert_close(outputs_of(run, x), net(x).detach(), rtol=1e-6, atol=1e-6)
    config = load_config(str(run)).model
    assert (config.hidden_sizes(), config.direction) == (
        [5] * options.get("num_layers", 1),
        "bidirectional" if options.get("bidirectional") else "forward",
    )


def test_relu_is_the_nonlinearity_that_the_config_says(tmp_path):
    net = Net("rnn", 2, 1, nonlinearity="relu")
    x = torch.randn(4, 3, 2)
    run = imported(net, tmp_path, "model.cell={name: rnn, nonlinearity: relu}")
    torch.testing.assert_close(outputs_of(run, x), net(x).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", ["peephole", "{name: odyssey, ablation: no_peepholes}", "odyssey"])
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_cell_with_peepholes_of_zero_gives_the_bits_of_the_lstm(cell, engine, tmp_path):
    net, x = Net("lstm", 2, 1, hidden=16, num_layers=2), torch.randn(20, 8, 2)
    engine = "reference" if "odyssey" in cell else engine  # the plain loop alone runs odyssey
    settings = (f"engine={engine}", "model.init_range=0.3", "model.cell=lstm")
    lstm = outputs_of(imported(net, tmp_path, *settings), x)
    run = imported(net, tmp_path, *settings[:-1], f"model.cell={cell}")
    assert torch.equal(outputs_of(run, x), lstm)


def test_hidden_sizes_that_differ_and_modules_one_behind_the_other(tmp_path):
    first, second, head = nn.LSTM(2, 6), nn.LSTMCell(6, 4), nn.Linear(4, 1)
    parts = {"first": first.state_dict(), "second": second.state_dict(), "out": head.state_dict()}
    run = imported(parts, tmp_path, recurrent=["first", "second"])
    assert load_config(str(run)).model.hidden_size == [6, 4]
    x = torch.randn(5, 3, 2)
    hidden, state = first(x)[0], None
    for step in hidden:
        state = second(step, state)
    torch.testing.assert_close(outputs_of(run, x), head(state[0]).detach(), rtol=1e-6, atol=1e-6)


def test_symbols_enter_by_an_embedding_or_one_hot(tmp_path):
    like, length = "copy-memory", ("task.length=5", *TINY_SETS)
    task = build_task(load_config(like, length))
    symbols, outputs = task.spec.input_size, task.spec.output_size
    x = torch.randint(symbols, (9, 4))
    net = Net("gru", 3, outputs, symbols=symbols, every_step=True)
    run = imported(net, tmp_path, *length, "model.cell=gru", like=like)
    torch.testing.assert_close(outputs_of(run, x), net(x).detach(), rtol=1e-6, atol=1e-6)
    assert load_config(str(run)).model.embedding_size == 3

    net = Net("gru", symbols, outputs, every_step=True, head_bias=False)
    run = imported(net, tmp_path, *length, "model.cell=gru", like=like)
    wanted = net(F.one_hot(x, symbols).float()).detach()
    torch.testing.assert_close(outputs_of(run, x), wanted, rtol=1e-6, atol=1e-6)
    assert load_config(str(run)).model.embedding_size is None
    assert not load_model(run).head.bias.any()


@pytest.mark.parametrize("embedded", [True, False])
def test_several_symbols_a_step_in_both_directions(tmp_path, embedded):
    task = build_task(load_config("agreement"))
    V, O = task.spec.input_size, task.spec.output_size
    size = {"inputs": 3, "symbols": V} if embedded else {"inputs": V}
    net = Net("lstm", outputs=O, every_step=True, bidirectional=True, hidden=3, **size)
    run = imported(net, tmp_path, "train.eval_batch_size=500", like="agreement")
    x = next(task.eval_batches("test", 4)).inputs
    vectors = (net.embedding(x) if embedded else F.one_hot(x, V).float()).sum(-2)
    wanted = net.fc(net.layers(vectors)[0]).detach()
    torch.testing.assert_close(outputs_of(run, x), wanted, rtol=1e-5, atol=1e-5)


def words_of(text_folder):
    """The task on a tiny text."""
    return build_task(load_config("words", [f"task.path={text_folder}"]))


def cross_entropy(net, task, split):
    """Nats a token, the state carried through the split, by the means of torch."""
    nats, count, state = 0.0, 0, None
    for batch in task.eval_batches(split, 1):
        outputs, state = net.layers(net.embedding(batch.inputs), state)
        nats += F.cross_entropy(net.fc(outputs).flatten(0, 1), batch.targets.flatten(), reduction="sum").item()
        count += batch.targets.numel()
    return nats / count


def language_model(task, kind="lstm", **options):
    V = len(task.vocabulary)
    return Net(kind, 4, V, symbols=V, every_step=True, **options)


TEXT = ("train.steps=4", "train.batch_size=4", "train.eval_every=2", "train.epochs=null")


def test_the_figures_are_those_of_the_module(text_folder, tmp_path):
    task = words_of(text_folder)
    net = language_model(task)
    run = imported(net, tmp_path, *TEXT, f"task.path={text_folder}", like="words")
    (record,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    with torch.no_grad():
        valid, test = (cross_entropy(net, task, split) for split in ("valid", "test"))
    assert (record["step"], record["split"]) == (0, "valid")
    assert record["loss"] == pytest.approx(valid, rel=1e-5)
    assert evaluate(run).figures["loss"] == pytest.approx(test, rel=1e-5)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test"]["perplexity"] == pytest.approx(math.exp(test), rel=1e-5)
    assert (summary["status"], summary["steps"], summary["best"]["step"]) == ("finished", 0, 0)
    assert summary["imported"] == "a state_dict"


def test_training_goes_on_from_the_weights(tmp_path):
    net = Net("lstm", 2, 1)
    run = imported(net, tmp_path, "optimizer.lr=1e-6", "optimizer.clip_norm=1e-3")
    ours = {"stack.layers.0.0.w_x": "layers.weight_ih_l0", "stack.layers.0.0.b_h": "layers.bias_hh_l0"}
    for name, theirs in ours.items():
        assert torch.equal(load_file(run / "last.safetensors")[name], net.state_dict()[theirs])
    further = train(run, resume=True)
    assert further.summary.steps == 4
    assert further.summary.imported == "a state_dict"
    assert [record.step for record in further.records] == [0, 2, 2, 4, 4]
    for name, theirs in ours.items():
        moved = (load_file(run / "last.safetensors")[name] - net.state_dict()[theirs]).abs().max()
        assert 0 < moved < 1e-4  # four steps of Adam at 1e-6


def test_a_run_can_be_used_and_compared_as_any_other(seqtrain, tmp_path):
    torch.save({"epoch": 3, "state_dict": Net("lstm", 2, 1).state_dict()}, "model.pt")
    made = seqtrain("import-torch", "model.pt", "--like", "quickstart", *QUICK, "--json")
    assert made.code == 0
    assert (made.json["run"], made.json["imported"]) == ("runs/quickstart-lstm-seed0-imported", "model.pt")
    assert "read 'state_dict' alone, and not epoch beside it" in made.err
    assert "the head is fc.weight, its bias is fc.bias" in made.err
    assert "set as the weights are: model.cell.biases=2, model.hidden_size=5" in made.err

    again = seqtrain("import-torch", "model.pt", "--like", "quickstart", *QUICK)
    assert again.code == 2
    assert "holds a run already" in again.err
    table = seqtrain("import-torch", "model.pt", "--like", "quickstart", *QUICK, "--overwrite")
    assert "first weights" in table.out
    assert "imported from model.pt" in table.out
    assert "out of patience" not in table.out
    assert "next: seqtrain train runs/quickstart-lstm-seed0-imported --resume" in table.err

    run = "runs/quickstart-lstm-seed0-imported"
    assert seqtrain("eval", run, "--json").json["mse"] == made.json["test"]["mse"]
    assert seqtrain("eval", run, "task.length=20").code == 0
    assert seqtrain("export", run, "--to", "safetensors").code == 0
    assert "read its first weights from `model.pt`" in (tmp_path / run / "hub/README.md").read_text()
    own = load_config(run).model_dump()
    trained = train(own, out="runs/trained").path  # the same config and seed
    assert compare([run, trained], out="both").results is not None
    rows = json.loads((tmp_path / "both/results.json").read_text())
    assert sorted(row["cell"] for row in rows["cells"]) == ["lstm", "lstm imported=True"]
    assert any("imported weights were trained elsewhere too" in note for note in rows["notes"])
    torch.save(Net("lstm", 2, 1).state_dict(), "other.pt")
    other = import_torch("other.pt", "quickstart", QUICK, out="runs/other").path
    with pytest.raises(CheckpointError, match=r"runs/other: has the cell and the seed of runs/quickstart"):
        compare([run, other], out="two")


def test_a_task_that_is_solved_at_once(seqtrain):
    """Two sequences: a neuron that keeps the sign of the first numbers, whatever noise comes after them."""
    latch = {"weight_ih_l0": torch.ones(1, 1), "weight_hh_l0": torch.full((1, 1), 3.0)}
    head = {"head.weight": torch.tensor([[9.0], [-9.0]]), "head.bias": torch.zeros(2)}
    torch.save(latch | head, "latch.pt")
    settings = (*SMALL, *SMALL_SETS, "model.cell=rnn", "model.hidden_size=1")
    made = seqtrain("import-torch", "latch.pt", "--like", "two-sequence", *settings, "--out", "run")
    assert re.search(r"status +solved at step 0", made.out)
    assert re.search(r"best valid accuracy +1 at step 0", made.out)
    assert "--resume train.stop_when_solved=false trains it further" in made.err
    assert "solved already, nothing to train" in seqtrain("train", "run", "--resume").err
    for seed in (0, 1):
        train("two-sequence", [*settings, f"seed={seed}"], out=f"runs/{seed}")
    import_torch("latch.pt", "two-sequence", [*settings, "seed=1"], out="runs/other")
    compared = compare(["runs/0", "runs/1", "run", "runs/other"], out="compared").results
    row = next(row for row in compared.cells if row.cell == "rnn imported=True")
    assert (row.solved, row.versus.outcome, row.versus.better_in) == (2, "steps to solve", 2)
    assert not any("improved until the end" in note for note in compared.notes)


def test_a_text_has_the_order_of_its_vocabulary(text_folder, tmp_path):
    task = words_of(text_folder)
    net, V = language_model(task), len(task.vocabulary)
    order = torch.randperm(V, generator=torch.Generator().manual_seed(0))
    theirs = {
        name: one[order] if len(one) == V and "layers" not in name else one for name, one in net.state_dict().items()
    }
    settings = (*TEXT, f"task.path={text_folder}")
    vocabulary = tmp_path / "tokens.txt"
    vocabulary.write_text("".join(f"{task.vocabulary[number]}\n" for number in order))
    plain = load_file(imported(net, tmp_path, *settings, like="words") / "best.safetensors")
    ordered = load_file(imported(theirs, tmp_path, *settings, like="words", vocabulary=vocabulary) / "best.safetensors")
    assert all(torch.equal(plain[name], ordered[name]) for name in plain)
    wrong = load_file(imported(theirs, tmp_path, *settings, like="words") / "best.safetensors")
    assert not torch.equal(plain["encoder.weight"], wrong["encoder.weight"])


def test_a_vocabulary_with_other_words_stays_that_of_the_run(text_folder, tmp_path, capsys):
    """One of a larger text: its further words have their rows, what it lacks is read as unknown."""
    own = [token for token in words_of(text_folder).vocabulary if token != "dog"]
    tokens = ["unicorn", *reversed(own), "<pad>"]
    net = Net("lstm", 4, len(tokens), symbols=len(tokens), every_step=True)
    settings = (*TEXT, f"task.path={text_folder}")
    (tmp_path / "v").write_text("\n".join(tokens))
    run = imported(net, tmp_path, *settings, like="words", vocabulary=tmp_path / "v", quiet=False)
    remarks = capsys.readouterr().err
    assert "has 2 tokens that the training text lacks: 'unicorn', '<pad>'" in remarks
    assert "lacks 1 token of the training text: 'dog', read as <unk>" in remarks
    x = torch.tensor([[tokens.index(word)] for word in ["<unk>", "cat", "saw", "3", "trees", "<eos>"]])
    torch.testing.assert_close(outputs_of(run, x), net(x).detach(), rtol=1e-6, atol=1e-6)

    corpus = [(text_folder / "test.txt").read_text().replace("\n", " <eos> ").replace("dog", "<unk>").split()]
    numbers = torch.tensor([[tokens.index(word)] for word in corpus[0]])
    nats = F.cross_entropy(net(numbers[:-1]).flatten(0, 1), numbers[1:, 0]).item()
    assert evaluate(run).figures["loss"] == pytest.approx(nats, rel=1e-5)
    assert train(run, resume=True).summary.steps == 4
    assert load_text_model(run).vocabulary.tokens == tokens
    trained = train("words", [*SMALL, *settings], out=tmp_path / "trained").path
    with pytest.raises(SeqtrainError, match="are not of one task and cannot be compared"):
        compare([run, trained], out=tmp_path / "compared")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: ["cat", *own], "has 'cat' more than once"),
        (lambda own: [*own[:2], "", *own[2:]], "v:3: is empty"),
        (lambda own: own[2:], "lacks "),
        (lambda _: ["<unk>", "a", "b"], "has no token of the training text; see task.path, and task.unit"),
    ],
)
def test_vocabularies_that_are_refused(text_folder, tmp_path, change, message):
    task = words_of(text_folder)
    (tmp_path / "v").write_text("\n".join(change([token for token in task.vocabulary if token != "<unk>"])))
    with pytest.raises(ConfigError, match=re.escape(message)):
        imported(language_model(task), tmp_path, f"task.path={text_folder}", like="words", vocabulary=tmp_path / "v")


def test_stories_have_a_fixed_vocabulary(tmp_path):
    words = build_task(load_config("stories", TINY_SETS)).vocabulary
    net = Net("lstm", 4, len(words), symbols=len(words), every_step=True)
    (tmp_path / "v").write_text("\n".join(words))
    options = {"like": "stories", "vocabulary": tmp_path / "v"}
    assert torch.equal(load_model(imported(net, tmp_path, *TINY_SETS, **options)).encoder.weight, net.embedding.weight)
    (tmp_path / "v").write_text("\n".join(["unicorn", *words[1:]]))
    with pytest.raises(ConfigError, match="task 'stories' has a fixed vocabulary"):
        imported(net, tmp_path, *TINY_SETS, **options)


def test_characters_enter_one_hot_and_without_a_row_for_unknown_ones(text_folder, tmp_path):
    """The model of many a tutorial: its vocabulary is the set of characters, in the order of their code points."""
    settings = ("train.steps=4", "train.batch_size=4", "train.eval_every=2", f"task.path={text_folder}")
    task = build_task(load_config("characters", settings[3:]))
    known = sorted(set(task.vocabulary) - {"<unk>"})
    assert {"\n", " "} < set(known)
    (tmp_path / "chars.txt").write_text("".join({"\n": "\\n"}.get(token, token) + "\n" for token in known))
    net = Net("rnn", len(known), len(known), every_step=True)
    options = {"like": "characters", "vocabulary": tmp_path / "chars.txt"}
    run = imported(net, tmp_path, *settings, "model.cell=rnn", **options)
    text = "the cat saw 3 trees\n"
    theirs = net(F.one_hot(torch.tensor([[known.index(c)] for c in text]), len(known)).float())
    ours = outputs_of(run, torch.tensor([[task.vocabulary.index(c)] for c in text]))
    columns = [task.vocabulary.index(token) for token in known]
    torch.testing.assert_close(
        ours.log_softmax(-1)[..., columns], theirs.log_softmax(-1).detach(), rtol=1e-5, atol=1e-5
    )
    assert ours.softmax(-1)[..., task.vocabulary.index("<unk>")].max() == 0
    assert train(run, resume=True).summary.steps == 4


@pytest.mark.parametrize("projected", [False, True])
def test_one_weight_for_the_embedding_and_the_head(text_folder, tmp_path, projected):
    task = words_of(text_folder)
    net = language_model(task, hidden=5 if projected else 4)
    parts = {name: one for name, one in net.state_dict().items() if name != "fc.weight"}
    projection = {"down.weight": torch.randn(4, 5)} if projected else {}
    settings = (*TEXT, f"task.path={text_folder}", "model.tied=true")
    run = imported({**parts, **projection, "fc.weight": parts["embedding.weight"]}, tmp_path, *settings, like="words")
    assert load_config(str(run)).model.tied
    x = torch.randint(len(task.vocabulary), (6, 2))
    hidden = net.layers(net.embedding(x))[0]
    features = hidden @ projection["down.weight"].t() if projected else hidden
    wanted = F.linear(features, net.embedding.weight, net.fc.bias).detach()
    torch.testing.assert_close(outputs_of(run, x), wanted, rtol=1e-6, atol=1e-6)
    # safetensors.torch.save_model keeps one of two names
    again = imported({**parts, **projection}, tmp_path, *settings, like="words")
    assert torch.equal(outputs_of(again, x), outputs_of(run, x))
    if not projected:
        with pytest.raises(ConfigError, match=r"one weight for both, add model\.tied=true"):
            imported(parts, tmp_path, *settings[:-1], like="words")


@pytest.mark.parametrize("kind", ["lstm", "rnn"])
def test_no_bit_is_lost_on_the_way_there_and_back(kind, tmp_path):
    net = Net(kind, 2, 1, num_layers=2, bidirectional=True)
    torch.save({"recurrent": net.layers.state_dict(), "head": net.fc.state_dict()}, tmp_path / "m.pt")
    run = import_torch(tmp_path / "m.pt", "quickstart", [*QUICK, f"model.cell={kind}"], out=tmp_path / "run").path
    export(run, "torch", tmp_path / "back.pt")
    written = torch.load(tmp_path / "back.pt", weights_only=True)
    back = {f"layers.{name}": weight for name, weight in written["recurrent"].items()}
    back |= {f"fc.{name}": weight for name, weight in written["head"].items()}
    theirs = net.state_dict()
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    "wrap", [lambda w: {"model_state_dict": w, "loss": 0.5}, lambda w: {"model": w, "optimizer": {}}]
)
@pytest.mark.parametrize("before", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_the_file_may_hold_more_and_names_may_begin_otherwise(wrap, before, tmp_path):
    net = Net("lstm", 2, 1)
    torch.save(wrap({before + name: weight for name, weight in net.state_dict().items()}), tmp_path / "m.pt")
    assert read_weights(tmp_path / "m.pt").tensors.keys() == net.state_dict().keys()


@pytest.mark.parametrize(
    "write", [torch.save, lambda w, f: torch.save(w, f, _use_new_zipfile_serialization=False), save_file]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_files_of_each_kind_and_precision(write, dtype, tmp_path, capsys):
    net = Net("lstm", 2, 1)
    weights = {name: weight.to(dtype) for name, weight in net.state_dict().items()}
    write(weights, tmp_path / "weights")
    run = import_torch(tmp_path / "weights", "quickstart", QUICK, out=tmp_path / "run", quiet=False).path
    ours = load_file(run / "best.safetensors")
    assert torch.equal(ours["stack.layers.0.0.w_x"], weights["layers.weight_ih_l0"].float())
    remark = f"converted from {str(dtype).removeprefix('torch.')} to float32"
    assert (remark in capsys.readouterr().err) == (dtype != torch.float32)


def lstm(**changes):
    """The weights of a small model for `quickstart`, some of them changed; None takes one away."""
    weights = Net("lstm", 2, 1).state_dict() | changes
    return {name: weight for name, weight in weights.items() if weight is not None}


def prefixed(**changes):
    return lstm(**{f"layers.{name}": one for name, one in changes.items()})


@pytest.mark.parametrize(
    ("weights", "arguments", "message"),
    [
        (lstm(), ["model.cell=gru"], "model.cell is 'gru', but the weights are those of nn.LSTM; use model.cell=lstm"),
        (Net("gru", 2, 1).state_dict(), [], "those of nn.GRU; use model.cell=gru"),
        (Net("gru", 2, 1).state_dict(), ["model.cell={name: gru, reset: before}"], "use reset=after"),
        (lstm(), ["model.cell={name: odyssey, ablation: coupled}"], "which nn.LSTM has not; use none or no_peepholes"),
        (lstm(), ["model.cell={name: coupled, peepholes: true}"], "model.cell is 'coupled'"),
        (nn.LSTM(2, 5, proj_size=3).state_dict(), [], "is the projection of an LSTM with proj_size"),
        (Net("lstm", 3, 1).state_dict(), [], "weight_ih_l0 reads 3 numbers in a step, but task 'adding' gives 2"),
        (Net("lstm", 2, 4).state_dict(), [], "fc.weight has 4 outputs, but task 'adding' has 1"),
        (lstm() | {"norm.weight": torch.ones(5), "norm.bias": torch.ones(5)}, [], "norm.weight [5], norm.bias [5]; "),
        (lstm() | {"other.weight": torch.ones(1, 5)}, [], "head.weight may be fc.weight [1, 5], other.weight [1, 5]"),
        (lstm() | {"b.weight_ih_l0": torch.ones(4, 2)}, [], "several recurrent modules, layers, b; if each"),
        (prefixed(weight_ih_l1=torch.ones(20, 4), weight_hh_l1=torch.ones(20, 5)), [], "reads 4 numbers in a step"),
        (prefixed(weight_ih_l2=torch.ones(20, 5), weight_hh_l2=torch.ones(20, 5)), [], "missing: layers.weight_ih_l1"),
        (prefixed(weight_ih_l0_reverse=torch.ones(20, 2)), [], "layers.weight_hh_l0_reverse is missing"),
        (prefixed(weight_hh_l0=None), [], "layers.weight_hh_l0 is missing"),
        (prefixed(bias_hh_l0=None), [], "layers.bias_hh_l0 is missing"),
        (prefixed(bias_hh_l0=torch.ones(19)), [], "layers.bias_hh_l0 is [19], but weight_hh has 20 rows"),
        (prefixed(weight_hh_l0=torch.ones(10, 5)), [], "it must be [4H, H] of an LSTM"),
        ({"fc.weight": torch.ones(1, 5)}, [], "no recurrent weights"),
        (prefixed(bias_ih_l0=torch.full([20], math.nan)), [], "layers.bias_ih_l0 has numbers that are not finite"),
        (prefixed(bias_ih_l0=torch.full([20], 1e300, dtype=torch.float64)), [], "bias_ih_l0 has numbers that are not"),
        (prefixed(bias_ih_l0=torch.ones(20, dtype=torch.int64)), [], "bias_ih_l0 holds int64, and weights are real"),
        (lstm(), ["--ignore", "fc.w*", "--ignore", "nothing"], "--ignore nothing: there is no such weight"),
        (lstm(), ["--rename", "fc=head.weight"], "--rename fc=...: there is no such weight"),
        (lstm(), ["--rename", "fc.weight=decoder"], "choose one of encoder.weight"),
        (lstm(), ["--rename", "fc.weight=head.bias"], "no weight is the head, which must be [1, 5]"),
        (lstm(), ["--rename", "fc.weight"], "give THEIRS=OURS"),
        (lstm(), ["--recurrent", "rnn"], "--recurrent rnn: is not there; choose one of layers"),
        (lstm(), ["--vocabulary", "m.pt"], "--vocabulary is for the words of a text"),
        (lstm(), ["model.hidden_siz=3"], "model.hidden_siz"),
        (lstm(**{"fc.bias": torch.full([1], 3e38)}), [], "the validation loss is inf and mse is"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_written(seqtrain, tmp_path, weights, arguments, message):
    torch.save(weights, "m.pt")
    refused = seqtrain("import-torch", "m.pt", "--like", "quickstart", *QUICK, *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]


def test_a_text_is_not_read_backward_and_has_its_own_size(seqtrain, text_folder):
    V = len(words_of(text_folder).vocabulary)
    settings = ("--like", "words", f"task.path={text_folder}", *TEXT)
    torch.save(Net("lstm", 4, V, symbols=V, bidirectional=True).state_dict(), "m.pt")
    assert "the layers read in both directions" in seqtrain("import-torch", "m.pt", *settings).err
    torch.save(Net("lstm", 4, V + 1, symbols=V + 2).state_dict(), "m.pt")
    refused = seqtrain("import-torch", "m.pt", *settings)
    assert f"embedding.weight has {V + 2} symbols, but task 'language_model' has {V}" in refused.err
    assert f"fc.weight has {V + 1} outputs, but task 'language_model' has {V}" in refused.err


def test_a_run_in_the_directory_stays_if_an_import_is_refused(seqtrain, tmp_path):
    trained = train("quickstart", [*SMALL, *SMALL_SETS], out="run").path
    before = {file.name: file.read_bytes() for file in trained.iterdir()}
    torch.save(Net("lstm", 2, 4).state_dict(), "m.pt")
    assert seqtrain("import-torch", "m.pt", "--like", "run", "--out", "run", "--overwrite").code == 2
    assert {file.name: file.read_bytes() for file in trained.iterdir()} == before


def test_without_a_config_the_message_says_what_is_missing(seqtrain):
    torch.save(lstm(), "m.pt")
    assert "--like is missing" in seqtrain("import-torch", "m.pt").err


def test_weights_that_are_left_out_or_named(tmp_path):
    net = Net("lstm", 2, 1)
    more = {"norm.weight": torch.ones(5), "norm.bias": torch.zeros(5), "second": torch.ones(1, 5)}
    run = imported(
        {**net.state_dict(), **more}, tmp_path, ignore=["norm.*", "fc.weight"], rename={"second": "head.weight"}
    )
    assert torch.equal(load_model(run).head.weight.detach(), torch.ones(1, 5))


def nested(depth):
    """A mapping that a short file claims to be in 2^depth places."""
    inner = {}
    for _ in range(depth):
        inner = {"a": inner, "b": inner}
    return inner


def cyclic():
    inner = {}
    inner["a"] = inner
    return inner


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nn.LSTM(2, 3), "holds torch.nn.modules.rnn.LSTM beside weights, and seqtrain loads no code"),
        ({"a": Path}, "holds pathlib.Path beside weights"),
        ([torch.ones(2)], "holds a list, not weights by their names"),
        (torch.ones(2), "holds a Tensor, not weights by their names"),
        ({}, "holds no weights"),
        ({"epoch": 3}, "holds no weights"),
        (nested(40), "holds more than 100,000 values"),
        (cyclic(), "holds more than 50 mappings in one another"),
        ({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "holds two weights called a.b"),
        ({"w": torch.ones(1).expand(10**10)}, "w claims more numbers than the file holds"),
        ({"w": torch.empty(10**10, device="meta")}, "w claims more numbers than the file holds"),
        ({"w": torch.eye(3).to_sparse()}, "w is no dense tensor"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_files_of_torch_that_hold_something_else(tmp_path, content, message):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / 'm.pt'}: {message}")):
        read_weights(tmp_path / "m.pt")


def test_files_that_are_none_of_torch(tmp_path):
    file = tmp_path / "m.pt"
    for content in (
        b"",
        b"\x80",
        b"PK\x03\x04" + bytes(40),
        pickle.dumps([1, 2]),
        pickle.dumps({"w": 1}, 2),
        b"#!/bin/sh\n",
    ):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is damaged|is no file of PyTorch"):
            read_weights(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(10**6))
    with pytest.raises(CheckpointError, match="claims more bytes than it has"):
        read_weights(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="is a program of TorchScript"):
        read_weights(file)
    with pytest.raises(CheckpointError, match="no such file; give a file that"):
        read_weights(tmp_path / "nothing.pt")
    with pytest.raises(CheckpointError, match=r"Is a directory|is not a regular file"):
        read_weights(tmp_path)


def test_a_checkpoint_of_seqtrain_needs_no_import(tmp_path):
    trained = train("quickstart", [*SMALL, *SMALL_SETS], out=tmp_path / "run").path
    with pytest.raises(CheckpointError, match="is a checkpoint of seqtrain, which every verb takes as it is"):
        import_torch(trained / "best.safetensors", "quickstart")


@pytest.mark.parametrize(
    "write", [torch.save, lambda w, f: torch.save(w, f, _use_new_zipfile_serialization=False), save_file]
)
def test_damaged_files_are_refused_or_read_whole(tmp_path, write):
    """Cut short, or with other bytes: whatever is wrong, a clear error, or weights that are what they claim."""
    file, net = tmp_path / "m", Net("lstm", 2, 1)
    write(net.state_dict(), file)
    content, draw = file.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        if draw.random() < 0.4:
            damaged = damaged[: draw.randrange(len(content))]
        else:
            for _ in range(draw.choice((1, 3, 20))):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        file.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            assert sum(one.nbytes for one in read_weights(file).tensors.values()) <= len(content)


def cross(embedding, head, order):
    """A model of words without a bias, E equal to H, whose embedding and head have the same shape."""
    torch.manual_seed(1)
    V = order[1]
    parts = {embedding: torch.randn(V, 4), head: torch.randn(V, 4)}
    recurrent = {f"lstm.{name}": one for name, one in nn.LSTM(4, 4).state_dict().items()}
    first, second = order[0]
    return {first: parts[first], **recurrent, second: parts[second]}


@pytest.mark.parametrize("by_safetensors", [False, True])
@pytest.mark.parametrize(
    ("embedding", "head"), [("word_embedding.weight", "a_head.weight"), ("wte.weight", "out.0.weight")]
)
def test_names_tell_the_embedding_and_the_head_apart_where_the_order_misleads(
    text_folder, tmp_path, by_safetensors, embedding, head
):
    V = len(words_of(text_folder).vocabulary)
    weights = cross(embedding, head, ((head, embedding), V))
    (save_file if by_safetensors else torch.save)(weights, tmp_path / "m")
    settings = [*TEXT, f"task.path={text_folder}"]
    model = load_model(import_torch(tmp_path / "m", "words", settings, out=tmp_path / "run").path)
    assert torch.equal(model.encoder.weight, weights[embedding])
    assert torch.equal(model.head.weight, weights[head])


def test_without_clear_names_only_the_order_of_a_file_in_order_decides(text_folder, tmp_path, capsys):
    V = len(words_of(text_folder).vocabulary)
    settings = [*TEXT, f"task.path={text_folder}"]
    weights = cross("b.weight", "a.weight", (("b.weight", "a.weight"), V))
    torch.save(weights, tmp_path / "m.pt")
    model = load_model(import_torch(tmp_path / "m.pt", "words", settings, out=tmp_path / "run", quiet=False).path)
    assert torch.equal(model.encoder.weight, weights["b.weight"])
    assert "give --rename a.weight=encoder.weight --rename b.weight=head.weight" in capsys.readouterr().err
    save_file(weights, tmp_path / "m.safetensors")
    torch.save(cross("head1.w", "head2.w", (("head1.w", "head2.w"), V)), tmp_path / "both.pt")
    for file in ("m.safetensors", "both.pt"):
        with pytest.raises(ConfigError, match=r"--rename NAME=encoder\.weight --rename NAME=head\.weight"):
            import_torch(tmp_path / file, "words", settings, out=tmp_path / "other")


@pytest.mark.parametrize("name", ["act.weight", "norm.weight", "other.bias"])
def test_another_weight_of_the_size_of_the_answer_is_no_bias(seqtrain, name):
    more = {name: torch.ones(1)} | ({"other.weight": torch.ones(3)} if name == "other.bias" else {})
    torch.save(lstm(**{"fc.bias": None}) | more, "m.pt")
    refused = seqtrain("import-torch", "m.pt", "--like", "quickstart", *QUICK)
    assert refused.code == 2
    assert f"{name} [1]" in refused.err
    assert "only if the model does not use it for its answer" in refused.err


def test_a_bias_alone_or_named_is_that_of_the_head(tmp_path):
    weights = lstm(**{"fc.bias": None})
    for options in ({"out_bias": torch.ones(1)}, {"b": torch.ones(1)}):
        rename = {"b": "head.bias"} if "b" in options else {}
        run = imported(weights | options, tmp_path, rename=rename)
        assert load_model(run).head.bias.item() == 1


@pytest.mark.parametrize("behind", [False, True])
def test_a_square_layer_is_no_embedding_unless_its_name_says_so(text_folder, tmp_path, behind):
    V = len(words_of(text_folder).vocabulary)
    settings = (*TEXT, f"task.path={text_folder}")
    layers = {f"lstm.{name}": one for name, one in nn.LSTM(V, 6).state_dict().items()}
    square, head = {"proj.weight": torch.randn(V, V)}, {"fc.weight": torch.randn(V, 6), "fc.bias": torch.zeros(V)}
    weights = {**layers, **head, **square} if behind else {**square, **layers, **head}
    with pytest.raises(ConfigError, match=r"--rename proj\.weight=encoder\.weight"):
        imported(weights, tmp_path, *settings, like="words")
    run = imported(weights, tmp_path, *settings, like="words", rename={"proj.weight": "encoder.weight"})
    assert torch.equal(load_model(run).encoder.weight, square["proj.weight"])


def test_many_modules_are_named_in_the_order_of_their_numbers(tmp_path):
    cells = [nn.LSTMCell(2 if n == 0 else 3, 3) for n in range(11)]
    weights = {f"cells.{n}.{name}": one for n, cell in enumerate(cells) for name, one in cell.state_dict().items()}
    head = nn.Linear(3, 1)
    save_file(weights | {"fc.weight": head.weight.data, "fc.bias": head.bias.data}, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError) as refused:
        import_torch(tmp_path / "m.safetensors", "quickstart", QUICK, out=tmp_path / "run")
    names = re.findall(r"--recurrent (\S+)", str(refused.value))[:11]
    assert names == [f"cells.{n}" for n in range(11)]
    run = import_torch(tmp_path / "m.safetensors", "quickstart", QUICK, out=tmp_path / "run", recurrent=names).path
    x = torch.randn(4, 3, 2)
    steps = [*x]
    for cell in cells:
        state, given = None, []
        for step in steps:
            state = cell(step, state)
            given.append(state[0])
        steps = given
    torch.testing.assert_close(outputs_of(run, x), head(steps[-1]).detach(), rtol=1e-5, atol=1e-6)


def test_what_acts_in_evaluation_without_weights_is_off_unless_the_user_gives_it(tmp_path, capsys):
    net, x = Net("lstm", 2, 1), torch.randn(6, 3, 2)
    like = load_config(
        "quickstart", [*QUICK, "engine=reference", "model.zoneout_hidden=0.3", "model.direction=backward"]
    ).model_dump()
    run = import_torch(net.state_dict(), like, out=tmp_path / "run", quiet=False).path
    torch.testing.assert_close(outputs_of(run, x), net(x).detach(), rtol=1e-6, atol=1e-6)
    remark = capsys.readouterr().err
    assert "model.zoneout_hidden=0.0" in remark
    assert "model.direction=forward" in remark
    sets = ("engine=reference", "model.zoneout_hidden=0.3", "model.direction=backward")
    run = imported(net, tmp_path, *sets, quiet=False)
    err = capsys.readouterr().err
    assert "model.zoneout_hidden=0.3 changes the outputs" in err
    assert "the layers read each sequence from its end" in err
    assert load_config(str(run)).model.zoneout_hidden == 0.3


@pytest.mark.parametrize(
    "setting",
    ["model.hidden_size=77", "model.depth=3", "model.direction=bidirectional", "model={cell: lstm, hidden_size: 77}"],
)
def test_a_setting_that_contradicts_the_weights_is_refused(tmp_path, setting):
    with pytest.raises(ConfigError, match="the weights say"):
        imported(lstm(), tmp_path, setting)
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_counts_the_whole_text_and_may_have_a_mark_at_its_beginning(text_folder, tmp_path, capsys):
    task = words_of(text_folder)
    (tmp_path / "v").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(reversed(task.vocabulary)).encode())
    like = load_config("words", [*TEXT, f"task.path={text_folder}", "task.max_size=5"]).model_dump()
    net = language_model(task)
    run = import_torch(net.state_dict(), like, vocabulary=tmp_path / "v", out=tmp_path / "run", quiet=False).path
    err = capsys.readouterr().err
    assert "task.max_size is 5; it has no effect with --vocabulary" in err
    assert "are now in the order of seqtrain" in err
    assert "lacks" not in err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["baseline"]["perplexity"] == pytest.approx(task.baseline("test")["perplexity"])
    assert load_config(str(run)).task.max_size is None
    with pytest.raises(ConfigError, match=r"task\.max_size=5: with --vocabulary"):
        imported(net, tmp_path, f"task.path={text_folder}", "task.max_size=5", like="words", vocabulary=tmp_path / "v")


@pytest.mark.parametrize(("own", "theirs"), [("<eos>", "</s>"), ("<unk>", "<UNK>")])
def test_special_tokens_must_have_the_names_of_seqtrain(text_folder, tmp_path, own, theirs):
    task = words_of(text_folder)
    (tmp_path / "v").write_text("\n".join(theirs if token == own else token for token in task.vocabulary))
    with pytest.raises(ConfigError, match=f"lacks '{own}'.*write {own} on the line of your own"):
        imported(language_model(task), tmp_path, f"task.path={text_folder}", like="words", vocabulary=tmp_path / "v")


@pytest.mark.parametrize("dropped", ["fc.weight_g", "fc.*"])
def test_parts_of_a_weight_are_refused(tmp_path, dropped):
    v = {"fc.weight": None, "fc.weight_v": torch.ones(1, 5), "fc.weight_g": torch.ones(1, 1)}
    for weights in (lstm(**v), lstm(**{"fc.weight": None, "fc.parametrizations.weight.original0": torch.ones(1, 5)})):
        with pytest.raises(ConfigError, match=r"remove_parametrizations before torch\.save") as refused:
            imported(weights, tmp_path)
        assert "--ignore" not in str(refused.value)
    with pytest.raises(ConfigError, match="before torch.save" if dropped == "fc.weight_g" else "no weight is the head"):
        imported(lstm(**v), tmp_path, ignore=[dropped])
    raw = {f"rnn.module.{name}": one for name, one in nn.LSTM(2, 5).state_dict().items()}
    raw["rnn.weight_hh_l0_raw"] = raw.pop("rnn.module.weight_hh_l0")
    with pytest.raises(ConfigError, match=r"give --rename rnn\.weight_hh_l0_raw=rnn\.module\.weight_hh_l0$"):
        imported(raw | {"fc.weight": torch.ones(1, 5)}, tmp_path)


def test_a_run_stays_if_the_disk_is_full_and_a_new_folder_is_removed(tmp_path, monkeypatch):
    run = imported(lstm(), tmp_path)
    before = {file.name: file.read_bytes() for file in run.iterdir()}

    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("seqtrain.runs.checkpoint.write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        imported(lstm(), tmp_path)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    with pytest.raises(OSError, match="No space left"):
        import_torch(lstm(), "quickstart", QUICK, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_other_faults_say_their_cure(tmp_path, text_folder):
    net = Net("lstm", 2, 1)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(3, 2, 2)).sum().backward()
    optimizer.step()
    torch.save({"net": net.state_dict(), "opt": optimizer.state_dict(), "epoch": 1}, tmp_path / "m.pt")
    assert read_weights(tmp_path / "m.pt").tensors.keys() == net.state_dict().keys()
    with pytest.raises(ConfigError, match="holds bits8"):
        imported(lstm(extra=torch.empty(3, dtype=torch.bits8)), tmp_path)
    with pytest.raises(CheckpointError, match=r"give its \.state_dict\(\)"):
        import_torch(net, "quickstart")
    with pytest.raises(ConfigError, match="give its run directory, runs/x"):
        import_torch(lstm(), "runs/x/best.safetensors")
    with pytest.raises(ConfigError, match="is left out by --ignore"):
        imported(lstm(), tmp_path, rename={"fc.bias": "head.bias"}, ignore=["fc.bias"])
    task = words_of(text_folder)
    (tmp_path / "v").write_text("\n".join(task.vocabulary))
    V = len(task.vocabulary)
    larger = Net("lstm", 4, V + 1, symbols=V + 1)
    with pytest.raises(ConfigError, match=f"has {V} tokens, but embedding.weight has {V + 1} rows"):
        imported(larger, tmp_path, f"task.path={text_folder}", like="words", vocabulary=tmp_path / "v")
    with pytest.raises(ConfigError, match="give your vocabulary with --vocabulary FILE"):
        imported(larger, tmp_path, f"task.path={text_folder}", like="words")


class Command:
    def __reduce__(self):
        return os.system, ("true",)


def test_files_of_other_programs_are_named(tmp_path):
    file = tmp_path / "m.safetensors"
    torch.save({"a": Command()}, file)
    with pytest.raises(CheckpointError, match=r"holds \w+\.system beside weights, and seqtrain loads no code"):
        read_weights(file)
    np.savez(tmp_path / "m.npz", a=np.ones(2))
    with pytest.raises(CheckpointError, match="is an archive of NumPy"):
        read_weights(tmp_path / "m.npz")
    torch.save(lstm(), file)
    assert read_weights(file).tensors.keys() == lstm().keys()
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="is a pointer of Git LFS"):
        read_weights(file)


def test_the_name_of_a_run_and_what_may_be_done_if_it_exists(seqtrain, tmp_path):
    made = import_torch(lstm(), "quickstart", QUICK, out=tmp_path / "first").path
    assert (made / "curve.png").exists()
    assert sorted(file.name for file in made.iterdir()) == sorted(
        ["config.yaml", "metrics.jsonl", "summary.json", "last.safetensors", "best.safetensors", "curve.png"]
    )
    torch.save(lstm(), "m.pt")
    for like in (made, made / "config.yaml"):
        again = seqtrain("import-torch", "m.pt", "--like", like, "--overwrite", "--json")
        assert again.json["run"] == "runs/first-imported"
    refused = seqtrain("import-torch", "m.pt", "--like", made)
    assert "holds a run already; replace it with --overwrite, or choose another directory with --out" in refused.err
    assert "--resume" not in refused.err


def test_the_numbers_of_a_table_are_named_in_their_order(tmp_path, capsys):
    task = build_task(load_config("sunspots"))
    net = Net("lstm", task.spec.input_size, task.spec.output_size)
    imported(net, tmp_path, "train.steps=4", like="sunspots", quiet=False)
    assert re.search(r"in each step the model must read \d+ numbers? in this order", capsys.readouterr().err)


def test_the_backward_direction_may_stand_first_and_modules_are_read_as_chosen(tmp_path):
    net = Net("lstm", 2, 1, bidirectional=True)
    weights = dict(sorted(net.state_dict().items(), key=lambda item: not item[0].endswith("_reverse")))
    x = torch.randn(5, 3, 2)
    torch.testing.assert_close(outputs_of(imported(weights, tmp_path), x), net(x).detach(), rtol=1e-6, atol=1e-6)
    first, second, head = nn.LSTM(2, 2), nn.LSTM(2, 2), nn.Linear(2, 1)
    parts = {"second": second.state_dict(), "first": first.state_dict(), "fc": head.state_dict()}
    run = imported(parts, tmp_path, recurrent=["first", "second"])
    wanted = head(second(first(x)[0])[0][-1]).detach()
    torch.testing.assert_close(outputs_of(run, x), wanted, rtol=1e-6, atol=1e-6)


def test_nothing_of_a_run_that_is_replaced_stays(tmp_path, monkeypatch):
    run = imported(lstm(), tmp_path)
    assert (run / "curve.png").exists()
    monkeypatch.setattr("seqtrain.interchange.import_torch.draw_curve", lambda *_: None)
    assert imported(lstm(), tmp_path) == run
    assert (run / "summary.json").exists()
    assert not (run / "curve.png").exists()
