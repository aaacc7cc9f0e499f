"""Reading configs, and what is said about wrong ones."""

import pytest
import yaml

from seqtrain.comparison.options import parse_request
from seqtrain.config import Config, config_from, load_config, schema, to_yaml
from seqtrain.config.describe import all_keys, find_setting, sections, setting_at, settings_of
from seqtrain.config.yaml import dump, parse
from seqtrain.models.settings import Model
from seqtrain.system import settings, shipped
from seqtrain.system.errors import ConfigError
from seqtrain.training.optimizers import Adam, Sgd
from seqtrain.training.settings import Train

MINIMAL = "task: {name: adding}\nmodel: {cell: lstm}\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "c.yaml").write_text(text)
        return "c.yaml"

    return write


def faults(name, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(name, overrides)
    return caught.value.faults


def test_short_forms_and_defaults(write):
    config = load_config(write("task: adding\nmodel: {cell: gru}\noptimizer: {lr: 1e-3}\n"))
    assert (config.task.name, config.model.cell.name) == ("adding", "gru")
    assert config.optimizer == Adam(lr=0.001)
    assert config.schedule.name == "constant"
    assert config.model.hidden_size == 128


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-03"])
def test_floats_as_people_write_them(write, text):
    assert load_config(write(MINIMAL + f"optimizer: {{lr: {text}}}\n")).optimizer.lr == 0.001
    assert load_config(write(MINIMAL), [f"optimizer.lr={text}"]).optimizer.lr == 0.001


@pytest.mark.parametrize(("text", "number"), [("010", 10), ("08", 8), ("0", 0), ("+7", 7)])
def test_whole_numbers_are_decimal(write, text, number):
    assert load_config(write(MINIMAL + f"seed: {text}\n")).seed == number
    assert load_config(write(MINIMAL), [f"seed={text}"]).seed == number
    assert load_config(write(MINIMAL), ["model.hidden_size=[010, 08]"]).model.hidden_size == [10, 8]


@pytest.mark.parametrize("text", ["1:40", "0x1F", "0b11", "0o17", "1_000", "1_0.5", "190:20:30.15"])
def test_numbers_in_other_forms_are_refused_with_the_cure(write, text):
    for read in (
        lambda: load_config(write(MINIMAL + f"seed: {text}\n")),
        lambda: load_config(write(MINIMAL), [f"seed={text}"]),
        lambda: load_config(write(MINIMAL), [f"model.hidden_size=[{text}]"]),
    ):
        with pytest.raises(ConfigError, match=f"is '{text}'; it must be a whole number in decimal digits"):
            read()


@pytest.mark.parametrize("text", ["no", "on", "2014-05-01", "1e-3", "010", "1:40", "true", "null", "0x1F", "=", ".5"])
def test_a_text_is_written_so_that_it_is_read_as_text(text):
    assert parse(dump({"option": text}), "config")[1] == {"option": text}


def test_overrides(write):
    config = load_config(
        write(MINIMAL),
        [
            "train.steps=7",
            "model.cell.forget_bias=2",
            "model.direction=bidirectional",
            "task.variant=anywhere",
            "optimizer=sgd",
            "optimizer.momentum=0.5",
            "optimizer.clip_norm=",
        ],
    )
    assert config.train.steps == 7
    assert (config.model.cell.name, config.model.cell.forget_bias) == ("lstm", 2.0)
    assert config.task.variant == "anywhere"
    assert config.optimizer == Sgd(momentum=0.5, clip_norm=None)


TEXT = "task: {name: language_model, path: 'shipped:stories'}\nmodel: {cell: lstm}\n"


@pytest.mark.parametrize(
    ("train", "overrides", "left", "told"),
    [
        (
            "{epochs: 6}",
            ["train.steps=100"],
            (100, None),
            "train.steps=100 takes the place of train.epochs: 6 in c.yaml\n",
        ),
        ("{steps: 50}", ["train.epochs=2"], (None, 2), "train.epochs=2 takes the place of train.steps: 50 in c.yaml\n"),
        ("{steps: 50}", ["train.epochs=2", "train.steps=null"], (None, 2), ""),
        ("{epochs: 6}", ["train.steps=null"], (None, 6), ""),
        ("{epochs: 6}", ["train.epochs=null"], (None, None), ""),
        ("{epochs: 6}", ["train={steps: 9}"], (9, None), ""),
        ("{steps: 50}", ["train.steps=9"], (9, None), ""),
        ("{epochs: null}", ["train.steps=9"], (9, None), ""),
    ],
)
def test_steps_and_epochs_of_the_command_line_take_each_others_place_in_the_file(
    write, capsys, train, overrides, left, told
):
    name = write(f"{TEXT}train: {train}\n")
    found = load_config(name, overrides).train
    assert ((found.steps, found.epochs), capsys.readouterr().err) == (left, told)
    assert load_config(name, overrides, quiet=True).train == found
    assert capsys.readouterr().err == ""


def test_what_stands_in_the_file_or_on_the_command_line_twice_is_refused(write):
    both = "give one, and the other as null (train.epochs=null or train.steps=null)"
    assert faults(write(f"{TEXT}train: {{epochs: 6, steps: 5}}\n"))[0].endswith(both)
    assert faults(write(f"{TEXT}train: {{epochs: 6}}\n"), "train.steps=5", "train.epochs=2")[0].endswith(both)


def test_an_override_may_hold_equals_signs(write, text_folder):
    odd = text_folder.parent / "a=b.txt"
    odd.write_text("x y\n" * 50)
    config = load_config(write("task: {name: language_model, path: x}\nmodel: {cell: rnn}"), [f"task.path={odd}"])
    assert config.task.path == str(odd)


def test_resolved_config_reads_back_equal(write):
    for name, path in shipped.config_paths().items():
        config = load_config(name, ["task.path=shipped:stories"] if "data/ptb" in path.read_text() else [])
        assert load_config(write(to_yaml(config))) == config
        assert config_from(config.model_dump(), "x") == config
    user = load_config(write("task: adding\nmodel: {cell: {name: 'a.b:C', deep: 3}}"))
    assert load_config(write(to_yaml(user))) == user
    assert user.model_dump()["model"]["cell"] == {"name": "a.b:C", "folder": None, "code": None, "deep": 3}


@pytest.mark.parametrize(
    "name",
    [
        "poems #2.txt",
        "act 1: scene 2.txt",
        "@home",
        "[draft].txt",
        "2014",
        "no",
        "null",
        "{a: b}",
        "'x'",
        "010 ",
        "a=b",
    ],
)
def test_a_text_on_the_command_line_is_taken_as_it_is(write, tmp_path, name):
    (tmp_path / name).write_text("one two three\n" * 100)
    path = str(tmp_path / name)
    assert load_config("words", [f"task.path={name}"]).task.path == path
    varied = parse_request(["words"], vary=f"task.path={name},shipped:stories").vary
    assert [varied.override(value) for value in varied.values] == [f"task.path={name}", "task.path=shipped:stories"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("poems #2.txt", "poems #2.txt"),
        ("act 1: scene 2", "act 1: scene 2"),
        ("@home", "@home"),
        ("* ", "* "),
        ("'010'", "010"),
        ("010", 10),
        ("[1, a]", [1, "a"]),
        ("null", None),
    ],
)
def test_a_text_of_an_option_of_ones_own_cell_is_taken_as_it_is(write, text, value):
    """Its kind is not known yet. Quotes are those of YAML."""
    config = load_config(str(write(MINIMAL)), ["model.cell=mine:Mine", f"model.cell.tag={text}"])
    assert config.model.cell.options() == {"tag": value}


