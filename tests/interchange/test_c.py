"""The exported C beside the model: compiled without a warning, it computes the same in every cell, option and head."""

import ctypes
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from c_programs import CC, STRICT, compiled, compiler, error, flat, header
from conftest import SMALL, SMALL_SETS
from exported import CELLS, HEADS, trained

from seqtrain import evaluate, export, load_text_model, train
from seqtrain.config.build import build_task
from seqtrain.inference.load import load_trained
from seqtrain.interchange import c_format, c_literals
from seqtrain.interchange.c_interface import interface
from seqtrain.interchange.c_model import c_model
from seqtrain.interchange.int8 import rounded as in_eight_bits
from seqtrain.interchange.meaning import Meaning, Numbers
from seqtrain.interchange.samples import Inputs, draw_state, inputs_of
from seqtrain.models import TiedHead
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.system.errors import ConfigError
from seqtrain.tasks.tagging.features import shape_of, symbols_of

pytestmark = pytest.mark.skipif(CC is None, reason="there is no C compiler")

T, B = 5, 2
CLOSE = 1e-5


def every_model():
    """Every cell with every option in one layer and in two, and every head; by turns with learnt states and zoneout."""
    models = {}
    for number, cell in enumerate(CELLS):
        for depth, sizes in enumerate(([6], [4, 7])):
            head = [*HEADS][(number + 3 * depth) % len(HEADS)]
            zoneout = {"zoneout_hidden": 0.1} if number % 3 == depth else {}
            if zoneout and cell["name"] not in ("rnn", "gru"):
                zoneout |= {"zoneout_memory": 0.3}
            own = cell | {"learn_initial_state": (number + depth) % 2 == 0}
            models[f"m{len(models)}"] = trained(own, head, hidden_size=sizes, depth=len(sizes), **zoneout)
    return models


def with_words(one, words):
    """The same model with other words."""
    return one._replace(header=one.header.model_copy(update={"vocabulary": words}))


def errors(models, programs):
    """By name those above `CLOSE`."""
    found = {}
    for name, one in models.items():
        inputs = Inputs(one.header.spec.symbols, one.header.spec.input_size).draw(T, B)
        of_both = [error(one, programs[name], inputs, state) for state in (None, draw_state(one.model, B))]
        found[name] = float(np.max(of_both))  # NaN if one is
    return {f"{name}: {models[name].config.model}": value for name, value in found.items() if not value <= CLOSE}


def test_every_cell_in_one_layer_and_in_two_computes_what_the_model_does(tmp_path):
    models = every_model()
    parts = [one.model.encoder for one in models.values()] + [
        one.model.head.projection for one in models.values() if isinstance(one.model.head, TiedHead)
    ]
    assert {type(part).__name__ for part in parts} == {"Identity", "OneHot", "Embedding", "Linear"}
    assert errors(models, compiled({name: header(one) for name, one in models.items()}, tmp_path)) == {}


@pytest.mark.parametrize("int8", [False, True])
def test_every_head_computes_what_the_model_does_also_with_rounded_weights(tmp_path, monkeypatch, int8):
    """The rounding is restated: the largest number of a row is 127. A product has more rows than are summed together.

    No score of the adaptive softmax has an exponential in float32, and what it gives is the same as without that.
    """
    monkeypatch.setattr(c_format, "MOST_TOGETHER", 4)
    cells = [
        {"name": "lstm"},
        {"name": "gru", "reset": "before"},
        {"name": "odyssey", "ablation": "full_gate_recurrence"},
    ]
    models = {f"m{n}": trained(cells[n % 3], head, hidden_size=[4, 6], depth=2) for n, head in enumerate(HEADS)}
    adaptive = models[f"m{[*HEADS].index('adaptive')}"].model
    with torch.no_grad():
        adaptive.head.clusters.head.bias.sub_(110.0)
    texts = {name: header(one, int8=int8) for name, one in models.items()}
    programs = compiled(texts, tmp_path)
    for name, one in models.items():
        y, _ = programs[name].run(Inputs(*one.header.spec[1::-1]).draw(T, 1)[:, 0], programs[name].initial())
        assert ("log-probabilities" in said_of("y", texts[name])) == (one.model is adaptive)
        assert np.allclose(np.exp(y).sum(1), 1) == (one.model is adaptive)
        assert ("after the last step of a sequence" in said_of("y", texts[name])) == (not one.header.spec.every_step)
    if int8:
        for name, one in models.items():
            assert error(one, programs[name], Inputs(*one.header.spec[1::-1]).draw(T, B)) > 10 * CLOSE
            for key, parameter in one.model.named_parameters():
                if parameter.dim() == 2 and not key.endswith(".p"):
                    parameter.data.copy_(torch.from_numpy(restated(parameter.detach().numpy())))
    assert errors(models, programs) == {}


