"""A few hundred of the mutants of `mutated_configs.py`, and arbitrary data; every answer is a sentence with a place."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated_configs import (
    BOMB,
    CONFIGS,
    FILE,
    MERGES,
    MUTATIONS,
    SETTINGS,
    Mutant,
    base,
    dumped,
    faults_of,
    mistakes,
    names_of,
)

from seqtrain.config import load_config
from seqtrain.system.errors import ConfigError


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_mutated_has_no_fault_of_its_own(tmp_path, name):
    (tmp_path / FILE).write_bytes(dumped(base(name)))
    assert refusal(tmp_path / FILE) is None


@pytest.mark.parametrize("mutant", list(mistakes()), ids=lambda mutant: mutant.what)
def test_mistakes_are_refused_by_name(tmp_path, monkeypatch, mutant):
    monkeypatch.chdir(tmp_path)
    found, ended = faults_of(mutant, "validate")
    assert (found, ended.code) == ([], 2), ended.err
    assert mutant.named[0] in ended.err


@pytest.mark.parametrize("number", range(200))
def test_mutants_are_answered_in_a_sentence(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    pick = random.Random(f"quick-{number}")
    mutant = MUTATIONS[number % len(MUTATIONS)](pick)
    found, ended = faults_of(mutant, "validate")
    assert found == [], (mutant.what, ended)


DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CONFIGS), st.sampled_from(SETTINGS), DATA)
def test_any_data_in_the_place_of_a_setting(tmp_path_factory, name, path, value):
    file = tmp_path_factory.mktemp("any") / FILE
    data = base(name)
    here = data
    for part in path[:-1]:
        here[part] = here[part] if isinstance(here.get(part), dict) else {}
        here = here[part]
    here[path[-1]] = value
    file.write_bytes(dumped(data))
    told = refusal(file)
    assert told is None or any(name in told for name in names_of(path))
    assert told is None or all(f"{FILE}:" in line for line in told.splitlines())


def refusal(file):
    """Why a config is refused; None if it is not."""
    try:
        load_config(str(file), quiet=True)
    except ConfigError as error:
        return str(error)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary())
def test_any_file(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("any") / FILE
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=FILE):
        load_config(str(file), quiet=True)


def test_the_limits_of_what_is_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, wanted in (
        (BOMB, f"{FILE}:1: is not valid YAML (it has an alias; write the value out)"),
        (MERGES, f"{FILE}:3: is not valid YAML (it has an alias; write the value out)"),
        ("a: &a\n  b: *a\n", f"{FILE}:2: is not valid YAML (it has an alias; write the value out)"),
        ("\na: " + "[" * 60, f"{FILE}:2: is not valid YAML (nested more than 50 deep)"),
        (
            "\n".join(f"k{n}: 1" for n in range(20_000)),
            f"{FILE}:5000: is not valid YAML (more than 10,000 keys and values)",
        ),
        ("seed: " + "9" * 5000, f"{FILE}:1: is not valid YAML ('{'9' * 36}... is not a whole number)"),
        ("a: 1\nseed: !!timestamp 2026-13-01", f"{FILE}:2: is not valid YAML ('2026-13-01' is not a date)"),
        ("a: 1\nb: \0", f"{FILE}:2: is not valid YAML (a character 0x00)"),
        ("#" * 300_000, f"{FILE}: is larger than 256 KiB; no config is, give another file"),
    ):
        with pytest.raises(ConfigError) as caught:
            (tmp_path / FILE).write_text(text)
            load_config(FILE)
        assert str(caught.value) == wanted


def test_a_config_may_come_from_a_pipe(tmp_path, seqtrain):
    import os
    import threading

    os.mkfifo(tmp_path / "pipe")
    content = dumped(base("adding-hochreiter"))
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    called = seqtrain("validate", "pipe", "--json")
    writer.join()
    assert called.json["settings"]["task"]["variant"] == "hochreiter", called.err


def test_a_mutant_that_ends_badly_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mutant = Mutant("nothing wrong", dumped(base("quickstart")), [], ("no such name",))
    for raised, wanted in (
        (ValueError, "traceback"),
        (KeyboardInterrupt, "exit 130"),
        (OSError(5, "?", FILE), "place not named"),
    ):

        def broken(*_, kind=raised, **__):
            raise kind

        monkeypatch.setattr("seqtrain.runs.validation.validate", broken)
        found, ended = faults_of(mutant, "validate")
        assert wanted in found, ended
