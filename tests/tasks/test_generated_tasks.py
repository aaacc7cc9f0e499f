"""All generated tasks: targets computed again by a second, simple method; fixed sets; baselines; metrics."""

import math

import pytest
import torch
from batches import NUMBERS, columns, make, perfect, same
from conftest import answer

from seqtrain.config import load_config
from seqtrain.config.validators import check_together
from seqtrain.system.settings import Declared, section_of
from seqtrain.tasks import TASKS, GeneratedTask
from seqtrain.tasks.generated import SizedTask

CASES = [
    ("adding", {"length": 30, "variant": "halves"}),
    ("adding", {"length": 31, "variant": "anywhere"}),
    ("adding", {"length": 30, "variant": "hochreiter"}),
    ("multiplication", {"length": 31, "variant": "halves"}),
    ("multiplication", {"length": 30, "variant": "anywhere"}),
    ("multiplication", {"length": 30, "variant": "hochreiter"}),
    ("copy_memory", {"length": 7}),
    ("selective_copy", {"length": 20, "letters": 5, "alphabet": 6}),
    ("selective_copy", {"length": 9, "letters": 9, "alphabet": 26}),
    ("temporal_order", {"length": 40, "symbols": 2}),
    ("temporal_order", {"length": 40, "symbols": 3}),
    ("long_lag", {"lag": 15, "distractors": 7}),
    ("parity", {"length": 30}),
    ("parity", {"length": 30, "eval_length": 50}),
    ("recall", {"pairs": 4, "keys": 5, "values": 9, "delay": 6}),
    ("recall", {"pairs": 6, "keys": 6, "values": 20, "delay": 0}),
    ("two_sequence", {"length": 30, "signal": 2, "variant": "noisy_signal"}),
    ("two_sequence", {"length": 31, "signal": 1, "variant": "noisy_targets"}),
    ("embedded_reber", {}),
    ("counting", {"language": "ab", "train_limit": 12, "limit": 40}),
    ("counting", {"language": "abc", "train_limit": 12, "limit": 30, "length_distribution": "long"}),
    ("brackets", {"kinds": 3, "train_length": 24, "train_depth": 4, "length": 50, "depth": 6}),
    ("timing", {"interval": 5, "train_spikes": 6, "spikes": 30}),
    ("timing", {"interval": [3, 5], "train_spikes": 5, "spikes": 12}),
    ("lookaround", {"length": 12, "offset": 2, "symbols": 3}),
    ("stories", {"distance": 20}),
]
cases = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{n}-{'-'.join(map(str, o.values()))}" for n, o in CASES]
)


drawn_cases = pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, o in CASES if n not in ("counting", "timing")]
)
"""Tasks whose fixed sets are random; the others have one sequence, or one for each n."""


# --- a second, simple method -----------------------------------------------------------------------


def marked_values(inputs, options):
    """The values at the marks; also checks the length, the marks and the markers of the variant."""
    marked = [step for step, (_, marker) in enumerate(inputs) if marker == 1]
    T = options["length"]
    if options["variant"] == "hochreiter":
        assert inputs[0][1] == inputs[-1][1] == -1
        assert T <= len(inputs) <= T + T // 10
        assert len(marked) in (1, 2)
        assert min(marked) < 10 or len(marked) == 1
        assert max(marked) < T // 2 - 1 or max(marked) < 10
        assert sum(marker for _, marker in inputs) == len(marked) - 2
    else:
        assert len(inputs) == T
        assert len(marked) == 2
        assert sum(marker for _, marker in inputs) == 2
    if options["variant"] == "halves":
        assert marked[0] < T // 2 <= marked[1]
    return [inputs[step][0] for step in marked]


def check_adding(inputs, targets, options):
    total = sum(marked_values(inputs, options))
    signed = options["variant"] == "hochreiter"
    assert all(-1 * signed <= value <= 1 for value, _ in inputs)
    assert targets == pytest.approx([0.5 + total / 4 if signed else total])