def said_of(name, text):
    """The lines of the comment on an argument, as one."""
    return " ".join(re.search(rf"^ \* {name}: +(.*(?:\n \*  .*)*)", text, re.MULTILINE)[1].replace("\n *", "").split())


def restated(w):
    """A matrix after rounding."""
    scale = np.abs(w).max(1, keepdims=True) / np.float32(127)
    return (np.rint(w / scale) * scale).astype(np.float32)


def test_several_symbols_a_step_are_added_and_what_is_no_symbol_adds_nothing(tmp_path):
    models = {head: trained({"name": "lstm"}, head) for head in ("classes", "tags", "tied")}
    texts = {head: header(one) for head, one in models.items()}
    three = {f"{name}_3": re.sub(r"(define MODEL_INPUTS +)1 ", r"\g<1>3 ", text) for name, text in texts.items()}
    programs = compiled(texts | three, tmp_path)
    for name, one in zip(texts, models.values(), strict=True):
        inputs = torch.randint(5, (T, B, 3), generator=torch.Generator().manual_seed(0))
        assert error(one, programs[f"{name}_3"], inputs) <= CLOSE
        start = programs[name].initial()
        for strange in (-1.0, -0.5, one.header.spec.input_size, 1e30, -np.inf, np.nan):
            _, after = programs[name].run(torch.full((1, 1), strange), start)
            with torch.no_grad():
                _, _, wanted = one.model.stack(torch.zeros(1, 1, one.model.stack.input_size))
            np.testing.assert_allclose(after, flat(wanted, 0), atol=1e-6)


def test_of_tagging_the_header_says_how_many_symbols_a_step_has(tmp_path):
    run = train("agreement", (*SMALL, "model.direction=forward"), out=tmp_path / "run").path
    export(run, "c", tmp_path / "model.h")
    text = (tmp_path / "model.h").read_text()
    one = load_trained(run)
    fitted = one.header.fitted
    assert f"#define MODEL_INPUTS   {len(fitted['alphabets'])} " in text
    assert f"#define MODEL_SYMBOLS  {sum(map(len, fitted['alphabets']))} " in text
    names = re.search(r"model_output_names\[MODEL_OUTPUTS\] = \{\n(.*?)\};", text, re.DOTALL)[1]
    assert re.findall(r'"(.*)"', names) == [*fitted["tags"], "any other tag"]
    inputs = torch.randint(one.header.spec.input_size, (T, B, len(fitted["alphabets"])))
    assert error(one, compiled({"model": text}, tmp_path)["model"], inputs) <= CLOSE
    lines = re.findall(r"^ \* +x\[(\d)\]: (.*), from (\d+) to (\d+), `<unk>`", text, re.MULTILINE)
    settings = one.config.task
    words = ["sheep", "Barn", "near", "the", "3-D", "Xq"]
    symbols = symbols_of(words, fitted["alphabets"], settings.suffixes, shape=settings.shape)
    assert [int(number) for number, *_ in lines] == [*range(symbols.shape[1])]
    vocabulary = [symbol for alphabet in fitted["alphabets"] for symbol in alphabet]
    for column, (_, what, first, last) in zip(symbols.T.tolist(), lines, strict=True):
        assert all(int(first) <= symbol <= int(last) for symbol in column)
        assert [n for n in range(int(first), int(last) + 1) if vocabulary[n] == "<unk>"] == [int(first)]
        assert int(last) + 1 == len(vocabulary) or vocabulary[int(last) + 1] == "<unk>"
        parts = [part_of(word, what) for word in words]
        assert [vocabulary[symbol] for symbol in column if vocabulary[symbol] != "<unk>"] == [
            part for part, symbol in zip(parts, column, strict=True) if vocabulary[symbol] != "<unk>"
        ]
        assert any(vocabulary[symbol] != "<unk>" for symbol in column)


