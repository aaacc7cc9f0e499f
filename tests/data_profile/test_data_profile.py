"""`seqtrain data`: what it says of a file against what the file was made of, and its config trains."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars
import pytest
import yaml

from seqtrain.data_profile import profile
from seqtrain.data_profile.layout import step_in_words
from seqtrain.tasks.tables.steps import Step

QUICK = ("model.hidden_size=4", "train.epochs=null", "train.patience=null", "train.steps=2", "threads=1", "-q")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trains(seqtrain, monkeypatch):
    """Check that the config of a file is valid and trains, and return it: `trains("a.csv")`."""

    def trains(file):
        written = seqtrain("data", file, "--out", "my.yaml", "--overwrite")
        assert written.code == 0
        assert written.err == "my.yaml written\nnext: seqtrain train my.yaml\n"
        text = Path("my.yaml").read_text()
        assert text in written.out
        settings = yaml.safe_load(text)
        assert settings == yaml.safe_load(json.dumps(seqtrain("data", file, "--json").json["config"]))
        validated = seqtrain("validate", "my.yaml", "-q")
        assert (validated.code, validated.err) == (0, "")
        trained = seqtrain("train", "my.yaml", *QUICK, "--overwrite", "--out", "run")
        assert trained.code == 0, trained.err
        return settings

    return trains


def months(count):
    return [f"{2000 + m // 12}-{m % 12 + 1:02d}-01" for m in range(count)]


def days(count):
    return [str(date(2024, 1, 1) + timedelta(n)) for n in range(count)]


def test_one_series_of_years(seqtrain, trains):
    Path("a.csv").write_text("year,spots\n" + "".join(f"{1700 + t},{t % 11 + t / 7:.2f}\n" for t in range(200)))
    found = profile("a.csv")
    assert (found.kind, found.faults, found.remarks, found.why_not) == ("series", [], [], None)
    assert found.facts == {"rows": 200, "columns": 2, "time": "year", "step": "1", "missing steps": 0}
    task = trains("a.csv")["task"]
    assert {key: task[key] for key in ("time", "targets", "valid_from", "test_from")} == {
        "time": "year", "targets": ["spots"], "valid_from": 1840, "test_from": 1870,
    }  # fmt: skip
    assert task["differences"] is True  # a slow rise
    assert "season" not in task
    assert "missing" not in task


def test_several_series_in_any_order(trains):
    draw = np.random.default_rng(0)
    lengths = {"s3": 40, "s1": 60, "s2": 45}
    rows = [f"{m},{name},{draw.normal():.3f},7,{draw.normal():.2f}" for name, T in lengths.items() for m in months(T)]
    draw.shuffle(rows)
    Path("a.csv").write_text("month,store,y,one,x\n" + "\n".join(rows) + "\n")
    found = profile("a.csv")
    wanted = {"rows": 145, "time": "month", "step": "1 month", "id": "store", "series": 3, "shortest": 40, "median": 45}
    assert wanted.items() <= found.facts.items()
    kinds = {column["name"]: (column["kind"], column["role"]) for column in found.columns}
    assert kinds == {
        "month": ("time", "time"), "store": ("text", "id"), "y": ("number", "number"), "one": ("constant", "-"),
        "x": ("number", "number"),
    }  # fmt: skip
    task = trains("a.csv")["task"]
    assert (task["id"], task["targets"], task["inputs"], task["season"]) == ("store", ["y"], ["x"], 12)
    assert "differences" not in task  # independent draws


def test_gaps_and_missing_values_are_counted_and_masked(trains):
    lines = [f"{day},{n / 3:.3f},{n % 4}" for n, day in enumerate(days(90))]
    lines[5] = lines[5].split(",")[0] + ",,1"
    lines[6] = lines[6].split(",")[0] + ",NA,1"
    del lines[40:43], lines[20]  # lines 22 and 41 of the file come before the gaps
    Path("a.csv").write_text("day,a,b\n" + "\n".join(lines) + "\n")
    found = profile("a.csv")
    assert found.facts["missing steps"] == 4
    assert found.remarks == [
        "a.csv:21: 1 step missing after 2024-01-20",
        "a.csv:40: 3 steps missing after 2024-02-09",
    ]
    assert [column["missing"] for column in found.columns] == [0, 2, 0]
    task = trains("a.csv")["task"]
    assert (task["missing"], task["season"], task["targets"]) == ("mask", 7, ["a", "b"])
    assert "differences" not in task  # one of the two targets changes fast


def test_faults_are_told_with_their_rows_and_the_rest_trains(trains):
    lines = [f"{day},{n % 5},{n}" for n, day in enumerate(days(60))]
    lines[7], lines[9] = "2024-01-08,many,7", "2024-01-10,1e999,9"
    Path("a.csv").write_text("day,a,b\n" + "\n".join(lines) + "\n")
    found = profile("a.csv")
    assert found.faults == [
        "a.csv:9: column 'a' has 'many', which is no number",
        "a.csv:11: column 'a' has '1e999', which is no number",
        "2 cells in all; write numbers as 1234.5, and leave a missing value empty; until then the config leaves these "
        "columns out",
    ]
    assert trains("a.csv")["task"]["targets"] == ["b"]
    lines[3] = "2024-13-01,1,1"
    Path("a.csv").write_text("day,a,b\n" + "\n".join(lines) + "\n")
    assert "a.csv:5: column 'day' has '2024-13-01', which is no time; write whole numbers" in profile("a.csv").faults[3]
    assert "time" not in trains("a.csv")["task"]


def test_irregular_or_repeated_times_make_each_row_a_step(trains):
    Path("a.csv").write_text("t,y\n" + "".join(f"{t * t},{t % 3}\n" for t in range(50)))
    found = profile("a.csv")
    assert found.facts["step"] == "irregular"
    assert "the steps of 1 series are not at regular distances in column 't'" in found.remarks[-1]
    assert "time" not in trains("a.csv")["task"]
    Path("b.csv").write_text("year,quarter,y\n" + "".join(f"{1990 + t // 4},{t % 4 + 1},{t % 3}\n" for t in range(50)))
    found = profile("b.csv")
    assert "column 'year' has the same time in several rows" in found.remarks[0]
    assert "time" not in trains("b.csv")["task"]


def test_tagged_words_train_from_both_sides(trains):
    for name, content in (
        ("a.txt", "the/DT old/JJ cats/NNS\nsleep/VBP ./.\n" * 20),
        ("a.conll", "# s\nthe DT O\ncats NNS B-X\n\nsleep VBP O\n. . O\n\n" * 20),
    ):
        Path(name).write_text(content)
        config = trains(name)
        assert (config["task"]["name"], config["model"]["direction"]) == ("tagging", "bidirectional")


def test_what_no_config_can_be_written_for(seqtrain):
    for name, content, kind, wanted in (
        ("words.csv", "a,b\n" + "x,y\nz,y\n" * 20, "series", "no column of numbers is left to forecast"),
        ("short.csv", "y\n1\n2\n", "series", "mend the faults first"),
        ("empty.csv", "a,b\n", "unknown", "mend the faults first"),
        ("ragged.csv", "a,b\n1,2\n1,2,3\n", "unknown", "mend the faults first"),
        ("nothing.txt", "\n\n", "unknown", "it is empty"),
        ("tags.txt", "the/DT old/JJ cats/NNS\nsleep/VBP ./.\n" * 20 + "end", "tagging", "mend the faults first"),
        ("numbers.txt", "x y\n" + "1 2.5\n3 4e-1\n" * 20, "unknown", "write a CSV file with a header and commas"),
        ("pairs.txt", "a b\tb a\nc d\td c\n" * 9, "pairs", "seqtrain score RUN pairs.txt --pairs"),
    ):
        Path(name).write_text(content)
        found = seqtrain("data", name, "--json")
        assert (found.code, found.json["kind"], found.json["config"]) == (0, kind, None)
        assert wanted in found.json["why_not"]
        shown = seqtrain("data", name)
        assert f"no config: {found.json['why_not']}" in shown.out
        refused = seqtrain("data", name, "--out", "no.yaml")
        assert (refused.code, Path("no.yaml").exists()) == (2, False)
    assert "ragged.csv: is no table" in profile("ragged.csv").faults[0]
    assert "short.csv: the train part has no step to predict" in profile("short.csv").faults[0]


def test_numbers_and_dates_in_other_forms_are_named(seqtrain):
    rows = [f"{d:02d}.01.2024;{d},5;1,{d:03d},000;{d}\n" for d in range(1, 30)]
    Path("a.csv").write_text("day;n;big;y\n" + "".join(rows))
    assert profile("a.csv").faults == [
        "a.csv: column 'day' has dates that seqtrain does not read; write 2024-01-31",
        "a.csv: column 'n' has numbers with a decimal comma; write 1234.5",
        "a.csv: column 'big' has numbers with commas between thousands; write 1234.5",
    ]


def test_columns_of_words_with_tags_are_recognised():
    Path("conll.txt").write_text("the DT B\nold JJ I\ncats NNS I\n\nthey PRP O\nsleep VBP O\n\n" * 30)
    found = profile("conll.txt")
    assert (found.kind, found.facts["sentences"]) == ("tagging", "60")
    assert found.facts["tags"] == {"I": 60, "O": 60, "B": 30}
    words = [f"word{n} and{n * n % 89}" for n in range(80)]
    Path("poem.txt").write_text("\n\n".join("\n".join(words[n : n + 4]) for n in range(0, 80, 4)) + "\n")
    assert profile("poem.txt").kind == "text"


@pytest.mark.parametrize(
    ("lines", "unit"),
    [("the cat sat on the mat\n\nand slept\n", "word"), ("春天来了花开满园\n鸟儿在树上唱歌\n", "character")],
)
def test_a_text(trains, lines, unit):
    Path("my text.txt").write_text(lines * 60, encoding="utf-8")
    facts = profile("my text.txt").facts
    assert facts["lines"] == 60 * lines.count("\n")
    assert facts["empty lines"] == (60 if unit == "word" else 0)
    assert (facts["words"], facts["characters"]) == (60 * len(lines.split()), 60 * len(lines))
    assert facts["alphabet"] == len(set(lines) - {"\n"})
    task = trains("my text.txt")["task"]
    assert (task["unit"], task["path"]) == (unit, "my text.txt")


def test_a_folder_of_a_text_and_one_of_other_files(trains, text_folder):
    facts = profile("text").facts
    assert (facts["train lines"], facts["valid lines"], facts["test words"]) == (60, 12, 60)
    assert trains("text")["task"]["path"] == "text"
    (text_folder / "test.txt").unlink()
    assert profile("text").faults == ["text/test.txt: no such file; a folder of a text has three"]
    Path("other").mkdir()
    Path("other/a.jpg").write_text("")
    assert profile("other").facts == {"files": "a.jpg"}


def labelled(T=12, count=40):
    draw = np.random.default_rng(2)
    return [
        (f"g{n:02d}", t, round(n % 2 + draw.normal(), 3), "ab"[n % 2], f"w{n % 5}")
        for n in range(count)
        for t in range(T)
    ]


def test_sequences_with_labels_as_a_table_a_folder_and_in_other_formats(trains):
    names = ("gesture", "step", "x", "writer", "shape")
    rows = [(g, t, x, writer, shape) for g, t, x, shape, writer in labelled()]
    polars.DataFrame(rows, schema=list(names), orient="row").write_parquet("a.parquet")
    found = profile("a.parquet")
    assert (found.kind, found.facts["series"]) == ("sequences", 40)
    task = trains("a.parquet")["task"]
    wanted = {
        "name": "sequences",
        "id": "gesture",
        "step": "step",
        "targets": ["shape"],
        "inputs": ["x"],
        "group": "writer",
    }
    assert wanted.items() <= task.items()
    Path("folder").mkdir()
    for n in range(40):
        Path(f"folder/{n}.csv").write_text("x,y\n" + "".join(f"{t % 3},{n % 2}\n" for t in range(9)))
    Path("folder/labels.csv").write_text("file,kind\n" + "".join(f"{n}.csv,{'ab'[n % 2]}\n" for n in range(40)))
    assert trains("folder")["task"]["targets"] == ["kind"]
    cases = "".join(f"{n},1,2:3,4,{n}:{'ab'[n % 2]}\n" for n in range(40))
    for part in ("TRAIN", "TEST"):
        Path(f"a_{part}.ts").write_text(
            "# mine\n@problemName P\n@univariate false\n@classLabel true a b\n@data\n" + cases
        )
    facts = profile("a_TRAIN.ts").facts
    assert facts == {
        "problem": "P", "sequences": 40, "columns": 2, "shortest": 3, "median": 3, "longest": 3,
        "classes": {"a": 20, "b": 20},
    }  # fmt: skip
    assert trains("a_TRAIN.ts")["task"]["test_path"] == "a_TEST.ts"
    numbers = {"inputs": np.zeros((80, 3)), "lengths": np.full(40, 2), "labels": np.arange(40) % 2}
    np.savez("a.npz", **numbers)
    assert [(array["name"], array["shape"]) for array in profile("a.npz").columns] == [
        ("inputs", [80, 3]), ("lengths", [40]), ("labels", [40]),
    ]  # fmt: skip
    assert trains("a.npz")["task"] == {"name": "sequences", "path": "a.npz", "predict": "class"}


def test_objects_in_arrays_are_not_read(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, inputs=np.array([{"x": 1}], dtype=object))
    found = profile(str(file))
    assert "array 'inputs' holds Python objects, which are not read" in found.faults[0]
    file.write_bytes(b"PK\3\4 no archive")
    assert "is no whole .npz file" in profile(str(file)).faults[0]


def test_a_town_of_each_shop_is_no_label_beside_dates(trains):
    lines = [
        f"{shop},{day},{n % 7},{town}" for shop, town in (("a", "x"), ("b", "y")) for n, day in enumerate(days(60))
    ]
    Path("a.csv").write_text("shop,day,sales,town\n" + "\n".join(lines) + "\n")
    assert profile("a.csv").kind == "series"
    assert trains("a.csv")["task"]["targets"] == ["sales"]


def test_a_table_in_parquet_with_typed_columns(trains):
    frame = polars.DataFrame(
        {
            "at": polars.datetime_range(date(2024, 1, 1), date(2024, 1, 9), "1h", eager=True),
            "on": [n % 2 == 0 for n in range(193)],
            "v": np.sin(np.arange(193) / 4),
            "list": [[1, 2]] * 193,
        }
    )
    frame.write_parquet("a.parquet")
    found = profile("a.parquet")
    assert found.facts["step"] == "1 hour"
    task = trains("a.parquet")["task"]
    assert (task["time"], task["season"], task["valid_from"]) == ("at", 24, "2024-01-06 15:00:00")


def test_what_cannot_be_read_is_refused(seqtrain):
    Path("latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    for file, wanted in (("none.csv", "none.csv: no such file"), ("latin.txt", "latin.txt:1: is not UTF-8")):
        refused = seqtrain("data", file)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err
    Path("a.csv").write_text("y\n" + "1\n2\n" * 40)
    Path("my.yaml").write_text("mine")
    refused = seqtrain("data", "a.csv", "--out", "my.yaml")
    assert (
        refused.err
        == "seqtrain: my.yaml: exists already; replace it with --overwrite, or choose another name with --out\n"
    )
    assert "let it end in .yaml or .yml" in seqtrain("data", "a.csv", "--out", "a.txt").err
    assert "--overwrite is for the file of --out" in seqtrain("data", "a.csv", "--overwrite").err


@pytest.mark.parametrize(
    ("kind", "step", "words"),
    [
        ("day", Step(1, False), "1 day"), ("day", Step(7, False), "7 days"), ("day", Step(3, True), "3 months"),
        ("day", Step(12, True), "1 year"), ("microsecond", Step(3_600_000_000, False), "1 hour"),
        ("microsecond", Step(900_000_000, False), "15 minutes"),
        ("microsecond", Step(1500, False), "1,500 microseconds"),
        ("whole number", Step(10, False), "10"),
    ],
)  # fmt: skip
def test_a_step_in_words(kind, step, words):
    assert step_in_words(kind, step) == words


def test_train_points_to_data(seqtrain):
    Path("a b.csv").write_text("y\n1\n")
    Path("tags.txt").write_text("the/DT cat/NN runs/VBZ\n")
    Path("text.txt").write_text("the cat runs\n")
    Path("folder").mkdir()
    Path("folder/labels.csv").write_text("file,label\n")
    for file, wanted in (
        ("a b.csv", "seqtrain data 'a b.csv' tells what it holds, and writes a config that trains on it"),
        ("tags.txt", "is no config, but a text of words with tags; seqtrain data tags.txt tells what it holds"),
        ("text.txt", "seqtrain train words task.path=text.txt"),
        ("folder", "seqtrain data folder tells what it holds"),
    ):
        refused = seqtrain("train", file)
        assert refused.code == 2
        assert wanted in refused.err


# --- sequences in all their forms ------------------------------------------------------------------------------------

DRAW = np.random.default_rng(0).normal(size=(40, 9, 2))
LENGTHS = np.random.default_rng(1).integers(1, 10, 40)
OF_ARRAYS = {
    "no lengths": ({"inputs": DRAW, "labels": list("xy" * 20)}, {"predict": "class"}),
    "labels of padded steps": (
        {"lengths": LENGTHS, "labels": (DRAW[..., 0] > 0).astype(int)}, {"predict": "step_class"}
    ),
    "numbers of padded steps": ({"lengths": LENGTHS, "labels": DRAW[..., 0]}, {"predict": "step_number"}),
    "big-endian numbers": ({"lengths": LENGTHS, "labels": DRAW[:, 0, 0].astype(">f8")}, {"predict": "number"}),
    "binary vectors": ({"inputs": DRAW > 0, "lengths": LENGTHS}, {"predict": "next_step"}),
    "missing values": (
        {"inputs": np.where(DRAW > 2, np.nan, DRAW), "labels": list("xy" * 20)}, {"predict": "class", "missing": "mask"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_arrays_of_every_form_have_a_config(name):
    arrays, wanted = OF_ARRAYS[name]
    np.savez("a.npz", **{"inputs": DRAW} | arrays)
    assert profile("a.npz").config.settings["task"] == {"name": "sequences", "path": "a.npz"} | wanted


def test_binary_vectors_have_a_config_that_trains(trains):
    np.savez("a.npz", inputs=DRAW > 0, lengths=LENGTHS)
    assert "direction" not in trains("a.npz")["model"]


def test_ts_files_with_gaps_tabs_and_without_labels():
    lines = "".join(f"{n},2,{n % 5}:{'xy'[n % 2]}\n" for n in range(30))
    Path("a.ts").write_text("@classLabel\ttrue x y\n@data\n1,?,3:x\n" + lines)
    own = profile("a.ts")
    assert own.facts["classes"] == {"x": 16, "y": 15}
    assert own.config.settings["task"] == {"name": "sequences", "path": "a.ts", "missing": "mask"}
    Path("b.ts").write_text("@classLabel false\n@data\n" + "0,1,1\n1,0,1\n" * 20)
    assert profile("b.ts").config.settings["task"]["predict"] == "next_step"


FOLDERS = [
    (["file", "person", "label"], lambda n: [f"{n}", f"p{n % 5}", "xy"[n % 2]],
     {"targets": ["label"], "group": "person"}),
    (["name", "score"], lambda n: [f"{n}.csv", n * 1.5], {"targets": ["score"], "id": "name", "predict": "number"}),
    (["file", "split", "kind"], lambda n: [f"{n}", ["train", "valid", "test"][n % 7 % 3], "xy"[n % 2]],
     {"targets": ["kind"], "part": "split"}),
    (["file", "kind"], lambda n: [f"{n}", n % 2], {"targets": ["kind"]}),
]  # fmt: skip


@pytest.mark.parametrize(("header", "row", "wanted"), FOLDERS, ids=[str(header) for header, _, _ in FOLDERS])
def test_a_folder_whose_columns_say_what_they_are_for(header, row, wanted):
    Path("f").mkdir()
    for n in range(20):
        Path(f"f/{n}.csv").write_text("a,b\n" + f"{n},1.5\n" * (1 + n % 3))
    Path("f/labels.csv").write_text("\n".join(",".join(map(str, own)) for own in [header, *map(row, range(20))]))
    assert profile("f").config.settings["task"] == {"name": "sequences", "path": "f"} | wanted


def test_a_folder_of_tables_with_dates():
    Path("f").mkdir()
    for n in range(20):
        Path(f"f/{n}.csv").write_text("a,day\n" + "".join(f"{n},2024-01-0{t}\n" for t in range(1, 3 + n % 3)))
    Path("f/labels.csv").write_text("file,label\n" + "".join(f"{n},{'xy'[n % 2]}\n" for n in range(20)))
    assert profile("f").config.settings["task"]["step"] == "day"


def test_a_table_that_names_its_parts_or_whose_y_is_a_label():
    steps = [(n, t) for n in range(40) for t in range(1 + n % 4)]
    parts = ["train", "valid", "test"]
    rows = [f"s{n},{t},{t + n % 2},{'xy'[n % 2]},{parts[n % 7 % 3]}" for n, t in steps]
    Path("a.csv").write_text("\n".join(["id,t,a,kind,split", *rows]))
    task = profile("a.csv").config.settings["task"]
    assert (task["targets"], task["part"], task["inputs"]) == (["kind"], "split", ["a"])
    Path("b.csv").write_text("\n".join(["id,t,a,y", *(f"s{n},{t},{t + n % 2},{n * 1.5}" for n, t in steps)]))
    task = profile("b.csv").config.settings["task"]
    assert (task["name"], task["targets"], task["predict"]) == ("sequences", ["y"], "number")


def test_a_damaged_npz_file_is_told():
    np.savez_compressed("a.npz", inputs=DRAW, labels=list("xy" * 20))
    whole = Path("a.npz").read_bytes()
    for place in range(30, 3000, 97):
        Path("a.npz").write_bytes(whole[:place] + bytes(9) + whole[place + 9 :])
        assert profile("a.npz").faults


def test_padding_and_nan_are_no_values():
    Path("a.ts").write_text("@classLabel true x y\n@data\n1,2,?,?:x\n1,2,3,4:y\n1,2,?,NaN:x\n")
    facts = profile("a.ts").facts
    assert (facts["shortest"], facts["median"], facts["longest"]) == (2, 2, 4)
    polars.DataFrame({"t": [1, 2, 3, 4], "v": [1.0, float("nan"), 3.0, None]}).write_parquet("a.parquet")
    assert [(c["name"], c["values"], c["missing"]) for c in profile("a.parquet").columns] == [("t", 4, 0), ("v", 2, 2)]


# --- times that cannot be used, and what is known ahead -----------------------------------------------------------


def config_text(seqtrain, file):
    return seqtrain("data", file).out.partition("config:")[2]


def test_a_repeated_time_is_a_fault_with_its_rows(seqtrain, trains):
    lines = [f"{month},{n / 7:.2f}" for n, month in enumerate(months(60))]
    lines.append(lines[5])
    Path("dup.csv").write_text("date,y\n" + "\n".join(lines) + "\n")
    found = profile("dup.csv")
    assert found.faults == ["dup.csv:62: has the same time, 2000-06-01, as line 7; keep one of them"]
    unused = "no time, as 'date' cannot be used until mended: each row is a step"
    assert found.remarks == [f"the config has {unused}"]
    assert f"  # {unused}\n" in config_text(seqtrain, "dup.csv")
    assert "time" not in trains("dup.csv")["task"]
    Path("shops.csv").write_text(
        "y,shop,date\n" + "".join(f"{n},{s},{d}\n" for s in "ab" for n, d in enumerate(days(40)))
    )
    with Path("shops.csv").open("a") as file:
        file.write("3,a,2024-01-02\n")
    found = profile("shops.csv")
    assert found.faults == ["shops.csv:82: has the same time, 2024-01-02, as line 3 of shop a; keep one of them"]
    assert (found.facts["id"], found.config.settings["task"]["id"]) == ("shop", "shop")
    years = polars.DataFrame({"year": [*range(1900, 1960), 1903], "v": np.sin(np.arange(61))})
    years.write_parquet("dup.parquet")
    found = profile("dup.parquet")
    assert found.faults == ["dup.parquet:61: has the same time, 1903, as row 4; keep one of them"]
    assert found.config.settings["task"]["targets"] == ["v"]


def test_a_bad_or_empty_date_is_said_to_leave_no_time(seqtrain):
    for wrong in ("2001-13-01", "\n,0\n,1\n2009-01-01"):
        lines = [f"{month},{n % 5}\n" for n, month in enumerate(months(60))]
        Path("a.csv").write_text("date,y\n" + "".join(lines[:9]) + f"{wrong},1\n".lstrip() + "".join(lines[10:]))
        found = profile("a.csv")
        assert "a.csv:11: column 'date'" in found.faults[0]
        assert found.remarks == ["the config has no time, as 'date' cannot be used until mended: each row is a step"]
        assert "# no time, as 'date' cannot be used" in config_text(seqtrain, "a.csv")


def test_parts_of_a_date_are_no_targets(seqtrain, trains):
    rows = [f"{1959 + t // 4},{t % 4 + 1},{t * t % 7 + 0.5},{t % 5}\n" for t in range(80)]
    Path("macro.csv").write_text("Year,QUARTER,gdp,cpi\n" + "".join(rows))
    found = profile("macro.csv")
    advice = "write one column of dates such as 1959-04-01 and name it with task.time"
    assert f"parts of a time are no targets: 'Year', 'QUARTER'; {advice}" in found.remarks
    assert "write a column of ids" not in "".join(found.remarks)
    assert trains("macro.csv")["task"]["targets"] == ["gdp", "cpi"]
    text = config_text(seqtrain, "macro.csv")
    assert (
        "  # rmse_NAME is in the unit of each target, and the largest rules rmse: leave one target, or scale\n" in text
    )
    assert "  # known: [Year, QUARTER]  # if these are known ahead" in text
    dated = [f"{day},{n % 7},{n * n % 11}\n" for n, day in enumerate(days(60))]
    Path("b.csv").write_text("date,weekday,y2\n" + "".join(dated))
    assert profile("b.csv").config.settings["task"]["targets"] == ["y2"]
    assert profile("b.csv").remarks == []


@pytest.mark.parametrize(
    ("form", "what"),
    [
        (lambda n: f"{1959 + n // 4}Q{n % 4 + 1}", "quarters"), (lambda n: f"{1959 + n // 4}-Q{n % 4 + 1}", "quarters"),
        (lambda n: f"{2000 + n // 50}-W{n % 50 + 1:02d}", "weeks"),
        (lambda n: f"{1959 + n // 12}-{n % 12 + 1:02d}", "months"),
        (lambda n: f"{('Jan', 'June')[n % 2]} {1959 + n // 2}", "months"),
    ],
)  # fmt: skip
def test_times_in_other_forms_are_named(form, what):
    Path("a.csv").write_text("when,y\n" + "".join(f"{form(n)},{n % 5}\n" for n in range(60)))
    found = profile("a.csv")
    assert f"a.csv: column 'when' has {what} such as " in found.faults[0]
    assert "write one column of dates such as 1959-04-01 and name it with task.time" in found.faults[0]
    assert found.config.notes["task.path"] == ["no time, as 'when' cannot be used until mended: each row is a step"]
    assert "id" not in found.config.settings["task"]


def test_rows_after_the_last_target_tell_what_is_known_ahead(seqtrain, trains):
    rows = [
        f"{day},{shop},{n % 7 if n < 80 else ''},{int(n % 9 == 0)},{n * n % 13 if n < 80 else ''}\n"
        for shop in "ab" for n, day in enumerate(days(100))
    ]  # fmt: skip
    Path("shops.csv").write_text("day,shop,sales,holiday,temp\n" + "".join(rows))
    task = trains("shops.csv")["task"]
    assert (task["known"], task["targets"]) == (["holiday"], ["sales", "temp"])
    assert (task["valid_from"], task["test_from"]) == (days(100)[56], days(100)[68])  # of 80 days
    Path("all.csv").write_text("day,shop,sales,holiday,temp\n" + "".join(row for row in rows if ",," not in row))
    task = trains("all.csv")["task"]
    assert (task["targets"], "known" in task) == (["sales", "temp"], False)
    text = config_text(seqtrain, "all.csv")
    assert "  # inputs: []  # to read beside the targets" in text
    assert "  # known: [holiday]  # if these are known ahead" in text
    Path("one.csv").write_text("on\n" + "0\n1\n1\n" * 30)
    assert trains("one.csv")["task"]["targets"] == ["on"]
    assert "  # known: []  # to read for the steps that are predicted" in config_text(seqtrain, "one.csv")


def test_a_table_without_a_header_is_a_fault():
    draw = np.random.default_rng(4).normal(size=(30, 8)).round(1)
    numbers = [",".join(map(str, row)) for row in draw]
    for name, lines in (
        ("a.csv", numbers),
        ("a.tsv", [f"{n % 2}\t{line}".replace(",", "\t") for n, line in enumerate(numbers)]),
        ("a.txt", numbers),
        ("dates.csv", [f"{day},{n / 3}" for n, day in enumerate(days(30))]),
        ("names.csv", [f"shop{n % 2},{line}" for n, line in enumerate(numbers)]),
        ("twice.csv", ["1,1,1", "2,2,3"]),
        ("one.csv", ["1.5"]),
    ):
        Path(name).write_text("\n".join(lines) + "\n")
        found = profile(name)
        assert found.faults == [
            f"{name}:1: the first line holds numbers, not names: write a header, such as time,value"
        ]
        assert (found.config, found.facts["rows"]) == (None, len(lines))
    for name, header in (("wide.csv", "country,1990,1995,2000"), ("index.csv", ",0,1,2"), ("y.csv", "t,1,y,2")):
        Path(name).write_text(header + "\n" + "".join(f"{n},{n % 3},{n % 4},{n % 5}\n" for n in range(40)))
        assert profile(name).faults == []


# --- other files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.arff", b"@relation a\n@data\n1,2,3\n", "an ARFF file; give the .ts file"),
        ("a.yaml", b"task:\n  name: adding\n", "a config; seqtrain validate a.yaml checks it"),
        ("best.safetensors", b'\xe8\n\0\0\0\0\0\0{"__metadata__"', "a checkpoint; seqtrain eval RUN"),
        ("renamed", b'\xe8\n\0\0\0\0\0\0{"__metadata__"', "a checkpoint; seqtrain eval RUN"),
        ("a.csv.gz", b"\x1f\x8b\x08\0", "a gzip file; unpack it"),
        ("a.csv", b"\x1f\x8b\x08\0", "a gzip file; unpack it"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "a PNG picture; give a table"),
        ("a.xlsx", b"PK\3\4\0\0", "a zip archive, a workbook of Excel"),
        ("a.npy", b"\x93NUMPY\1\0", "a single array of NumPy; save it with numpy.savez"),
        ("table", b"PAR1\0\0", "a Parquet file whose name has another ending"),
    ],
)
def test_other_files_are_told_by_what_they_are(seqtrain, name, content, what):
    Path(name).write_bytes(content)
    found = seqtrain("data", name)
    assert (found.code, "iconv" in found.out + found.err) == (0, False)
    assert f"no config: it is {what}" in found.out


def test_a_text_that_begins_like_another_file_is_a_text():
    Path("a.txt").write_text("Rar! he said\nand she slept\n" * 60)
    assert profile("a.txt").kind == "text"


def test_a_folder_of_two_ts_files_or_of_a_run(trains):
    Path("G").mkdir()
    for part in ("TRAIN", "TEST"):
        cases = "".join(f"{n},{n % 3}:{'ab'[n % 2]}\n" for n in range(40))
        Path(f"G/G_{part}.ts").write_text("@classLabel true a b\n@data\n" + cases)
    task = trains("G")["task"]
    assert (task["path"], task["test_path"]) == ("G/G_TRAIN.ts", "G/G_TEST.ts")
    Path("r").mkdir()
    Path("r/config.yaml").touch()
    Path("r/best.safetensors").touch()
    assert profile("r").why_not == "it is a run; seqtrain eval r tells its results"


def test_words_of_tagged_columns_are_counted_without_tags():
    Path("a.conll").write_text("# s\nthe DT O\ncats NNS B-X\n\nsleep VBP O\n. . O\n\n" * 20)
    assert profile("a.conll").facts["words"] == 80
    nothing = "\t_" * 7
    rows = f"1-2\tdu\t_{nothing}\n1\tde\t_\tADP{nothing[2:]}\n2\tle\t_\tDET{nothing[2:]}\n"
    Path("a.conllu").write_text((rows + "\n") * 20)
    assert profile("a.conllu").facts["words"] == 40


def test_lines_that_are_sentences_have_a_comment(seqtrain, trains):
    Path("sents.txt").write_text('the dog runs .\nthe cats sleep !\n"the king sings ."\n' * 60)
    assert "sentences" not in trains("sents.txt")["task"]
    assert "  # sentences: independent  # if each line is a sentence" in config_text(seqtrain, "sents.txt")
    Path("my.yaml").write_text(Path("my.yaml").read_text().replace("# sentences", "sentences"))
    assert seqtrain("validate", "my.yaml", "-q").err == ""
    for text in ("the dog runs\nand the cat\nsleeps .\n", "the dog . " * 30 + "\n"):
        Path("other.txt").write_text(text * 60)
        assert "independent" not in config_text(seqtrain, "other.txt")


def test_rows_without_an_id_are_faults():
    rows = [f"{day},{shop},{n % 7},{n % 3}\n" for shop in "ab" for n, day in enumerate(days(50))]
    rows[60] = f"{days(50)[10]},,3,1\n"
    rows[-1] = f"{days(50)[-1]},b,,1\n"
    Path("a.csv").write_text("day,shop,sales,len\n" + "".join(rows))
    assert "a.csv:62: column 'shop' is empty; every row needs the name of its series" in profile("a.csv").faults
    polars.read_csv("a.csv").with_columns(polars.lit(None).alias("nothing")).write_parquet("a.parquet")
    assert "a.parquet:61: column 'shop' is empty" in profile("a.parquet").faults[0]