def check_multiplication(inputs, targets, options):
    product = 1.0
    for value in marked_values(inputs, options):
        product *= value
    assert all(0 <= value <= 1 for value, _ in inputs)
    assert targets == pytest.approx([product])


def check_copy_memory(inputs, targets, options):
    T, letters = options["length"], inputs[:10]
    assert all(0 <= letter < 8 for letter in letters)
    assert inputs == [*letters, *[8] * (T - 1), 9, *[8] * 10]
    assert targets == [*[8] * (T + 10), *letters]


def check_selective_copy(inputs, targets, options):
    T, letters, alphabet = options["length"], options["letters"], options["alphabet"]
    blank, delimiter = alphabet, alphabet + 1
    shown = []
    for symbol in inputs[:T]:
        assert symbol <= blank
        if symbol != blank:
            shown.append(symbol)
    assert len(shown) == letters
    assert inputs[T:] == [delimiter] + [blank] * letters
    assert targets == [blank] * (T + 1) + shown


def check_temporal_order(inputs, target, options):
    T = options["length"]
    text = "".join("EBabcdXY"[symbol] for symbol in inputs)
    assert T <= len(text) <= T + T // 10
    assert text[0] == "E"
    assert text[-1] == "B"
    assert set(text[1:-1]) <= set("abcdXY")
    marks = [(step, letter) for step, letter in enumerate(text) if letter in "XY"]
    windows = {2: [(0.1, 0.2), (0.5, 0.6)], 3: [(0.1, 0.2), (0.33, 0.43), (0.66, 0.76)]}[options["symbols"]]
    assert len(marks) == options["symbols"]
    for (step, _), (low, high) in zip(marks, windows, strict=True):
        assert low * T - 0.5 <= step <= high * T + 0.5
    order = "".join(letter for _, letter in marks)
    names = {2: ["XX", "XY", "YX", "YY"], 3: ["XXX", "XXY", "XYX", "XYY", "YXX", "YXY", "YYX", "YYY"]}
    assert names[options["symbols"]][target] == order


def check_long_lag(inputs, target, options):
    names = ["x", "y", "b", "e", *(f"a{kind}" for kind in range(options["distractors"]))]
    words = [names[symbol] for symbol in inputs]
    assert (words[0], words[-1]) == ("b", "e")
    assert words[1] == "xy"[target]
    assert all(word.startswith("a") for word in words[2:-1])
    assert len(words[2:-1]) >= options["lag"]


def check_parity(inputs, targets, options):
    assert len(inputs) in (options["length"], options.get("eval_length", 4 * options["length"]))
    odd = False
    for bit, target in zip(inputs, targets, strict=True):
        assert bit in (0, 1)
        if bit:
            odd = not odd
        assert target == odd


def check_recall(inputs, target, options):
    pairs, keys, values, delay = (options[name] for name in ("pairs", "keys", "values", "delay"))
    values_of_keys = {}
    for place in range(0, 2 * pairs, 2):
        key, value = inputs[place], inputs[place + 1] - keys
        assert key not in values_of_keys
        assert 0 <= key < keys
        assert 0 <= value < values
        values_of_keys[key] = value
    assert len(inputs) == 2 * pairs + delay + 1
    assert all(keys + values <= symbol < keys + values + 4 for symbol in inputs[2 * pairs : -1])
    assert values_of_keys[inputs[-1]] == target


def check_two_sequence(inputs, targets, options):
    T, N = options["length"], options["signal"]
    assert T <= len(inputs) <= T + T // 10
    if options["variant"] == "noisy_targets":
        assert inputs[:N] in ([[1.0]] * N, [[-1.0]] * N)
        assert targets[1] == pytest.approx(0.2 if inputs[0][0] > 0 else 0.8)
        assert abs(targets[0] - targets[1]) < 2
    else:
        assert abs(sum(value for (value,) in inputs[:N]) / N - (1 if targets == 0 else -1)) < 2