def test_a_key_that_is_given_twice_is_refused_on_the_command_line(write):
    for override in ("optimizer={name: adam, lr: 0.1, lr: 0.2}", "model.cell={name: lstm, name: gru}"):
        assert "is given twice" in faults(write(MINIMAL), override)[0]
    with pytest.raises(ConfigError, match="name is given twice"):
        parse_request(["quickstart"], cells="rnn,{name: lstm, name: gru}")


def test_the_name_of_a_section_may_follow_its_settings(write):
    path = write(MINIMAL)
    orders = [["optimizer.lr=0.5", "optimizer=sgd"], ["optimizer=sgd", "optimizer.lr=0.5"]]
    first, second = (load_config(str(path), overrides) for overrides in orders)
    assert first == second
    assert first.optimizer == Sgd(lr=0.5)


def test_a_section_that_replaces_an_override_is_no_bug(write):
    assert load_config("words", ["train.steps=5", "train={epochs: 3}"], quiet=True).train.epochs == 3


def test_null_on_the_command_line_is_null_where_a_text_may_be(write):
    for value in ("null", ""):
        config = load_config(write(MINIMAL), ["model.cell={name: a:B, folder: x}", f"model.cell.folder={value}"])
        assert config.model.cell.folder is None


def test_a_text_that_is_not_there_has_a_cure(write, tmp_path):
    (tmp_path / "a b.txt").write_text("one two\n")
    assert "write 'a b.txt' without the inner quotes" in faults("words", "task.path='a b.txt'")[0]
    assert "write standard input to a file" in faults("words", "task.path=-")[0]