def part_of(word, what):
    """What a name of the comment stands for."""
    size = re.fullmatch(r"its last (\d+ )?characters?", what)
    named = {"the word": word, "its shape": shape_of(word)}
    return word[-int(size[1] or 1) :] if size else named[what]


def test_of_a_table_the_formulas_and_scales_of_the_header_give_its_values(tmp_path):
    draw = np.random.default_rng(0)
    columns = {"y": np.round(draw.normal(50, 9, 60), 3), "x": np.round(draw.normal(-7, 3, 60), 3)}
    lines = [",".join(columns), *(f"{y},{x}" for y, x in zip(*columns.values(), strict=True))]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    config = {
        "task": {"name": "series", "path": str(tmp_path / "table.csv"), "targets": ["y"], "inputs": ["x"]},
        "model": {"cell": "rnn", "hidden_size": 3},
        "train": {"steps": 1, "batch_size": 2},
    }
    (tmp_path / "table.yaml").write_text(json.dumps(config))
    one = load_trained(train(str(tmp_path / "table.yaml"), out=tmp_path / "run").path)
    text = header(one)

    def table(name):
        return re.findall(r"^ +(.*),$", re.search(rf"{name}\[\w+\] = \{{\n(.*?)\}};", text, re.DOTALL)[1], re.MULTILINE)

    assert table("model_input_names") == ['"y"', '"x"']
    scales = {f"model_{name}": [*map(float, table(f"model_{name}"))] for name in
              ("input_mean", "input_spread", "output_mean", "output_spread")}  # fmt: skip
    to_number, to_value = re.search(r"x\[n\] = (.*?)\.", text)[1], re.search(r"value = (y\[n\].*)\.", text)[1]
    task = build_task(one.config, fitted=one.header.fitted)
    batches = [*task.eval_batches("test", 1)]
    inputs, targets = (torch.cat([getattr(b, side) for b in batches])[:, 0].numpy() for side in ("inputs", "targets"))
    first = len(columns["y"]) - len(inputs) - 1  # the last row has no later one
    for n, values in enumerate(columns.values()):
        found = [eval(to_number, scales | {"n": n, "value": value}) for value in values[first:-1]]
        np.testing.assert_allclose(inputs[:, n], found, atol=1e-5)
    found = np.array([eval(to_value, scales | {"n": 0, "y": y}) for y in targets.tolist()])
    of_test = ~np.isnan(found)
    assert of_test.sum() >= 5
    np.testing.assert_allclose(found[of_test], columns["y"][first + 1 :][of_test], atol=1e-4)


def test_without_y_the_state_is_the_same(tmp_path):
    models = {head: trained({"name": "peephole"}, head) for head in ("regression", "classes", "adaptive")}
    programs = compiled({name: header(one) for name, one in models.items()}, tmp_path)
    for name, one in models.items():
        inputs = Inputs(one.header.spec.symbols, one.header.spec.input_size).draw(T, 1)[:, 0]
        program = programs[name]
        (_, state), (nothing, same) = (program.run(inputs, program.initial(), y=y) for y in (True, False))
        assert np.array_equal(state, same)
        assert np.isnan(nothing).all()


# --- text -------------------------------------------------------------------------------------------------------


