"""Each setting is declared once: no other class, and no other function, states its default again."""

import ast
import re
from collections import defaultdict
from itertools import permutations
from pathlib import Path

import pytest

import seqtrain
from seqtrain.cells import CELLS
from seqtrain.config.describe import affects_of, sections, settings_of
from seqtrain.config.schema import Config
from seqtrain.models.settings import UserCell
from seqtrain.system.settings import Affects, Declared, Section, _descriptions
from seqtrain.tasks import TASKS

ROOT = Path(seqtrain.__file__).parent


def owners():
    """The classes whose bodies declare settings, by setting, with the default as it is written."""
    declaring = {UserCell, *CELLS.values(), *TASKS.values(), *(section for _, section in sections())}
    bases = {base for cls in declaring for base in cls.__mro__ if base.__module__.startswith("seqtrain")}
    return {f"{base.__module__}.{base.__qualname__}" for base in bases}


def settings():
    return {setting.name for _, section in sections() for setting in settings_of(section)}


def declarations():
    """(setting, class, default) of every annotated default in a class body, and of every default of a parameter."""
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(("seqtrain", *path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and line.value is not None:
                        yield line.target.id, f"{module}.{node.name}", ast.unparse(line.value)
            elif isinstance(node, ast.FunctionDef):
                given = node.args
                pairs = [
                    *zip(given.args[::-1], given.defaults[::-1], strict=False),
                    *zip(given.kwonlyargs, given.kw_defaults, strict=True),
                ]
                for argument, default in pairs:
                    if default is not None:
                        yield argument.arg, f"{module}.{node.name}()", ast.unparse(default)


def class_of(name):
    module, _, cls = name.rpartition(".")
    return getattr(__import__(module, fromlist=[cls]), cls)


def test_no_class_repeats_a_default_of_its_base():
    known, declaring, places = settings(), owners(), defaultdict(list)
    for name, place, default in declarations():
        if name in known and place in declaring:
            places[name, default].append(place)
    assert places
    repeated = [
        f"{one} and {other}: {key}"
        for key, found in places.items()
        for one, other in permutations(found, 2)
        if issubclass(class_of(one), class_of(other))
    ]
    assert repeated == []


def test_no_function_states_the_default_of_a_setting():
    defaults = {(s.name, repr(s.default)) for _, section in sections() for s in settings_of(section) if not s.required}
    # A written text has a seed of its own, a generator a device, unroll an engine, bench a precision.
    others = ("seed", "device", "engine", "precision")
    again = [
        f"{place} {name}={default}"
        for name, place, default in declarations()
        if place.endswith("()")
        and not place.startswith("seqtrain.nn.")  # its arguments are those of torch.nn
        and (name, default) in defaults
        and default != "None"
        and name not in others
    ]
    assert again == []


def test_no_description_states_again_what_null_stands_for():
    texts = [text for _, section in sections() for text in _descriptions(section).values()]
    number = r"null for\s+(?!\d+/)[\d\[]"  # 1/16 of the vocabulary is a rule, no value
    assert len(texts) > 100
    assert [text for text in texts if re.search(number, text)] == []
    told = {setting.name: setting.description for _, section in sections() for setting in settings_of(section)}
    assert "null for 3000," in told["steps"]
    assert told["merge"].endswith("null for concat.")
    assert told["eval_length"].endswith("null for 4 times length.")
    assert "null for 1.0, or" in told["forget_bias"]
    assert not [text for text in told.values() if "{" in text and "{name" not in text]


@pytest.mark.parametrize(("kind", "classes"), [("cell", CELLS), ("task", TASKS)])
def test_a_section_has_no_body_of_its_own(kind, classes):
    """It is made from the signature of the class that it sets."""
    known = dict(sections())
    for name, cls in classes.items():
        section = known[f"{'model.cell' if kind == 'cell' else 'task'}: {name}"]
        assert issubclass(section, Declared)
        assert section.owner is cls


def test_tasks_with_the_same_setting_agree_on_whether_eval_may_change_it():
    of_eval, kinds = (Affects.DATA, Affects.EVALUATION), defaultdict(set)
    for title, section in sections():
        for setting in settings_of(section):
            kinds[title.partition(": ")[0], setting.name].add(setting.affects in of_eval)
    assert [key for key, answers in kinds.items() if len(answers) > 1] == []


def test_eval_may_not_change_what_only_training_uses():
    """By their names: what a task draws for training alone is no data of an evaluation."""
    of_training = [
        (title, setting.name, setting.affects)
        for title, section in sections()
        for setting in settings_of(section)
        if title.startswith("task: ") and setting.name.startswith("train_")
    ]
    assert len(of_training) >= 4
    assert [found for found in of_training if found[2] is not Affects.WEIGHTS] == []


def test_every_setting_says_what_it_affects():
    assert affects_of("threads") == affects_of("model.cell.folder") == Affects.MACHINE
    assert affects_of("engine") == affects_of("device") == Affects.SPEED
    assert affects_of("train.epochs") == Affects.BUDGET
    assert affects_of("train.log_every") == Affects.NOTHING
    assert affects_of("model.hidden_size") == affects_of("model.tied") == Affects.SIZE
    assert affects_of("task.eval_length") == affects_of("task.valid_size") == Affects.EVALUATION
    assert affects_of("task.offset") == Affects.DATA
    assert affects_of("task.train_limit") == affects_of("optimizer.lr") == affects_of("seed") == Affects.WEIGHTS
    assert affects_of("model.cell.mine") == Affects.WEIGHTS


def test_sections_take_no_unknown_setting():
    for _, section in [*sections(), ("config", Config)]:
        assert issubclass(section, Section)
        assert section.model_config["extra"] == "forbid"