def test_text_paths_become_absolute_but_shipped_ones_stay(write, text_folder):
    config = load_config(write("task: {name: language_model, path: text}\nmodel: {cell: rnn}"))
    assert config.task.path == str(text_folder)
    config = load_config("c.yaml", ["task.path=shipped:stories"])
    assert config.task.path == "shipped:stories"


def test_every_fault_at_once_with_file_line_and_cure(write):
    name = write(
        "seed: -1\n"
        "task:\n"
        "  name: adding\n"
        "  variant: halfs\n"
        "model:\n"
        "  cell: lsmt\n"
        "  hiden_size: 12\n"
        "  dropout: 0.5\n"
        "optimizer: {lr: fast, nesterov: true}\n"
        "schedule: cosin\n"
        "train: {steps: 1.5}\n"
    )
    assert faults(name, "train.batch_size=0", "epochs=3") == [
        "c.yaml:1: seed is -1; it must be at least 0",
        "c.yaml:4: task.variant is 'halfs'; choose one of anywhere, halves, hochreiter (did you mean 'halves'?)",
        "c.yaml:6: model.cell is 'lsmt'; choose one of coupled, gru, lstm, module:Class, odyssey, peephole, rnn "
        "(did you mean 'lstm'?)",
        "c.yaml:7: model.hiden_size is not a setting of model; choose one of cell, depth, direction, dropout, "
        "embedding_dropout, embedding_range, embedding_size, hidden_size, init_range, input_dropout, locked_dropout, "
        "merge, output_dropout, softmax, tied, weight_drop, zoneout_hidden, zoneout_memory "
        "(did you mean 'hidden_size'?)",
        "c.yaml:9: optimizer.lr is 'fast'; it must be a number",
        "c.yaml:9: optimizer.nesterov is not a setting of optimizer 'adam'; choose one of betas, clip_norm, eps, lr, "
        "name, weight_decay (it is one of sgd)",
        "c.yaml:10: schedule is 'cosin'; choose one of constant, cosine, plateau, step (did you mean 'cosine'?)",
        "c.yaml:11: train.steps is 1.5; it must be a whole number",
        "train.batch_size=0: train.batch_size is 0; it must be at least 1",
        "epochs=3: epochs is not a setting of a config; did you mean train.epochs?",
        "c.yaml:8: model.dropout is 0.5, but dropout acts between layers and depth 1 has one layer; use depth: 2 or "
        "more, or dropout: 0 (input_dropout and output_dropout act before and after the layers)",
    ]


