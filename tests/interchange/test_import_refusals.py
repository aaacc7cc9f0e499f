"""`seqtrain import-torch`, one part at a time: what each part refuses, what it says, and what it must still take."""

import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_import_torch import QUICK, TEXT, Net, imported, language_model, lstm, outputs_of, words_of
from torch import nn

from seqtrain import CheckpointError, ConfigError, import_torch
from seqtrain.config import load_config
from seqtrain.config.build import build_task
from seqtrain.interchange.torch_file import read_weights
from seqtrain.interchange.torch_model import check_fits, remarks_on, with_sizes
from seqtrain.interchange.torch_parts import Parts, find_parts
from seqtrain.interchange.torch_recurrent import find_recurrent
from seqtrain.interchange.torch_search import Wanted
from seqtrain.interchange.vocabulary_order import read_rows

V, E = 7, 4
"""Symbols of a small model, and numbers in its embedding and in its states."""


def weights_of(**modules):
    """The weights of modules by their names."""
    return {f"{name}.{one}": weight for name, own in modules.items() for one, weight in own.state_dict().items()}


def refused_recurrent(weights, chosen=()):
    """Every fault of recurrent weights."""
    with pytest.raises(ConfigError) as refused:
        find_recurrent(weights, chosen)
    return refused.value.faults


# Recurrent layers.


def test_a_module_that_is_named_twice_is_refused():
    weights = weights_of(a=nn.LSTM(3, 3), b=nn.LSTM(3, 3))
    (fault,) = refused_recurrent(weights, ["a", "b", "a"])
    assert fault == "--recurrent names a module twice; name each once, in the order in which they read"


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        (nn.GRU(3, 3), "the layers are of several kinds, nn.GRU and nn.LSTM; a stack has one kind"),
        (
            nn.LSTM(3, 3, bidirectional=True),
            "some layers have a backward direction and some have none; a stack has one direction",
        ),
    ],
)
def test_modules_that_are_no_stack_are_refused(second, fault):
    assert refused_recurrent(weights_of(a=nn.LSTM(2, 3), b=second), ["a", "b"]) == [fault]


def test_two_directions_of_different_sizes_are_refused():
    backward = {f"rnn.{name}_reverse": one for name, one in nn.LSTM(2, 4).state_dict().items()}
    (fault,) = refused_recurrent(weights_of(rnn=nn.LSTM(2, 3)) | backward)
    assert fault == (
        "the two directions of the layer of rnn.weight_ih_l0 have different sizes; in a stack they are equal"
    )


def test_one_layer_without_its_backward_direction_is_refused():
    weights = weights_of(rnn=nn.LSTM(2, 3, num_layers=2, bidirectional=True))
    weights = {name: one for name, one in weights.items() if not name.endswith("l1_reverse")}
    assert refused_recurrent(weights) == ["missing: rnn.weight_ih_l1_reverse"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bias_hh_l0": torch.ones(20, 1)}, "rnn.bias_hh_l0 is [20, 1], but weight_hh has 20 rows"),
        ({"bias_ih_l0": torch.tensor(1.0)}, "rnn.bias_ih_l0 is [], but weight_hh has 20 rows"),
        ({"weight_ih_l0": torch.ones(20)}, "rnn.weight_ih_l0 is [20], but weight_hh has 20 rows"),
        ({"weight_hh_l0": torch.ones(20, 0)}, "rnn.weight_hh_l0 is [20, 0]; it must be [4H, H] of an LSTM, "),
        ({"weight_hh_l0": torch.ones(20)}, "rnn.weight_hh_l0 is [20]; it must be [4H, H] of an LSTM, "),
        ({"weight_hh_l0": torch.tensor(1.0)}, "rnn.weight_hh_l0 is []; it must be [4H, H] of an LSTM, "),
    ],
    ids=lambda value: value[:36] if isinstance(value, str) else "",
)
def test_weights_of_another_shape_are_refused(changes, fault):
    weights = weights_of(rnn=nn.LSTM(2, 5)) | {f"rnn.{name}": one for name, one in changes.items()}
    (found,) = refused_recurrent(weights)
    assert found.startswith(fault)


@pytest.mark.parametrize("order", ["modules", "sorted", "reversed"])
def test_eleven_layers_are_in_the_order_of_their_numbers(order):
    weights = weights_of(rnn=nn.LSTM(3, 3, num_layers=11))
    names = {"modules": list, "sorted": sorted, "reversed": lambda names: [*reversed(names)]}[order](weights)
    found = find_recurrent({name: weights[name] for name in names}, in_order=order != "sorted")
    assert len(found.layers) == 11
    for number, (cell,) in enumerate(found.layers):
        assert cell.w_hh is weights[f"rnn.weight_hh_l{number}"]
        assert cell.b_ih is weights[f"rnn.bias_ih_l{number}"]
    assert sorted(found.names) == sorted(weights)


