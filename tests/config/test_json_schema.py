"""The JSON Schema with which editors check a config: it agrees with what seqtrain itself takes and refuses."""

import copy
import json
from pathlib import Path

import pytest

from seqtrain.config import load_config
from seqtrain.config.json_schema import config_schema
from seqtrain.config.yaml import dump, parse
from seqtrain.system.errors import ConfigError
from seqtrain.system.shipped import MODELINE, config_paths, schema_path, summary_of

CONFIGS = {name: parse(path.read_text("utf-8"), name)[1] for name, path in config_paths().items()}

ACCEPTED = [
    {"task": "adding", "model": {"cell": "lstm"}},
    {"task": {"name": "adding", "length": 20}, "model": {"cell": {"name": "gru", "reset": "before"}}},
    {"task": {"name": "parity"}, "model": {"cell": "lstm", "hidden_size": [4, 8], "depth": 2}, "optimizer": "sgd"},
    {"task": "adding", "model": {"cell": "lstm"}, "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}},
    {"task": "adding", "model": {"cell": "lstm"}, "schedule": {"warmup": 3}},
    {"task": "adding", "model": {"cell": "lstm"}, "threads": None, "optimizer": {"name": "sgd", "momentum": 0.9}},
]
"""Ways to write the same things."""


@pytest.fixture(scope="module")
def faults():
    """The faults that an editor shows."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs the package jsonschema, of the extra test")
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return lambda data: [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(data)]


def loads(data, folder) -> bool:
    """Whether seqtrain takes it."""
    file = folder / "c.yaml"
    file.write_text(dump(data))
    try:
        load_config(str(file))
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_is_valid(name, faults):
    assert faults(CONFIGS[name]) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_names_the_schema(name):
    first, second = config_paths()[name].read_text("utf-8").splitlines()[:2]
    assert first == f"{MODELINE} $schema={schema_path().name}"
    assert (config_paths()[name].parent / schema_path().name).exists()
    assert summary_of(config_paths()[name]) == second.removeprefix("# ")


def test_every_way_to_write_a_config_is_valid(faults, tmp_path):
    for data in ACCEPTED:
        assert loads(copy.deepcopy(data), tmp_path), data
        assert faults(data) == []
    for name in ("my_tasks:Mine", {"name": "my.tasks:Mine", "any": [1], "thing": {"a": None}}):
        assert faults({"task": name, "model": {"cell": name}}) == []


def mutants():
    """Each setting of three configs with a value of a wrong kind, and an unknown key in each section."""
    for name in ("quickstart", "words", "parity"):
        data = CONFIGS[name]
        sections = [((), data), *(((key,), value) for key, value in data.items() if isinstance(value, dict))]
        for path, section in sections:
            yield f"{name}: {path} unknown", (*path, "unknown"), 1
            for key, value in section.items():
                if not isinstance(value, dict):
                    wrong = {"not": "plain"} if isinstance(value, str) else "text"
                    yield f"{name}: {path} {key}", (*path, key), wrong


@pytest.mark.parametrize("part", range(4))
def test_what_seqtrain_refuses_for_its_kind_an_editor_refuses_too(part, faults, tmp_path):
    tried = list(mutants())
    assert len(tried) >= 30
    for what, path, value in tried[part::4]:
        data = copy.deepcopy(CONFIGS[what.partition(":")[0]])
        section = data
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        assert faults(data), what
        assert not loads(data, tmp_path), what


def test_the_shipped_file_is_what_the_command_prints(seqtrain):
    """Completion reads the file too. If a setting has changed, write it anew: `seqtrain settings --json-schema`."""
    shown = seqtrain("settings", "--json-schema")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == schema_path().read_text("utf-8")
    refused = seqtrain("settings", "adam", "--json-schema")
    assert (refused.code, refused.err) == (2, "seqtrain: --json-schema is of a whole config; leave out adam\n")


def test_every_setting_has_its_description():
    schema = config_schema()
    sections = [schema, *(part for part in schema["$defs"].values() if "properties" in part)]
    assert len(sections) > 35
    for section in sections:
        for name, setting in section["properties"].items():
            assert name == "name" or setting.get("description"), (section.get("description"), name)
            assert "{null}" not in setting.get("description", "")


def test_a_copied_config_has_the_schema_beside_it(seqtrain):
    copied, shipped = Path("mine/seqtrain.schema.json"), schema_path().read_bytes()
    Path("mine").mkdir()
    assert seqtrain("configs", "copy", "quickstart", "mine/a.yaml").code == 0
    assert copied.read_bytes() == shipped
    copied.write_bytes(shipped.replace(b"Learning rate", b"An older text"))
    assert seqtrain("configs", "copy", "quickstart", "mine/b.yaml").code == 0
    assert copied.read_bytes() == shipped
    for own in (b"{}", json.dumps({"title": "mine"}).encode()):
        copied.write_bytes(own)
        Path("mine/b.yaml").unlink()
        assert seqtrain("configs", "copy", "quickstart", "mine/b.yaml").code == 0
        assert copied.read_bytes() == own