def test_a_misspelt_name_hides_no_fault_of_its_section_or_of_what_goes_with_it(write):
    name = write(
        "task: {name: addign, lenght: 50}\n"
        "model:\n"
        "  cell: {name: lsmt, reset: before}\n"
        "  embedding_size: 3\n"
        "optimizer: {name: adma, momentum: 0.9}\n"
        "schedule: {name: stpe, every: 0}\n"
        "train: {max_skips: 3}\n"
    )
    told = faults(name)
    assert [line.split(" ")[1] for line in told] == [
        *("task", "model.cell", "optimizer", "schedule"),
        *("task.lenght", "model.cell.reset", "optimizer.momentum", "schedule.every"),
        *("model.embedding_size", "train.max_skips"),
    ]
    assert "c.yaml:1: task.lenght is not a setting of task 'adding'; choose one of length," in told[4]
    assert "c.yaml:4: model.embedding_size is 3, but the inputs of task 'adding' are numbers" in told[8]


@pytest.mark.parametrize("name", ["name: nothing_like_it, ", "name: 5, ", "name: null, ", ""])
def test_what_needs_the_task_is_not_judged_by_another(write, name):
    """`epochs`, `tied` and `direction` are right or wrong according to the task; `max_skips` is wrong with any."""
    name = write(
        f"task: {{{name}length: -1}}\n"
        "model: {cell: gru, tied: true, direction: backward}\n"
        "train: {epochs: 3, max_skips: 3}\n"
    )
    assert [line.split(" ")[1] for line in faults(name)] == ["task", "train.max_skips"]