def test_numbers_are_read_back_with_the_same_bits(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, np.uint32)
    values = np.concatenate([bits.view(np.float32), np.float32([0, -0.0, 1, -1, 2**24, 1e-37, 3.4028235e38, 1 / 3])])
    exponent = values.view(np.uint32) >> 23 & 255
    values = values[(exponent < 255) & ((exponent > 0) | (values.view(np.uint32) << 1 == 0))]  # finite, not subnormal
    doubles = np.random.default_rng(1).normal(size=200) * 10.0 ** np.arange(-100, 100)
    text = f"const float floats[] = {{\n{c_literals.floats(torch.from_numpy(values))}}};\n"
    text += f"const double doubles[] = {{\n{c_literals.doubles(doubles)}}};\n"
    (tmp_path / "numbers.c").write_text(text)
    compiler(*STRICT, "-fPIC", "-shared", "-o", tmp_path / "numbers.so", tmp_path / "numbers.c")
    library = ctypes.CDLL(str(tmp_path / "numbers.so"))
    assert bytes((ctypes.c_float * len(values)).in_dll(library, "floats")) == values.tobytes()
    assert bytes((ctypes.c_double * len(doubles)).in_dll(library, "doubles")) == doubles.tobytes()


HOSTILE = ['"', "\\", "??=", "??/", "'", "\n\r\t\v", "größe", "語1", "\u202e*/", "\x7f\x00\x0123", "%s\\n", "/*"]


def test_words_are_those_of_the_vocabulary_whatever_they_hold(tmp_path):
    words = [["<unk>", *HOSTILE[:8]], ["<unk>", *HOSTILE[8:], *map(str, range(4))]]
    for strings in words:
        one = with_words(trained({"name": "rnn"}, "words"), strings)
        one = one._replace(header=one.header.model_copy(update={"variant": "*/ int x; /* ??/\n\\ \u202e ö ??/"}))
        folder = tmp_path / str(words.index(strings))
        folder.mkdir()
        (folder / "model.h").write_text(header(one), "ascii")
        exports = "const char *word(int n);\nconst char *word(int n) { return model_vocabulary[n]; }\n"
        (folder / "words.c").write_text(f'#include "model.h"\n{exports}')
        compiler(*STRICT, "-fPIC", "-shared", "-o", folder / "words.so", folder / "words.c", "-lm")
        library = ctypes.CDLL(str(folder / "words.so"))
        library.word.restype = ctypes.c_void_p
        for number, word in enumerate(strings):
            size = len(word.encode())
            assert ctypes.string_at(library.word(number), size + 1) == word.encode() + b"\0"


MAIN = """
#include "model.h"
float other(void);
int main(void)
{
    float x = 1.0f, state[MODEL_STATE], y[MODEL_OUTPUTS];
    model_init(state);
    if (other() != state[0])
        return 1;
    model_step(&x, state, y);
    return !(y[0] < 0.0f);
}
"""
OTHER = """
#include "model.h"
float other(void);
float other(void) { float state[MODEL_STATE]; model_init(state); return state[0]; }
"""


def test_several_files_include_it_and_need_not_use_it(tmp_path):
    for int8 in (False, True):
        text = header(trained({"name": "gru", "learn_initial_state": True}, "adaptive"), int8=int8)
        (tmp_path / "model.h").write_text(text)
        for name, code in {"main": MAIN, "other": OTHER, "unused": '#include "model.h"\n#include "model.h"\n'}.items():
            (tmp_path / f"{name}.c").write_text(code)
        compiler(*STRICT, "-O3", "-o", "main", "main.c", "other.c", "unused.c", "-lm", cwd=tmp_path)
        assert subprocess.run([tmp_path / "main"], check=False).returncode == 0
        if shutil.which("c++"):
            compiler("-x", "c++", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "main.c", cwd=tmp_path)


def test_nothing_is_allocated_or_kept_between_calls():
    for one in (trained({"name": "lstm"}, "adaptive"), trained({"name": "gru", "reset": "before"}, "classes")):
        text = header(one)
        assert re.findall(r"#include (\S+)\n", text.partition("*/")[2]) == ["<math.h>"]
        assert set(re.findall(r"\bstatic (\w+)", text)) == {"const", "inline"}
        assert "alloc" not in text.replace("is allocated", "")


@pytest.mark.parametrize("head", ["classes", "projected", "adaptive"])
def test_the_comment_knows_the_arrays_on_the_stack(head):
    """Those of all functions of a cell that has the most, and what calls need beside them."""
    text = header(trained({"name": "odyssey", "ablation": "full_gate_recurrence"}, head, hidden_size=100))
    lines = re.findall(r"^ +float (.*);", text.partition("static inline")[2], re.MULTILINE)
    needed = 4 * sum(int(size) for line in lines for size in re.findall(r"\w\[(\d+)\]", line))
    said = int(re.search(r"it needs about\n \* ([\d,]+) bytes", text)[1].replace(",", ""))
    assert needed + c_format.FRAMES <= said <= 1.25 * needed + c_format.FRAMES