def check_embedded_reber(inputs, targets, options):
    text = "".join("BTPSXVE"[symbol] for symbol in inputs)
    assert is_reber("".join(text[2:-1]))
    assert text[0] == "B"
    assert text[-1] == text[1]
    for step, row in enumerate(targets):
        following = {"BTPSXVE"[symbol] for symbol, there in enumerate(row) if there}
        assert following == {symbol for symbol in "BTPSXVE" if begins_embedded_reber(text[: step + 1] + symbol)}


REBER = {
    "start": {"B": "one"},
    "one": {"T": "two", "P": "three"},
    "two": {"S": "two", "X": "four"},
    "three": {"T": "three", "V": "five"},
    "four": {"X": "three", "S": "six"},
    "five": {"P": "four", "V": "six"},
    "six": {"E": "end"},
    "end": {},
}


def walk_reber(text):
    """The node after a text, None if no string of the grammar begins with it."""
    node = "start"
    for symbol in text:
        node = REBER[node].get(symbol)
        if node is None:
            return None
    return node


def is_reber(text):
    return walk_reber(text) == "end"


def begins_embedded_reber(text):
    if len(text) <= 2:
        return text in ("", "B", "BT", "BP")
    inner, _, after = text[2:].partition("E")
    if "E" not in text[2:]:
        return text[0] == "B" and text[1] in "TP" and walk_reber(inner) is not None
    return is_reber(inner + "E") and (text[1] + "E").startswith(after)


def test_the_second_method_has_the_reber_grammar():
    """Strings inside and outside the grammar, from textbooks."""
    for text in ("BTSSXXTVVE", "BPVVE", "BTXXVPSE", "BPVPXVPXVPXVVE", "BTSXXVPSE", "BPTVPSE"):
        assert is_reber(text)
    for text in ("BTSSPXSE", "BPTVVB", "BTXXVVSE", "BPVSPSE", "BTSSSE"):
        assert not is_reber(text)
    assert begins_embedded_reber("BTBPVVETE")
    assert not begins_embedded_reber("BTBPVVEPE")


def check_counting(inputs, targets, options):
    letters = options["language"]
    text = "".join((letters + ".")[symbol] for symbol in inputs)
    language = ["." + "".join(letter * n for letter in letters) + "." for n in range(1, 42)]
    assert text + "." in language
    for step, row in enumerate(targets):
        following = {string[step + 1] for string in language if string.startswith(text[: step + 1])}
        assert {(letters + ".")[symbol] for symbol, there in enumerate(row) if there} == following


def check_brackets(inputs, targets, options):
    kinds, stack, deepest = options["kinds"], [], 0
    assert len(inputs) == options["train_length"]
    for symbol, row in zip(inputs, targets, strict=True):
        if symbol < kinds:
            stack.append(symbol)
        else:
            assert stack.pop() == symbol - kinds
        deepest = max(deepest, len(stack))
        assert row == [float(bool(stack) and stack[-1] == kind) for kind in range(kinds)]
    assert deepest <= options["train_depth"]


def check_timing(inputs, targets, options):
    assert {value for (value,) in inputs} == {0.0}
    intervals = options["interval"] if isinstance(options["interval"], list) else [options["interval"]]
    fires, spikes = intervals[0], 0
    for step, target in enumerate(targets, 1):
        assert target == (step == fires)
        if step == fires:
            spikes += 1
            fires += intervals[spikes % len(intervals)]
    assert 1 <= spikes <= options["train_spikes"]


def check_lookaround(inputs, targets, options):
    k = options["offset"]
    for t in range(k, len(inputs) - k):
        assert targets[t] == int(inputs[t - k] == inputs[t + k])


LANGUAGES = {
    "France": "French",
    "Spain": "Spanish",
    "Italy": "Italian",
    "Germany": "German",
    "Poland": "Polish",
}