TOGETHER = [
    (
        "task=stories model.direction=backward",
        "model.direction 'backward' with task 'stories' would show the model",
    ),
    (
        "task=language_model task.path=shipped:stories model.direction=bidirectional",
        "model.direction 'bidirectional' with task 'language_model' would show the model the word it must predict; "
        "use 'forward'",
    ),
    ("model.merge=sum", "there is nothing to merge with direction 'forward'"),
    ("model.dropout=0.1", "depth 1 has one layer"),
    ("model.embedding_size=8", "the inputs of task 'adding' are numbers"),
    ("model.embedding_dropout=0.1", "the inputs of task 'adding' are numbers"),
    ("task=copy_memory model.embedding_dropout=0.1", "symbols enter one-hot; set embedding_size, or remove it"),
    ("model.tied=true", "model.tied is true, but task 'adding' predicts no words; remove it"),
    ("task=stories model.softmax=adaptive", "model.softmax is 'adaptive', but the classes of task 'stories' are few"),
    (
        "task=language_model task.path=shipped:stories model.softmax=adaptive model.tied=true",
        "model.softmax is 'adaptive', whose clusters have their own weights",
    ),
    (
        "task=language_model task.path=shipped:stories model.softmax.name=adaptive model.softmax.cutoffs=[5,5]",
        "model.softmax.cutoffs are [5, 5]; each must be larger than the one before",
    ),
    ("model.hidden_size=[4,5] model.depth=3", "model.depth is 3, but hidden_size lists 2 layers; remove it"),
    (
        "train.epochs=3",
        "train.epochs is 3, but task 'adding' draws its sequences anew and has no epochs; set train.steps",
    ),
    (
        "task=language_model task.path=shipped:stories train.epochs=3 train.steps=5",
        "train.epochs is 3 beside steps 5; give one, and the other as null (train.epochs=null or train.steps=null)",
    ),
    ("schedule=step", "schedule.every is not set and means an epoch, but task 'adding' draws"),
    ("model.cell=gru model.zoneout_memory=0.1", "cell 'gru' remembers in its output alone; use zoneout_hidden"),
    (
        "model.init_range=0.1 model.cell.forget_bias=3",
        "forget_bias is 3.0, but init_range 0.1 sets",
    ),
    ("model.init_range=0.1 model.cell.recurrent_init=uniform", "recurrent_init is 'uniform', but init_range 0.1"),
    ("task=language_model task.path=shipped:stories task.vary_window=true task.window=9", "it must be at least 10"),
    ("model.locked_dropout=true", "model.locked_dropout is true, but no feature is dropped"),
    ("model.cell.chrono=50 model.cell.forget_bias=1", "both set the same bias"),
    (
        "model.cell.name=odyssey model.cell.ablation=no_forget_gate model.cell.chrono=50",
        "model.cell.chrono is 50, but ablation 'no_forget_gate' has no forget bias to set; remove it",
    ),
    (
        "model.cell.name=odyssey model.cell.ablation=no_forget_gate model.cell.forget_bias=0",
        "model.cell.forget_bias is 0.0, but ablation 'no_forget_gate' has no forget bias to set; remove it",
    ),
    ("task.variant=hochreiter task.length=21", "needs at least 22"),
    ("task=multiplication task.variant=hochreiter task.length=21", "needs at least 22"),
    ("task=multiplication model.embedding_size=4", "the inputs of task 'multiplication' are numbers, not symbols"),
    (
        "task=selective_copy task.length=4 task.letters=5",
        "task.letters is 5, but they must find a place in 4 steps; use fewer, or a larger length",
    ),
    (
        "task=recall task.pairs=9",
        "task.pairs is 9, but no key comes twice and there are 8; use fewer pairs, or more keys",
    ),
    ("task=lookaround task.length=6", "must be more than 6"),
    ("task=two_sequence task.signal=100", "task.signal is 100; noise must follow it, so it must be below length 100"),
    ("task=two_sequence model.embedding_size=8", "the inputs of task 'two_sequence' are numbers"),
    (
        "task=counting task.limit=39",
        "task.limit is 39; with train_limit 20 it must be at least 40, because solved means up to twice",
    ),
    (
        "task=brackets task.train_length=4",
        "task.train_depth is 5, but in train_length 4 no more than 4 brackets can be opened; make it smaller",
    ),
    (
        "task=brackets task.train_depth=6",
        "task.depth is 6; the fixed sets go deeper than training, so it must be more than train_depth 6",
    ),
    ("task=brackets task.length=56", "it must be more than train_length + depth, 56"),
    (
        "task=timing task.spikes=10",
        "task.spikes is 10; the evaluated sequence goes beyond training, so it must be more than train_spikes 10",
    ),
    ("task=timing task.interval=1", "task.interval is 1; it must be at least 2"),
    ("task=timing task.interval=[7,1]", "task.interval.1 is 1; it must be at least 2"),
    ("task=timing task.interval=[]", "task.interval is []; it must be a list of at least 1 value"),
    ("task=timing task.interval=x", "task.interval is 'x'; it must be a whole number, or a list of them"),
    ("task=timing model.embedding_dropout=0.1", "the inputs of task 'timing' are numbers"),
    ("task=timing model.direction=bidirectional", "would let the model count from the end; use 'forward'"),
    *(
        (
            f"task={task} model.direction=backward",
            f"model.direction 'backward' with task '{task}' would show the model the symbols that come next; "
            "use 'forward'",
        )
        for task in ("embedded_reber", "counting", "brackets")
    ),
    (
        "task=language_model task.path=shipped:stories train.stop_when_solved=true",
        "has no rule for being solved",
    ),
    (
        "task=language_model task.path=shipped:stories task.fractions=[0.8,0.1,0.1]",
        "is a folder with its own train",
    ),
    (
        "task=language_model task.path=c.yaml task.fractions=[0.8,0.1,0.3]",
        "add up to 1.2; they must add up to 1",
    ),
    ("task=language_model task.path=nowhere", "but there is no"),
    ("optimizer=sgd optimizer.nesterov=true", "momentum is 0; set optimizer.momentum"),
    (
        "task=language_model task.path=shipped:books",
        "with seqtrain is shipped:agreement.txt, shipped:gestures.csv, shipped:stories, shipped:sunspots.csv",
    ),
    ("out=runs/x", "out is not a setting of a config; write --out for the option of the command line"),
    (
        "model.cell.reset=before",
        "choose one of biases, chrono, forget_bias, learn_initial_state, name, recurrent_init (it is one of gru)",
    ),
    (
        "task.name=copy",
        "task.name=copy: task is 'copy'; choose one of adding, brackets, copy_memory, counting, "
        "embedded_reber, language_model, long_lag, lookaround, module:Class, multiplication, parity, recall, "
        "selective_copy, sequences, series, stories, tagging, temporal_order, timing, two_sequence "
        "(did you mean 'copy_memory'?)",
    ),
    ("lr=0.1", "lr is not a setting of a config; did you mean optimizer.lr?"),
    ("c.yaml", "is not an override; write KEY=VALUE, e.g. task.path=c.yaml"),
]