def test_a_module_with_biases_and_one_without(tmp_path):
    """The model has biases, which are zero where the file has none."""
    first, second, head = nn.LSTM(2, 3), nn.LSTM(3, 3, bias=False), nn.Linear(3, 1)
    x = torch.randn(4, 5, 2)
    weights = weights_of(first=first, second=second, fc=head)
    assert find_recurrent(weights, ["first", "second"]).has_biases
    run = imported(weights, tmp_path, recurrent=["first", "second"])
    wanted = head(second(first(x)[0])[0][-1]).detach()
    torch.testing.assert_close(outputs_of(run, x), wanted, rtol=1e-6, atol=1e-6)


# The config.


def test_a_cell_without_an_input_gate_is_no_lstm():
    config = load_config("quickstart", ["model.cell={name: odyssey, ablation: no_input_gate}"])
    with pytest.raises(ConfigError) as refused:
        check_fits(config, find_recurrent(lstm()))
    assert refused.value.faults == [
        "model.cell.ablation is 'no_input_gate', which nn.LSTM has not; use none or no_peepholes"
    ]


def test_a_softmax_in_clusters_is_refused():
    config = load_config("words", ["model.cell=lstm", "model.softmax=adaptive"])
    with pytest.raises(ConfigError, match=r"^model\.softmax is 'adaptive', whose clusters.*use model\.softmax=full$"):
        check_fits(config, find_recurrent(lstm()))


def sized(net, overrides, given=()):
    """The model of the config for a module, and the remarks about the changes."""
    config = load_config("quickstart", [*QUICK, *overrides])
    layers = find_recurrent(net.state_dict())
    made, remarks = with_sizes(config, Path("like.yaml"), layers, parts_of(net), given)
    return made.model, remarks


def parts_of(net):
    return Parts(None, net.fc.weight.data, None if net.fc.bias is None else net.fc.bias.data, None, False, "")


def test_the_sum_of_the_two_directions_is_no_sum_in_torch():
    both = ("model.direction=bidirectional", "model.merge=sum")
    model, (remark,) = sized(Net("lstm", 2, 1, bidirectional=True), both)
    assert (model.direction, model.merge) == ("bidirectional", "concat")
    assert "model.merge=concat" in remark
    with pytest.raises(ConfigError, match=r"model\.merge=sum: the weights say concat; leave it out"):
        sized(Net("lstm", 2, 1, bidirectional=True), both, ["model.merge"])
    model, _ = sized(Net("lstm", 2, 1), both)
    assert (model.direction, model.merge) == ("forward", None)


def test_the_faults_of_the_file_and_of_the_config_are_said_together(seqtrain):
    called = seqtrain("import-torch", "none.pt", "--like", "quickstart", "model.hiden_size=3", "train.stps=3")
    assert called.code == 2
    assert [fault in called.err for fault in ("none.pt: no such file", "hiden_size", "stps")] == [True] * 3


def test_layers_read_backward_only_if_the_user_says_so():
    backward = ["model.direction=backward"]
    assert sized(Net("lstm", 2, 1), backward)[0].direction == "forward"
    assert sized(Net("lstm", 2, 1), backward, ["model.direction"])[0].direction == "backward"
    assert sized(Net("lstm", 2, 1, bidirectional=True), backward)[0].direction == "bidirectional"
    with pytest.raises(ConfigError, match=r"model\.direction=backward: the weights say bidirectional"):
        sized(Net("lstm", 2, 1, bidirectional=True), backward, ["model.direction"])


NO_BIASES = "the recurrent layers have no biases; they are zero here, and further training changes them"
NO_BIAS_OF_HEAD = "the head has no bias; it is zero here, and further training changes it"


@pytest.mark.parametrize(
    ("options", "cell", "remarks"),
    [
        ({"kind": "lstm"}, "lstm", []),
        ({"kind": "lstm", "bias": False}, "lstm", [NO_BIASES]),
        ({"kind": "lstm", "head_bias": False}, "lstm", [NO_BIAS_OF_HEAD]),
        (
            {"kind": "rnn"},
            "rnn",
            ["no file says the nonlinearity of nn.RNN; it is taken to be tanh, model.cell.nonlinearity=relu says the "
             "other"],
        ),
        (
            {"kind": "rnn"},
            "{name: rnn, nonlinearity: relu}",
            ["no file says the nonlinearity of nn.RNN; it is taken to be relu, model.cell.nonlinearity=tanh says the "
             "other"],
        ),
    ],
    ids=lambda value: str(value)[:36],
)  # fmt: skip
def test_remarks_on_what_is_not_in_the_file(options, cell, remarks):
    net = Net(inputs=2, outputs=1, **options)
    config = load_config("quickstart", [*QUICK, f"model.cell={cell}"])
    assert [*remarks_on(config, find_recurrent(net.state_dict()), parts_of(net))] == remarks