def check_stories(inputs, targets, options):
    words = TASKS["stories"](seed=0).vocabulary
    assert inputs[1:] == targets[:-1]
    story = [words[token] for token in [*inputs, targets[-1]]]
    assert story[-1] == "."
    if story[0] == "I":
        fact, mark = 4, len(story) - 2
        assert LANGUAGES.get(story[fact], story[mark]) == story[mark]
        assert story[mark][:2] == story[fact][:2] or story[fact] in ("Spain", "Germany", "France", "China")
    elif story[1:3] == ["bought", "a"]:
        fact, mark = 0, len(story) - 5
        assert story[mark] == (
            "she" if story[fact] in "Anna Clara Emma Julia Maria Nina Olga Rosa Sofia Vera" else "he"
        )
    else:
        fact, mark = 1, len(story) - 5
        assert story[mark] == ("were" if story[fact].endswith("s") else "was")
    assert 10 <= mark - fact <= options["distance"]


SECOND_METHODS = {
    "adding": check_adding,
    "multiplication": check_multiplication,
    "copy_memory": check_copy_memory,
    "selective_copy": check_selective_copy,
    "temporal_order": check_temporal_order,
    "long_lag": check_long_lag,
    "parity": check_parity,
    "recall": check_recall,
    "two_sequence": check_two_sequence,
    "embedded_reber": check_embedded_reber,
    "counting": check_counting,
    "brackets": check_brackets,
    "timing": check_timing,
    "lookaround": check_lookaround,
    "stories": check_stories,
}


def test_every_generated_task_has_a_second_method():
    assert set(SECOND_METHODS) == {name for name, task in TASKS.items() if issubclass(task, GeneratedTask)}


OTHER_FIXED_SETS = ("brackets", "timing")
"""Tasks whose fixed sets differ from their training batches; other tests check them."""


@cases
def test_targets_follow_from_inputs(name, options):
    task = make(name, options)
    batches = [task.train_batch(3, 200)]
    if name not in OTHER_FIXED_SETS:
        batches.append(next(task.eval_batches("valid", 50)))
    for batch in batches:
        for inputs, targets in columns(batch):
            SECOND_METHODS[name](inputs, targets, options)


OTHER_SIZES = [
    ("multiplication", {"length": 200}),
    ("selective_copy", {"length": 200, "letters": 20}),
    ("long_lag", {"lag": 300}),
    ("parity", {"eval_length": 1000}),
    ("recall", {"pairs": 5, "delay": 40}),
]


@pytest.mark.parametrize(("name", "options"), OTHER_SIZES)
def test_a_model_fits_longer_sequences(name, options):
    plain, longer = make(name, {}), make(name, options)
    assert plain.spec == longer.spec
    assert plain.definition != longer.definition
    shapes = [next(task.eval_batches("test", 5)).inputs.shape[0] for task in (plain, longer)]
    assert shapes[0] < shapes[1]


# --- reproducible, fixed, different --------------------------------------------------------------------


@cases
def test_a_batch_depends_on_seed_and_step_alone(name, options):
    task = make(name, options)
    for step in (9, 2, 0):
        task.train_batch(step, 8)
    assert same(task.train_batch(5, 8), make(name, options).train_batch(5, 8))
    assert not same(task.train_batch(5, 8), task.train_batch(6, 8))
    assert not same(task.train_batch(5, 8), make(name, options, seed=6).train_batch(5, 8))


@drawn_cases
def test_fixed_sets_do_not_depend_on_the_batch_size(name, options):
    task = make(name, options, valid_size=23, test_size=17)
    whole = [pair for batch in task.eval_batches("valid", 23) for pair in columns(batch)]
    pieces = [pair for batch in task.eval_batches("valid", 5) for pair in columns(batch)]
    test = [pair for batch in task.eval_batches("test", 5) for pair in columns(batch)]
    train = [pair for step in range(3) for pair in columns(task.train_batch(step, 20))]
    assert whole == pieces
    assert (len(whole), len(test)) == (23, 17)
    if name not in ("lookaround", "embedded_reber"):  # so few sequences that training may repeat them
        texts = [str(pair) for pair in whole + test + train]
        assert len(set(texts)) == len(texts)