@pytest.mark.parametrize(("overrides", "wanted"), TOGETHER, ids=[w for _, w in TOGETHER])
def test_settings_that_make_no_sense_together(write, overrides, wanted):
    (fault,) = faults(write(MINIMAL), *overrides.split())
    assert wanted in fault


SINGLE = [
    ("model.hidden_size=true", "model.hidden_size is True; it must be a whole number"),
    ("model.hidden_size=1e99", "it must be a whole number"),
    ("model.hidden_size=10000000", "it must be at most 100000"),
    ("model.hidden_size=[4,x]", "model.hidden_size.1 is 'x'; it must be a whole number"),
    ("model.hidden_size=[]", "model.hidden_size is []; it must be a list of at least 1 value"),
    ("model.hidden_size=x", "model.hidden_size is 'x'; it must be a whole number, or a list of them"),
    ("model.softmax=half", "model.softmax is 'half'; choose one of adaptive, full"),
    ("model=3", "model is 3; it must be a section with settings of its own"),
    (
        "model.cell=my cell:X",
        "model.cell.name is 'my cell:X'; write it as module:Class, such as my_cells:MyCell",
    ),
    ("device=gpu", "device is 'gpu'; write it as cpu, cuda or cuda:1"),
    ("optimizer.lr=.nan", "it must be a finite number"),
    ("optimizer.betas=[0.9]", "it must be a list of 2 values"),
    ("optimizer.betas=[0.9, 2]", "optimizer.betas.1 is 2; it must be less than 1"),
    ("task=language_model", "task.path is missing; add it"),
    ("task.symbols=4", "task.symbols is not a setting of task 'adding'"),
    ("steps", "is not an override; write KEY=VALUE"),
    ("seed.x=3", "seed is 0, which has no settings of its own"),
    ("train.steps=[1", "is not valid YAML"),
    ("optimizer.clip_norm=0", "optimizer.clip_norm is 0; it must be more than 0, or null for no clipping"),
    ("optimizer.clip_norm=none", "is 'none'; it must be a number, or null for no clipping"),
    ("train.patience=0", "train.patience is 0; it must be at least 1, or null for never"),
    ("train.save_every_s=false", "is False; it must be a number, or null for none"),
    ("model.cell={name: lstm, chrono: 0}", "model.cell.chrono is 0; it must be at least 3, or null for none"),
    ("model.embedding_size=0", "it must be at least 1, or null for the first hidden_size with text"),
    ("optimizer={name: rmsprop, lr: 1e300}", "lr is 1e+300; its size must be at most 1e+38, as models"),
    ("model.init_range=2e38", "model.init_range is 2e+38; its size must be at most 1e+38"),
    ("model.cell={name: lstm, forget_bias: -1e39}", "forget_bias is -1e+39; its size must be at most 1e+38"),
    ("optimizer.weight_decay=1e-400", "'1e-400' is not a number"),
    ("optimizer.betas=[0.9, 1e-50]", "optimizer.betas.1 is 1e-50; its size must be at least 1e-37"),
]


@pytest.mark.parametrize(("override", "wanted"), SINGLE, ids=[w for _, w in SINGLE])
def test_single_settings(write, override, wanted):
    (fault,) = faults(write(MINIMAL + "seed: 0\n"), override)
    assert fault.startswith(override)
    assert wanted in fault


