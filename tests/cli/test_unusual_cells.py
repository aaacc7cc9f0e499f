"""What can be trained can be saved, read, resumed and evaluated; what cannot is refused before the first step."""

import sys
from pathlib import Path

import pytest
import torch

from seqtrain import evaluate, train
from seqtrain.models.layout import copied
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.system.errors import SeqtrainError

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated", "ignore:Sparse CSR", "ignore:Lazy")


@pytest.fixture
def on_text(monkeypatch, tmp_path, text_folder):
    """Train a cell on a small text, where the state is carried from step to step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "unusual_cells", None)
    del sys.modules["unusual_cells"]

    def call(cell, *more, out="run", **options):
        small = ["batch_size=4", "eval_batch_size=4", "steps=4", "eval_every=2", "log_every=2"]
        common = [f"task.path={text_folder}", "task.window=4", "task.fractions=null", "model.hidden_size=6"]
        common += ["model.depth=1", "model.dropout=0", *(f"train.{setting}" for setting in small)]
        named = [f"model.cell=unusual_cells:{cell}", f"model.cell.folder={Path(__file__).parent}"]
        return train("words", [*common, *named, *more], out=out, **options)

    return call


def tensors_of(run):
    checkpoint = load_checkpoint(Path(run, "last.safetensors"))
    return checkpoint.weights | checkpoint.training


@pytest.mark.parametrize(
    "cell",
    [
        "Transposed", "Slices", "Shared", "OddBuffers", "OddWeights", "OldWeightNorm", "NewWeightNorm", "BatchNorm",
        "RunningMean", "ExtraState", "TransposedState", "Even", "Square", "FixedBatch",
    ],
)  # fmt: skip
def test_an_unusual_cell_is_resumed_bit_for_bit_and_evaluated(on_text, cell):
    on_text(cell, "train.average_after=1", out="whole")
    on_text(cell, "train.average_after=1", "train.steps=2", out="parts")
    resumed = on_text(cell, "train.average_after=1", out="parts", resume=True)
    whole, parts = tensors_of("whole"), tensors_of("parts")
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert tensor.flatten().view(torch.uint8).equal(parts[name].flatten().view(torch.uint8)), name
    assert evaluate("parts").figures["perplexity"] == resumed.summary.test["perplexity"]


def test_slices_are_trained_as_their_copies_are(on_text):
    """The fused optimizers of torch take every weight for contiguous: they change the numbers beside a slice."""
    on_text("Slices", out="slices")
    on_text("Copies", out="copies")
    slices, copies = tensors_of("slices"), tensors_of("copies")
    assert all(torch.equal(tensor, copies[name]) for name, tensor in slices.items())


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("Tied", "stack.layers.0.0.v shares memory with stack.layers.0.0.u; keep only stack.layers.0.0.u"),
        ("Expanded", "bias has several elements at one place in memory; make it of its true size"),
        ("SparseWeight", "u is sparse, and a checkpoint holds dense tensors only; make it dense"),
        ("SparseBuffer", "mask is sparse, and a checkpoint holds dense tensors only; make it dense"),
        ("SparseGradient", "the gradient of stack.layers.0.0.table.weight is sparse; make it with sparse=False"),
        ("DoubleComplex", "safetensors cannot store stack.layers.0.0.roots (torch.complex128); use dense tensors"),
        ("Lazy", "inner.weight has no size before the first step; give its size when the cell is made"),
        ("WithoutNumbers", "mean is on the device meta, so it has no numbers; make it on the CPU"),
        ("LateBuffer", "'stack.layers.0.0.mean' has no place in the model); make all weights and buffers when"),
        ("ExtraDict", "_extra_state is a dict, and a checkpoint holds tensors only; make it a tensor"),
        ("ForgetfulState", "has other values after it was saved and read back; load_state_dict and set_extra_state"),
        ("DoubleOutput", "its outputs are float64, the next layer needs float32; return hidden.to(torch.float32)"),
        ("OtherStart", "carried/0/0/hidden is [4, 6] float32, it must be [4, 6] float16); make all weights"),
        ("Ragged", "cannot take a step: TypeError: "),
    ],
)
def test_what_cannot_be_saved_or_resumed_is_refused_before_the_first_step(on_text, cell, wanted):
    with pytest.raises(SeqtrainError) as refused:
        on_text(cell)
    assert f"model.cell 'unusual_cells:{cell}'" in str(refused.value)
    assert wanted in str(refused.value)
    assert not Path("run/config.yaml").exists()


def test_batch_norm_of_one_sequence_is_refused(on_text):
    with pytest.raises(SeqtrainError, match="cannot take a training step with 1 sequences: ValueError: Expected more"):
        on_text("BatchNorm", "train.batch_size=1")


def test_what_the_first_checkpoint_lacks_is_known_at_once(on_text):
    with pytest.raises(SeqtrainError, match=r"last\.safetensors: its weights do not fit .*'stack.layers.0.0.mean' has"):
        on_text("LaterBuffer", "train.steps=40", "train.eval_every=20")


@pytest.mark.parametrize(
    ("cell", "remark"),
    [
        ("UnsavedMean", "training changes stack.layers.0.0.mean, which a checkpoint does not hold (persistent=False)"),
        ("FixedBatch", "cannot take 2 steps with 2 sequences (ValueError: not 4 sequences); it was tried with 4"),
        ("FixedBatch", "the estimate of memory is too small: it lacks the activations of unusual_cells:FixedBatch"),
    ],
)
def test_a_remark_says_what_a_cell_does_not_allow(on_text, capsys, cell, remark):
    on_text(cell, quiet=False)
    assert remark in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("inf"), "model.cell.a is inf; it must be a finite number"),
        ([1, {"b": float("nan")}], "model.cell.a is nan; it must be a finite number"),
        ({1, 2}, "model.cell.a is {1, 2}; it must be text, a number, true, false, null, or a list or mapping of these"),
        ("\ud800", "its options cannot be written to config.yaml and read back"),
        (10**5000, "its options cannot be written to config.yaml and read back"),
        (list(range(20_000)), "its options cannot be written to config.yaml and read back"),
        ("x" * 300_000, "its options cannot be written to config.yaml and read back"),
        (list(range(1500)), None),
        (10**700, None),
    ],
    ids=[
        "infinite",
        "nested",
        "set",
        "surrogate",
        "5000 digits",
        "20000 entries",
        "long",
        "1500 entries",
        "700 digits",
    ],
)
def test_options_that_cannot_be_written_back_are_refused(monkeypatch, tmp_path, value, wanted):
    monkeypatch.chdir(tmp_path)
    cell = {"name": "unusual_cells:Plain", "folder": str(Path(__file__).parent), "a": value}
    data = {
        "task": {"name": "adding", "length": 3, "valid_size": 4, "test_size": 4},
        "model": {"cell": cell, "hidden_size": 3},
        "train": {"steps": 2, "batch_size": 2, "eval_every": 1},
    }
    if wanted is None:
        train(data, out="run")
        assert train("run", ["train.steps=3"], resume=True).summary.steps == 3
        assert evaluate("run").step <= 3
        return
    with pytest.raises(SeqtrainError) as refused:
        train(data, out="run")
    assert wanted in str(refused.value)
    assert not Path("run/config.yaml").exists()


def test_sizes_are_matched_with_a_cell_that_refuses_some(seqtrain, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    planned = ("compare", "quickstart", "model.hidden_size=7", "--cells", "lstm,unusual_cells:Even", "--seeds", 1)
    refused = seqtrain(*planned, "--dry-run")
    assert (refused.code, "cannot take a step: ValueError: hidden_size must be even" in refused.err) == (2, True)
    matched = seqtrain(*planned, "--match", "params", "--dry-run")
    assert (matched.code, "unusual_cells:Even 16 (" in matched.err) == (0, True), matched.err


def test_a_copy_of_a_module_has_its_computed_tensors():
    linear = torch.nn.utils.weight_norm(torch.nn.Linear(2, 3))
    other = copied(linear)
    x = torch.ones(1, 2)
    assert torch.equal(linear(x), other(x))
    assert other.weight_v is not linear.weight_v