DEFINITIONS = [
    ("adding", {"variant": "hochreiter"}, "adding/hochreiter/length=100/v1"),
    ("temporal_order", {"symbols": 3}, "temporal_order/symbols=3/length=100/v1"),
    ("parity", {"length": 30}, "parity/length=30/eval_length=120/v1"),
    ("two_sequence", {}, "two_sequence/noisy_signal/length=100/signal=3/v1"),
    ("embedded_reber", {"valid_size": 9}, "embedded_reber/v1"),
    ("counting", {}, "counting/language=ab/train_limit=20/length_distribution=uniform/limit=200/v1"),
    ("timing", {"interval": [3, 5]}, "timing/interval=3,5/train_spikes=10/spikes=1000/v1"),
]


@pytest.mark.parametrize(("name", "options", "definition"), DEFINITIONS)
def test_the_definition_names_the_settings_that_decide_the_data(name, options, definition):
    """Runs and checkpoints keep it, so it must not change."""
    assert make(name, options).definition == definition


@drawn_cases
def test_different_sets_have_different_fingerprints(name, options):
    task = make(name, options, valid_size=30, test_size=30)
    again = make(name, options, valid_size=30, test_size=30)
    other = make(name, options, seed=6, valid_size=30, test_size=30)
    assert task.fingerprint("valid") == again.fingerprint("valid")
    assert len({task.fingerprint("valid"), task.fingerprint("test"), other.fingerprint("valid")}) == 3


# --- baselines, computed here from data ------------------------------------------------------------