FILES = [
    ("", "is empty; a config is a mapping"),
    ("- 1\n- 2\n", "holds [1, 2]; a config is a mapping"),
    ("a: [1\n", "c.yaml:2: is not valid YAML"),
    ("a: b: c\n", "c.yaml:1: is not valid YAML"),
    (MINIMAL + "seed: 1\nseed: 2\n", "c.yaml:4: seed is given twice, first in line 3; keep one"),
    ("a: &a [*a]\n" + MINIMAL, "c.yaml:1: is not valid YAML (it has an alias; write the value out)"),
    ("seed: 2020-02-30\n" + MINIMAL, "c.yaml:1: seed is '2020-02-30'; it must be a whole number in decimal digits"),
    ("seed: !!int '0x10'\n" + MINIMAL, "c.yaml:1: is not valid YAML ('0x10' is not a whole number)"),
    ("model: {cell: rnn}\n", "c.yaml: task is missing; choose one of adding"),
    ("task: adding\n", "c.yaml: model is missing; add a section model with a cell"),
    ("x: " + "[" * 5000 + "]" * 5000, "c.yaml:1: is not valid YAML (nested more than 50 deep)"),
    ("\x00", "is not valid YAML"),
    ("task: adding\nmodel: {cell: {}}\n", "model.cell is {}, without a name; choose one of coupled"),
    ("1: 2\n" + MINIMAL, "1 is not a setting of a config"),
]


@pytest.mark.parametrize(("text", "wanted"), FILES, ids=[w for _, w in FILES])
def test_files(write, text, wanted):
    (fault,) = faults(write(text))
    assert fault.startswith("c.yaml")
    assert wanted in fault


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no shipped config of that name; choose one of" in faults("quikstart")[0]
    assert "(did you mean 'quickstart'?)" in faults("quikstart")[0]
    assert faults("a/b.yaml") == ["a/b.yaml: no such file; seqtrain configs lists the configs that come with seqtrain"]
    assert faults("runs/no such") == [
        "runs/no such: no such run, and no such config file; give a config, which can make that run: "
        "seqtrain train quickstart --out 'runs/no such' (seqtrain configs lists what comes with seqtrain)"
    ]
    (tmp_path / "mine.yaml").write_text(MINIMAL)
    assert faults("mine") == ["mine: no such file; did you mean mine.yaml?"]
    assert faults("quickstart.yaml") == [
        "quickstart.yaml: no such file; did you mean quickstart, which comes with seqtrain?"
    ]
    assert faults("word")[0].endswith("(did you mean 'words'?)")
    assert faults("nothing")[0].endswith("words")
    (tmp_path / "wide.yaml").write_text("seed: 0", "utf-16")
    assert faults("wide.yaml") == [
        "wide.yaml:1: is UTF-16, as its byte order mark says; convert it, e.g. iconv -f utf-16 -t utf-8"
    ]
    (tmp_path / "latin.yaml").write_bytes(b"seed: \xff")
    assert faults("latin.yaml")[0].startswith("latin.yaml:1: is not UTF-8 (byte 0xff at byte offset 6); convert it")
    (tmp_path / "folder").mkdir()
    assert faults("folder")[0].startswith(
        "folder: is a folder without a run; give a run directory, a config file, or a shipped name: adding-hochreiter, "
    )


@pytest.mark.parametrize("name", [".", "/", ""])
def test_a_folder_without_a_name_is_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert "is a folder without a run" in faults(name)[0]


@pytest.mark.parametrize(
    "text",
    [
        "The cat sat.\nIt slept.\n",
        "ROMEO: is a mapping\nJULIET: is it?\n",
        "First Citizen:\nBefore we proceed, hear me: speak.\n",
        "a task: and a model\n" * 10_000,
    ],
)
def test_a_text_in_the_place_of_a_config(write, tmp_path, text):
    (tmp_path / "my text.txt").write_text(text)
    assert faults("my text.txt") == [
        "my text.txt: is no config; if it is a text to train on, give it to one: "
        "seqtrain train words task.path='my text.txt'"
    ]


def test_a_folder_of_text_in_the_place_of_a_config(text_folder, monkeypatch):
    monkeypatch.chdir(text_folder.parent)
    assert faults("text") == [
        "text: is a folder without a config; if it is a text to train on, give it to one: "
        "seqtrain train words task.path=text"
    ]


@pytest.mark.parametrize(
    "text", [MINIMAL, "{task: adding, model: {cell: lstm}}", '{\n  "task": "adding",\n  "model": {"cell": "lstm"}\n}']
)
def test_a_config_may_have_any_name(write, tmp_path, text):
    (tmp_path / "config").write_text(text)
    assert load_config("config").model.cell.name == "lstm"