# The embedding and the head.


def found_parts(weights, said=(), *, symbols=True, may_tie=True, inputs=V, outputs=V):
    wanted = Wanted("some", symbols, inputs, outputs, may_tie, False)
    return find_parts(weights, find_recurrent(weights), wanted, dict(said))


def test_an_equal_embedding_and_head_are_one_only_where_a_model_may_tie_them():
    matrix = torch.randn(V, E)
    weights = {"emb.weight": matrix, **weights_of(rnn=nn.LSTM(E, E)), "fc.weight": matrix.clone()}
    for may_tie in (True, False):
        parts = found_parts(weights, may_tie=may_tie)
        assert parts.tied == may_tie
        assert torch.equal(parts.embedding, matrix)
        assert torch.equal(parts.head, matrix)


def test_the_weight_with_a_bias_beside_it_is_the_head_wherever_it_stands():
    head, recurrent, embedding = nn.Linear(E, V), nn.LSTM(E, E), torch.randn(V, E)
    weights = weights_of(a=head, rnn=recurrent) | {"b.weight": embedding}  # neither the names nor the order tell
    parts = found_parts(weights)
    assert parts.embedding is embedding
    assert torch.equal(parts.head, head.weight)
    assert torch.equal(parts.bias, head.bias)


def test_a_layer_with_a_bias_is_no_embedding():
    weights = weights_of(first=nn.Linear(E, V), rnn=nn.LSTM(E, 5), fc=nn.Linear(5, V))
    with pytest.raises(ConfigError, match=r"first\.weight \[7, 4\] would fit as the embedding, but has a bias beside"):
        found_parts(weights)


def test_a_named_embedding_counts_where_symbols_could_enter_one_hot():
    recurrent, head = nn.LSTM(V, E), nn.Linear(E, V)
    square = {"x": torch.randn(V, V)}
    said = {"encoder.weight": "x"}
    assert found_parts(square | weights_of(rnn=recurrent, fc=head), said).embedding is square["x"]
    assert found_parts(weights_of(rnn=recurrent, fc=head)).embedding is None
    for shape, message in (
        ((V, 3), r"no weight is the embedding, which must be \[7, 7\]"),
        ((V + 1, V), "x has 8 symbols, but task 'some' has 7"),
    ):
        with pytest.raises(ConfigError, match=message):
            found_parts({"x": torch.randn(shape)} | weights_of(rnn=recurrent, fc=head), said)


def test_numbers_need_no_embedding_that_a_user_names():
    weights = {"x": torch.randn(2, 2)} | weights_of(rnn=nn.LSTM(2, E), fc=nn.Linear(E, 1))
    with pytest.raises(ConfigError, match=r"--rename \.\.\.=encoder\.weight: task 'some' takes numbers, and needs no"):
        found_parts(weights, {"encoder.weight": "x"}, symbols=False, inputs=2, outputs=1)


def test_two_weights_that_could_be_the_bias_of_the_head_are_refused():
    weights = weights_of(rnn=nn.LSTM(2, E), fc=nn.Linear(E, 3, bias=False))
    numbers = {"symbols": False, "inputs": 2, "outputs": 3}
    one, other = {"a_bias": torch.ones(3)}, {"b_bias": torch.zeros(3)}
    assert found_parts(weights | one, **numbers).bias is one["a_bias"]
    with pytest.raises(ConfigError, match=r"without a place in the model: a_bias \[3\], b_bias \[3\]; "):
        found_parts(weights | one | other, **numbers)


# The file.


def names_in(content):
    return [*read_weights(content).tensors]


@pytest.mark.parametrize("before", ["module.module.", "module._orig_mod.module.", "_orig_mod.module.module.module."])
def test_every_wrapper_around_a_module_is_left_out(before):
    weights = lstm()
    assert names_in({before + name: one for name, one in weights.items()}) == [*weights]


def test_a_part_that_is_called_module_keeps_its_name():
    names = ["module.fc.weight", "head.weight"]
    assert names_in({name: torch.ones(1) for name in names}) == names