def test_two_models_in_one_file_are_an_error_also_two_of_one_run(tmp_path):
    models = {"a": trained({"name": "rnn"}), "b": trained({"name": "rnn"}, hidden_size=4)}
    for name, one in models.items():
        own = one._replace(header=one.header.model_copy(update={"sha256": name * 64}))
        (tmp_path / f"{name}.h").write_text(header(own))
        (tmp_path / f"{name}8.h").write_text(header(own, int8=True))
    for other in ("b", "a8"):
        (tmp_path / "both.c").write_text(f'#include "a.h"\n#include "{other}.h"\n')
        with pytest.raises(AssertionError, match=r"redefin|conflicting"):
            compiler(*STRICT, "-fsyntax-only", "both.c", cwd=tmp_path)


# --- eight bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["quickstart", "words"])
def test_the_losses_are_those_that_eval_finds(seqtrain, tmp_path, config):
    sets = SMALL_SETS if config == "quickstart" else ("task.path=shipped:stories/valid.txt",)
    run = train(config, (*SMALL, *sets), out=tmp_path / "run").path
    assert "let it end in .h" in seqtrain("export", run, "--to", "c", "--out", "model.c").err
    called = seqtrain("export", run, "--to", "c", "--int8", "--json")
    assert called.code == 0
    figures = called.json["figures"]
    assert figures["float32"]["loss"] == evaluate(run).figures["loss"]
    checkpoint = load_checkpoint(run / "best.safetensors").for_evaluation()
    for weight in checkpoint.weights.values():
        if weight.dim() == 2:
            weight.copy_(torch.from_numpy(restated(weight.numpy())))
    save_checkpoint(tmp_path / "rounded.safetensors", checkpoint)
    rounded = evaluate(tmp_path / "rounded.safetensors").figures["loss"]
    assert figures["int8"]["loss"] == pytest.approx(rounded, rel=1e-6)
    assert rounded != figures["float32"]["loss"]
    shown = seqtrain("export", run, "--to", "c", "--int8", "--overwrite").out
    assert f" test loss in int8     {rounded:.4g}\n" in shown
    if config == "words":
        start = re.search(r"#define MODEL_START +(\d+) ", (run / "model.h").read_text())[1]
        assert load_text_model(run).vocabulary.tokens[int(start)] == "<eos>"


def test_the_losses_of_a_run_in_bfloat16_are_those_in_float32(seqtrain, monkeypatch):
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "emulated")
    assert seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "precision=bfloat16", "--out", "run").code == 0
    figures = seqtrain("export", "run", "--to", "c", "--int8", "--json").json["figures"]
    checkpoint = load_checkpoint(Path("run/best.safetensors")).for_evaluation()
    assert checkpoint.header.config["precision"] == "bfloat16"
    checkpoint.header.config["precision"] = "float32"
    save_checkpoint(Path("single.safetensors"), checkpoint)
    assert figures["float32"]["loss"] == evaluate("single.safetensors").figures["loss"]
    assert figures["float32"]["loss"] != evaluate("run").figures["loss"]


def test_without_its_data_a_model_is_written_and_its_loss_is_not_measured(seqtrain, text_folder):
    run = train("words", (*SMALL, f"task.path={text_folder}"), out="run").path
    shutil.rmtree(text_folder)
    called = seqtrain("export", run, "--to", "c", "--int8", "--json")
    assert called.code == 0
    assert called.json["figures"] == {"float32": {"loss": None}, "int8": {"loss": None}}
    (remark,) = called.json["remarks"]
    assert remark.startswith("the loss on the test set was not measured: ")
    assert str(text_folder) in remark
    assert "int8_t model_encoder_weight" in (run / "model.h").read_text()
    assert "not measured" in seqtrain("export", run, "--to", "c", "--int8", "--overwrite").out