def test_a_name_alone_keeps_the_settings_of_a_section_of_that_name_and_replaces_another(write):
    name = write(MINIMAL + "optimizer: {name: adam, lr: 0.5}\n")
    assert load_config(name, ["optimizer=adam"]).optimizer.lr == 0.5
    assert load_config(name, ["optimizer=sgd"]).optimizer.lr == 0.001
    assert load_config(name, ["optimizer.name=sgd"]).optimizer.lr == 0.5


def described(section):
    for name in section.model_fields:
        yield section.__name__, name, settings.described(section, name)


def test_every_setting_has_a_description():
    named = [cls for classes in schema.NAMED.values() for cls in classes.values()]
    for section in (Config, Model, Train, *named):
        for owner, name, description in described(section):
            assert description or name == "name", f"{owner}.{name}"


def test_the_json_schema_can_be_made():
    assert "properties" in Config.model_json_schema()


def test_resolved_yaml_is_plain():
    assert yaml.safe_load(to_yaml(load_config("quickstart")))["optimizer"]["lr"] == 0.005


def test_lists_of_any_length(write):
    name = write("task: {name: language_model, path: shipped:stories}\nmodel: {cell: rnn, softmax: {name: adaptive}}\n")
    assert faults(name, "model.softmax.cutoffs=[]", "model.softmax.shrink=1e200") == [
        "model.softmax.cutoffs=[]: model.softmax.cutoffs is []; it must be a list of at least 1 value",
        "model.softmax.shrink=1e200: model.softmax.shrink is 1e+200; it must be at most 1000",
    ]


def test_kinds_of_settings_in_words():
    kinds = {f"{title}.{setting.name}": setting.kind for title, cls in sections() for setting in settings_of(cls)}
    assert kinds["model.hidden_size"] == "whole number from 1 to 100,000 | list, each a whole number from 1 to 100,000"
    assert kinds["model.merge"] == "concat | sum | null"
    assert kinds["optimizer: adam.betas"] == "list of 2, each a number from 0 below 1"
    assert kinds["optimizer: adam.clip_norm"] == "number above 0 | null"
    assert kinds["task: temporal_order.symbols"] == "2 | 3"
    assert kinds["train.stop_when_solved"] == "true | false"
    assert kinds["config.optimizer"] == "adam | adamw | rmsprop | sgd"
    assert not [name for name, kind in kinds.items() if kind in ("", "None", "object")]


def test_a_setting_that_may_be_null_says_what_for():
    unsaid = [
        key
        for key, setting in ((key, setting_at(key)) for key in all_keys())
        if "null" in setting.kind.split(" | ") and "null for" not in setting.description
    ]
    assert unsaid == []


def test_settings_are_found_by_their_last_word():
    assert find_setting("steps") == ["train.steps"]
    assert find_setting("seed") == ["seed"]
    assert find_setting("length") == ["task.length"]
    assert find_setting("nonsense") == find_setting("name") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"x,y\n1,2\n"), ("A.CSV", b"1,2\n"), ("a.tsv", b"x\ty\n"), ("a.parquet", b"PAR1\0\xff"),
        ("a.npy", b"\x93NUMPY\0"), ("a.json", b'[{"x": 1}]'), ("a.xlsx", b"PK\3\4\xff"), ("a.csv.gz", b"\x1f\x8b\xff"),
        ("a.txt", b"1.0 2.5\n3e-1 4\n"), ("a.dat", b"time;value\n1;2\n3;4\n"), ("a.pt", b"PK\3\4\xff"),
    ],
)  # fmt: skip
def test_a_table_in_the_place_of_a_config_is_no_text(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    (fault,) = faults(name)
    assert "looks like a table or an array" in fault
    assert "words" not in fault
    (fault,) = faults("quickstart", name)
    assert "words" not in fault
    assert ("task.path" in fault) == (name.endswith((".json", ".txt", ".dat")))