def test_baselines_of_the_literature():
    assert make("adding", {}).baseline("test")["mse"] == pytest.approx(1 / 6)
    assert make("multiplication", {}).baseline("test")["mse"] == pytest.approx(7 / 144)
    assert make("selective_copy", {}).baseline("test")["loss"] == pytest.approx(10 * math.log(8) / 111)
    assert make("long_lag", {}).baseline("test") == {"loss": pytest.approx(math.log(2)), "accuracy": 0.5}
    assert make("parity", {"eval_length": 10**6}).baseline("test")["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert make("recall", {"values": 12}).baseline("test")["loss"] == pytest.approx(math.log(12))


OWN_BASELINE = ("stories", "embedded_reber", "counting", "brackets")
"""Tasks whose baseline other tests check."""


@cases
def test_the_best_guess_without_a_memory_reaches_the_baseline(name, options):
    """The loss and the metrics of the best guess at each step are the baseline."""
    if name in OWN_BASELINE:
        pytest.skip("another test checks it")
    task = make(name, options, test_size=20_000)
    batch = next(task.eval_batches("test", 20_000))
    if name in NUMBERS:
        outputs = torch.full_like(batch.targets, float(batch.targets.mean()))
    elif options.get("variant") == "noisy_targets":
        outputs = torch.full((batch.size, 1), float(batch.targets[:, 0].mean()))
    else:
        classes = task.spec.output_size
        logits = torch.full((*batch.targets.shape, classes), 0.0)
        if name in ("copy_memory", "selective_copy"):
            recalled = options.get("letters", 10)
            logits[:-recalled] = torch.tensor([-1e9] * (classes - 1) + [0.0])
            logits[-recalled:, :, -1] = -1e9
        if name == "parity":
            logits[0].scatter_(-1, batch.inputs[0, :, None], 1e9)  # the first bit is its own parity
        if name == "lookaround":
            p = 1 / options["symbols"]
            logits[...] = torch.tensor([1 - p, p]).log()
        if name == "timing":
            p = float(batch.targets.float().mean())
            logits[...] = torch.tensor([1 - p, p]).log()
        outputs = logits
    total, count = task.loss(answer(outputs), batch)
    assert float(total) / count == pytest.approx(task.baseline("test")["loss"], rel=0.03)
    if options.get("variant") == "noisy_targets":
        outputs = torch.full_like(outputs, 0.2)  # half of them right, and the same mean difference
    measured = task.measure(answer(outputs), batch).means()
    for metric in measured.keys() & task.baseline("test").keys():
        assert measured[metric] == pytest.approx(task.baseline("test")[metric], abs=0.02)


# --- loss, metrics, solved -------------------------------------------------------------------------


@cases
def test_right_answers_solve_a_task_and_wrong_ones_do_not(name, options):
    task = make(name, options, valid_size=300)
    batch = next(task.eval_batches("valid", 300))
    right = perfect(task, batch)
    wrong = right + 0.1 if right.shape[-1] == 1 else right.roll(1, -1)
    for outputs, solved in ((right, True), (wrong, False)):
        means = {"loss": 0.0} | task.measure(answer(outputs), batch).means()
        assert task.solved(task.summarise(means)) is solved
    total, count = task.loss(answer(right), batch)
    noise = 0.1 if options.get("variant") == "noisy_targets" else 0.0
    assert float(total) / count == pytest.approx(noise, rel=0.3, abs=1e-6)


OTHER_RULE = ("embedded_reber", "counting", "timing")
"""Tasks with another rule than 99 %; other tests check it."""


@pytest.mark.parametrize(("wrong", "solved"), [(5, True), (20, False)])
@cases
def test_solved_means_99_percent(name, options, wrong, solved):
    """`wrong` of 1,000 sequences have wrong answers at all steps."""
    if name in OTHER_RULE or options.get("variant") == "noisy_targets":
        pytest.skip("has another rule")
    task = make(name, options, valid_size=1000)
    batch = next(task.eval_batches("valid", 1000))
    outputs = perfect(task, batch)
    failed = outputs[..., :wrong, :]
    failed[...] = failed + 0.1 if outputs.shape[-1] == 1 else failed.roll(1, -1)
    assert task.solved(task.measure(answer(outputs), batch).means()) is solved


@pytest.mark.parametrize("name", ["stories", "embedded_reber", "counting", "timing"])
def test_padding_is_not_scored(name):
    task = make(name, {})
    batch = task.train_batch(0, 40)
    outputs = torch.randn(*batch.inputs.shape[:2], task.spec.output_size)
    before = task.loss(answer(outputs), batch), task.measure(answer(outputs), batch)
    steps = torch.arange(len(outputs))[:, None]
    outputs[steps >= batch.lengths] = 1e6
    assert (task.loss(answer(outputs), batch), task.measure(answer(outputs), batch)) == before
    assert before[0][1] == int(batch.lengths.sum())
    assert task.work(batch) == 40


def shows_the_next_input(batch):
    """Whether at every scored step except the last one the target is the next input, or a set that contains it."""
    inputs, targets = batch.inputs[1:], batch.targets[:-1]
    if batch.inputs.is_floating_point() or targets.dim() < 2:
        return False
    scored = torch.ones_like(batch.inputs, dtype=torch.bool) if batch.scored is None else batch.scored
    both = scored[1:] & scored[:-1]
    if targets.dim() == 3:
        hit = targets.gather(-1, inputs.clamp(max=targets.shape[-1] - 1)[..., None])[..., 0] > 0
    else:
        hit = targets == inputs
    return bool(hit[both].all())


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if issubclass(task, GeneratedTask)])
def test_a_task_whose_target_is_the_next_input_declares_it(name):
    """`next_token` protects the task from models that read backward; a task without the declaration fails here."""
    batch = make(name, {}).train_batch(0, 20)
    if name != "brackets":  # an opening bracket may always come, and is in no set
        assert shows_the_next_input(batch) == TASKS[name].next_token


class Echo(SizedTask):
    """A new task that declares only that its target is the next input."""

    name = "echo"
    next_token = True


def test_a_new_next_token_task_is_protected_from_models_that_read_backward(monkeypatch):
    section = section_of(Echo, "echo", Declared)
    monkeypatch.setitem(TASKS, "echo", Echo)
    model = load_config("quickstart", ["model.direction=bidirectional"]).model
    config = load_config("quickstart").model_copy(update={"task": section(name="echo"), "model": model})
    (fault,) = check_together(config)
    assert fault.path == ("model", "direction")
    assert "with task 'echo' would show the model what it must predict; use 'forward'" in fault.message