def test_a_row_of_zeros_stays_zero(tmp_path):
    one = trained({"name": "rnn"}, "regression")
    with torch.no_grad():
        one.model.head.weight[0] = 0.0
        one.model.head.weight[1] = 0.0
        one.model.head.weight[1, :3] = torch.tensor([1e-44, 0.0, -1e-44])
    program = compiled({"m": header(one, int8=True)}, tmp_path)["m"]
    y, _ = program.run(torch.ones(1, 3), program.initial())
    np.testing.assert_array_equal(y[0], one.model.head.bias.detach().numpy())


def test_the_option_belongs_to_c(seqtrain):
    called = seqtrain("export", "run", "--to", "safetensors", "--int8")
    assert called.code == 2
    assert "--int8 is for --to c; leave it out" in called.err


def test_a_row_of_zeros_stays_zero_in_eight_bits():
    weight = torch.tensor([[0.0, 0.0], [1e-44, 0.0], [1e-37, -1e-37], [1.0, -2.0]])
    torch.set_flush_denormal(False)  # as in a program that seqtrain does not start
    try:
        found = in_eight_bits(weight)
        assert not found.numbers[:3].any()
        assert not found.scale[:3].any()
    finally:
        torch.set_flush_denormal(True)
    torch.testing.assert_close(found.weight[3], weight[3], rtol=0, atol=2 / 127)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_what_c_cannot_hold_is_refused_with_all_reasons(seqtrain, tmp_path, monkeypatch):
    Path("mine.py").write_text("from seqtrain.cells import LSTMCell\n\n\nclass Mine(LSTMCell):\n    pass\n")
    run = train("quickstart", (*SMALL, *SMALL_SETS, "model.cell=mine:Mine", "model.direction=bidirectional")).path
    monkeypatch.setattr(c_format, "MOST_PARAMETERS", 100)
    called = seqtrain("export", run, "--to", "c", "--out", "model.h")
    assert called.code == 2
    for reason in (
        "--to c: cell mine:Mine is your own, and its equations are Python; ",
        "--to c: direction is 'bidirectional', and one step cannot read the future; ",
        "parameters, and a compiler handles at most 100 numbers as text; ",
    ):
        assert reason in called.err
    assert not (tmp_path / "model.h").exists()
    assert [line.rpartition("; ")[2] for line in called.err.splitlines()] == ["--to torch can"] * 3


def test_a_backward_model_and_a_word_that_is_no_string_of_c99_are_refused():
    with pytest.raises(ConfigError, match="direction is 'backward'"):
        header(trained({"name": "gru"}, direction="backward"))
    words = ["<unk>", "é" * 2048, *map(str, range(7))]
    with pytest.raises(ConfigError, match="a word or name has 4,096 bytes, and a string of C99 at most 4,095"):
        header(with_words(trained({"name": "gru"}, "words"), words))
    header(with_words(trained({"name": "gru"}, "words"), ["<unk>", "é" * 2047, *words[2:]]))


def test_a_number_that_is_no_symbol_adds_nothing(tmp_path):
    models = {head: trained({"name": "gru"}, head) for head in ("classes", "words")}  # one-hot, and looked up
    programs = compiled({head: header(one) for head, one in models.items()}, tmp_path)
    for program in programs.values():

        def says(x, program=program):
            y, state = program.run(torch.tensor([[x]]), program.initial())
            return np.concatenate([y.ravel(), state])

        nothing = says(-1.0)
        assert all(np.array_equal(says(x), nothing) for x in (1.5, 0.001, 99.0, float("nan"), float("inf")))
        assert not np.array_equal(says(1.0), nothing)


def test_the_comment_says_what_a_sequence_starts_after():
    one = trained({"name": "gru"}, "values")
    numbers = Meaning(inputs=Numbers(["a", "b", "c"]), outputs=Numbers(["a", "b"]))
    said = {
        "": numbers,
        "A sequence starts after a step of zeros": numbers._replace(start=[0.0] * 3),
    }
    for sentence, meaning in said.items():
        comment = "\n".join(interface(one, c_model(one.model), meaning, inputs_of(one)))
        assert ("starts after" in comment) == bool(sentence)
        assert sentence in comment