def test_names_that_would_be_the_same_stay_as_they_are():
    content = {"a.w": torch.zeros(1), "a._orig_mod.w": torch.ones(1)}
    found = read_weights(content).tensors
    assert [*found] == [*content]
    assert all(torch.equal(found[name], one) for name, one in content.items())


def test_what_is_called_model_may_be_the_model_or_a_part_of_it():
    recurrent, head = nn.LSTM(2, 3).state_dict(), nn.Linear(3, 1).state_dict()
    whole = read_weights({"model": recurrent, "epoch": 1})
    assert [*whole.tensors] == [*recurrent]
    assert whole.remarks == ["not read, as they are no weights: epoch"]
    parts = {f"model.{name}": one for name, one in recurrent.items()} | {
        f"fc.{name}": one for name, one in head.items()
    }
    for content in ({"model": recurrent, "fc": head}, {"model": recurrent, "fc": head, "epoch": 1}, parts):
        assert sorted(names_in(content)) == sorted(parts)
    beside = read_weights({"model": recurrent, "optimizer": {"fc": head}, "epoch": 1})
    assert [*beside.tensors] == [*recurrent]
    assert beside.remarks == ["read 'model' alone, and not optimizer, epoch beside it"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_weights_of_whole_numbers_with_a_scale_are_refused():
    with pytest.raises(CheckpointError, match=r"^a state_dict: fc\.weight is no dense tensor; give a file that"):
        read_weights(lstm(**{"fc.weight": torch.quantize_per_tensor(torch.ones(1, 5), 0.1, 0, torch.qint8)}))


def test_files_without_weights_say_what_they_lack(tmp_path):
    file = tmp_path / "m.safetensors"
    save_file({}, file)
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(file))}: holds no weights; give a file that"):
        read_weights(file)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(file))}: is no file of PyTorch or safetensors; give"):
        read_weights(file)


# The vocabulary.


def test_a_word_that_the_model_lacks_counts_as_unknown(text_folder, tmp_path):
    config = load_config("words", [f"task.path={text_folder}"])
    tokens = ["unicorn", *reversed([token for token in build_task(config).vocabulary if token not in ("dog", "cat")])]
    (tmp_path / "v").write_text("\n".join(tokens))
    rows = read_rows(tmp_path / "v", build_task(config))

    def read(split):
        words = (text_folder / f"{split}.txt").read_text().replace("\n", " <eos> ").split()
        return ["<unk>" if word in ("dog", "cat") else word for word in words]

    counts = Counter(read("train"))
    assert counts["<unk>"] == 40
    assert dict(zip(rows.vocabulary.tokens, rows.vocabulary.counts, strict=True)) == {
        token: counts[token] for token in tokens
    }
    total, predicted = counts.total() + len(tokens), read("test")[1:]
    nats = -sum(math.log((counts[token] + 1) / total) for token in predicted) / len(predicted)
    baseline = build_task(config, rows.vocabulary).baseline("test")
    assert baseline["perplexity"] == pytest.approx(math.exp(nats))


def test_a_word_that_looks_like_another_one_as_it_is_shown(tmp_path):
    """A zero-width space is shown as \\u200b; a text may have these six characters too."""
    hidden, spelt = "a\u200bb", r"a\u200bb"
    text = f"{spelt} {spelt} {hidden} c\n" * 8
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8")
    task = build_task(load_config("words", [f"task.path={tmp_path}"]))
    assert task.vocabulary.index(spelt) < task.vocabulary.index(hidden)
    for tokens in (task.vocabulary, [*reversed(task.vocabulary)]):
        (tmp_path / "v").write_text("\n".join(tokens), encoding="utf-8")
        assert read_rows(tmp_path / "v", task).tokens == tokens


# The run.


def test_a_perplexity_that_is_not_finite_is_refused_though_the_loss_is(text_folder, tmp_path):
    task = words_of(text_folder)
    net = language_model(task)
    with torch.no_grad():
        net.fc.bias[task.vocabulary.index("<unk>")] = 1e4  # no word of the text
    with pytest.raises(CheckpointError, match=r"the validation loss is \d+(\.\d+)? and perplexity is inf; check"):
        imported(net, tmp_path, *TEXT, f"task.path={text_folder}", like="words")
    assert not (tmp_path / "run").exists()


def test_the_summary_has_the_threads_of_the_config(tmp_path):
    before = torch.get_num_threads()
    made = import_torch(lstm(), "quickstart", [*QUICK, f"threads={before + 1}"], out=tmp_path / "run")
    assert made.summary.threads == before + 1
    assert torch.get_num_threads() == before  # as the caller has it
