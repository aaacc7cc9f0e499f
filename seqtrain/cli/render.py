"""Results as tables and sentences for people."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from seqtrain.system import strict_json
from seqtrain.system.progress import counted, figure, in_words

WIDTH_WITHOUT_TERMINAL = 140

PROMPT_SHOWN = 100
"""The last characters of a prompt that stand above its table."""


def show(*parts: Any) -> None:
    """Print tables or text on stdout."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if known else WIDTH_WITHOUT_TERMINAL, highlight=False)
    for part in parts:
        console.print(Text(part) if isinstance(part, str) else part)


@contextmanager
def live_text() -> Iterator[Callable[[str], None]]:
    """A function that prints pieces of a text on stdout as they come; however the text ends, its line is ended.

    A reader that has seen enough and closed the pipe, such as `head -1`, ends the program, and nothing is wrong then.
    """
    last = "\n"

    def write(piece: str) -> None:
        nonlocal last
        last = piece
        sys.stdout.write(piece)
        sys.stdout.flush()

    try:
        try:
            yield write
        finally:
            if not last.endswith("\n"):
                write("\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has to go somewhere
        raise SystemExit(0) from None


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values."""
    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=False, box=None)
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def run_table(summary: dict[str, Any]) -> Table:
    """What a person wants to know of a run that has ended."""
    name = summary["metric"]["name"]
    test, unit = summary["test"] or {}, _unit(summary)
    solved = summary["solved_at_step"]
    unsolved = ", not solved" if unit == "sequences" else ""  # a text is never solved
    best = summary["best"]
    early = summary["status"] == "finished" and summary["steps"] < summary.get("planned_steps", 0)
    stopped = f", out of patience after {summary['steps']:,} of {summary['planned_steps']:,} steps" if early else ""
    skipped = f", {counted(summary['skipped_steps'], 'step')} skipped" if summary.get("skipped_steps") else ""
    rows = [
        ("status", summary["status"] + (f" at step {solved}" if solved is not None else unsolved) + stopped + skipped),
        ("task", summary["variant"]),
        ("model", f"{summary['cell']}, {summary['direction']}, depth {summary['depth']}, "
                  f"hidden size {summary['hidden_size']}, {summary['parameters']:,} parameters"),
        (f"best valid {name}", f"{figure(best['value'])} at step {best['step']}" if best["step"] else "-"),
        *((f"test {key}", figure(value)) for key, value in test.items()),
        *((f"baseline {key}", figure(value)) for key, value in summary["baseline"].items()),
        ("time", f"{summary['elapsed_s']:.1f} s, {counted(summary['steps'], 'step')}, "
                 f"{figure(summary[f'{unit}_per_s'])} {unit}/s"),
        ("on", f"{summary['device']}, {counted(summary['threads'], 'thread')}, engine {summary['engine']}"),
        ("run", summary["run"]),
    ]  # fmt: skip
    return facts(f"{summary['cell']} on {summary['task']}", rows)


def eval_table(result: dict[str, Any]) -> Table:
    """What a person wants to know of an evaluation."""
    fixed = {
        "checkpoint", "step", "task", "variant", "changed", "cell", "split", "metric", "data", "engine",
        "baseline", "solved", "dynamic",
    }  # fmt: skip
    dynamic = result["dynamic"]
    changed = ", ".join(f"{key}={value}" for key, value in result["changed"].items())
    rows = [
        ("checkpoint", f"{result['checkpoint']} (step {result['step']})"),
        ("task", result["variant"] + (f", not as trained: {changed}" if changed else "")),
        *([("dynamic", ", ".join(f"{key} {value:g}" for key, value in dynamic.items()))] if dynamic else []),
        *((f"{result['split']} {key}", figure(value)) for key, value in result.items() if key not in fixed),
        *((f"baseline {key}", figure(value)) for key, value in result["baseline"].items()),
        *((key.replace("_", " "), value if isinstance(value, str) else figure(value))
          for key, value in result["data"].items()),
        *([("solved", "yes" if result["solved"] else "no")] if result["solved"] is not None else []),
    ]  # fmt: skip
    return facts(f"{result['cell']} on {result['task']}, {result['split']} set", rows)


def compare_table(result: dict[str, Any]) -> Table:
    """One row a cell, and the baseline; a block for each value of what is varied."""
    name, unit, varied = result["metric"]["name"], _unit(result["cells"][0]), result["varied"]
    better = "higher" if result["metric"]["higher_is_better"] else "lower"
    table = Table(
        title=Text(
            f"{result.get('variant', result['task'])}: test {name}, {better} is better; {result['outcome']} decides"
        ),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cell", overflow="fold", min_width=8, vertical="bottom")
    judged = ("solved", "median\nsteps") if result["solvable"] else (f"best\nvalid {name}",)
    point = (varied.rpartition(".")[2],) if varied else ()
    for column in (*point, "hidden", "weights", f"{name}\nmean", "95 %\ninterval", *judged, f"{unit}\nper s"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = result["cells"]
    for place, row in enumerate(rows):
        table.add_row(
            Text(row["cell"]),
            *([str(row["at"])] if varied else []),
            str(row["hidden_size"]),
            f"{row['parameters']:,}",
            figure(row["metric"]["mean"]),
            _interval(row["metric"]),
            *_judged(row, name),
            figure(row[f"{unit}_per_s"]),
        )
        if place + 1 == len(rows) or rows[place + 1]["at"] != row["at"]:
            baseline = figure(row["baseline"].get(name))
            table.add_section()
            table.add_row("baseline", *([str(row["at"])] if varied else []), "", "", baseline, style="dim")
            table.add_section()
    return table


def _judged(row: dict[str, Any], name: str) -> list[str]:
    """How often and when a task was solved; of a text, the validation metric."""
    if not row["solvable"]:
        return [figure(row["valid"].get(name))]
    diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
    return [f"{row['solved']} of {row['runs']}{diverged}", figure(row["median_steps_to_solve"])]


def _interval(found: dict[str, Any]) -> str:
    return "-" if found["low"] is None else f"{figure(found['low'])} to {figure(found['high'])}"


def compare_words(result: dict[str, Any]) -> Group:
    """Verdicts, notes, other lengths, tuning, and where the files are."""
    parts: list[Any] = [Text(f"- {sentence}") for sentence in (*result["verdicts"], *result["notes"])]
    if result["longest_solved"]:
        told = ", ".join(f"{cell} {value or 'none'}" for cell, value in result["longest_solved"].items())
        parts.append(Text(f"- largest {result['varied']} that most runs solved: {told}"))
    parts += [Text(f"- {_chosen(entry)}") for entry in result["tuning"]]
    if result["lengths"]:
        parts += [Text(""), _lengths_table(result)]
    parts.append(Text(f"\nReport: {result['files']['report.html']}"))
    return Group(*parts)


def _chosen(entry: dict[str, Any]) -> str:
    at = "" if entry["at"] is None else f" at {entry['at']}"
    return f"tuned {entry['cell']}{at}: " + ", ".join(f"{key}={value}" for key, value in entry["chosen"].items())


def _lengths_table(result: dict[str, Any]) -> Table:
    name = result["metric"]["name"]
    table = Table(title=Text("the trained models at other lengths"), title_justify="left", box=box.SIMPLE_HEAD)
    columns = ["cell", *([f"trained at {result['varied']}"] if result["varied"] else [])]
    columns += [f"evaluated at {result['lengths'][0]['setting']}", name, "95 %"]
    for place, column in enumerate([*columns, *(["solved"] if result["solvable"] else [])]):
        table.add_column(Text(column), justify="right" if place else "left")
    for row in result["lengths"]:
        table.add_row(
            Text(row["cell"]),
            *([str(row["at"])] if result["varied"] else []),
            f"{row['length']}{' (trained)' if row['trained'] else ''}",
            figure(row["metric"]["mean"]),
            _interval(row["metric"]),
            *([f"{row['solved']} of {row['runs']}"] if result["solvable"] else []),
        )
    return table


def _unit(result: dict[str, Any]) -> str:
    return "tokens" if "tokens_per_s" in result else "sequences"


def predict_table(result: dict[str, Any]) -> Group:
    """The prompt as the model read it, and what may follow."""
    read = (" " if result["unit"] == "word" else "").join(result["read"])
    read = "".join(character if character.isprintable() else repr(character)[1:-1] for character in read)
    read = read if len(read) <= PROMPT_SHOWN else f"...{read[-PROMPT_SHOWN:]}"
    what = "after" if result["prompt"] else "no prompt; after"
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"next {result['unit']}", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for row in result["next"]:
        seen = row["token"].isprintable() and not row["token"].isspace()
        table.add_row(Text(row["token"] if seen else repr(row["token"])), figure(row["probability"]))
    return Group(Text(f"{what}: {read}", style="bold"), table)


def check_table(result: dict[str, Any]) -> Table:
    """Each promise, whether it holds, and what was found."""
    table = Table(title=Text(result["config"]), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("promise", no_wrap=True)
    table.add_column("holds", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in result["promises"]:
        holds = {True: "yes", False: "NO", None: "-"}[row["holds"]]
        table.add_row(row["promise"], holds, Text(row["found"]))
    return table


def validate_table(result: dict[str, Any]) -> Table:
    """What a config builds."""
    rows = [
        ("config", f"{result['config']}: valid"),
        ("task", result["variant"]),
        ("model", f"{result['cell']}, {result['direction']}, depth {result['depth']}, "
                  f"hidden size {result['hidden_size']}, {result['parameters']:,} parameters"),
        ("engine", result["engine"]),
        ("training", counted(result["steps"], "step")),
        ("memory", _memory(**result["memory"])),
        ("optimizer", ", ".join(f"{key} {value}" for key, value in result["optimizer"].items()).removeprefix("name ")),
        *((f"baseline {key}", figure(value)) for key, value in result["baseline"].items()),
    ]  # fmt: skip
    return facts(f"{result['cell']} on {result['task']}", rows)


def _memory(peak: int, available: int | None, **_: int) -> str:
    """What training needs, and what there is if the system says it."""
    free = "" if available is None else f", {in_words(available)} free"
    return f"some {in_words(peak)} beside Python and PyTorch{free}"


def definitions(result: dict[str, Any]) -> Text:
    """Cells or tasks, each with its definition and its options."""
    text = Text()
    for entry in next(iter(result.values())):
        text.append(f"{entry['name']}\n", style="bold")
        text.append("\n".join(f"  {line}".rstrip() for line in entry["definition"].split("\n")) + "\n\n")
        text.append("  Settings\n  --------\n")
        for name, option in entry["options"].items():
            default = "required" if option["required"] else f"default {strict_json.dumps(option['default'])}"
            text.append(f"  {name}: {option['kind']} ({default})\n      {option['description']}\n")
        text.append("\n")
    return text


def bench_table(result: dict[str, Any]) -> Table:
    """One row a cell and shape: milliseconds of a training step, and the ratios."""
    engines = ", ".join(sorted({row["engine"] for row in result["rows"]}))
    table = Table(
        title=Text(
            f"milliseconds, medians of {result['rounds']} rounds, {counted(result['threads'], 'thread')}, "
            f"freed memory: {result['memory']}, engine: {engines}; "
            "ratios: how many times as long as ours"
        ),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cell", vertical="bottom")
    columns = ("T,B,I,H", "step\nours", "torch\n.nn", "plain\nloop", "GEMM\nfloor", "ratio\n.nn", "ratio\nplain")
    for column in (*columns, "forward\nours", "torch\n.nn", "ratio\n.nn", "peak MB\nours / .nn"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result["rows"]:
        train, forward = row["train"], row["forward"]
        table.add_row(
            row["cell"],
            ",".join(map(str, row["shape"].values())),
            *(f"{train['ms'][name]:.3g}" for name in ("ours", "torch_nn", "plain", "floor")),
            *(f"{train['ratio'][name]:.2f}" for name in ("torch_nn", "plain")),
            *(f"{forward['ms'][name]:.3g}" for name in ("ours", "torch_nn")),
            f"{forward['ratio']['torch_nn']:.2f}",
            " / ".join("-" if peak is None else f"{peak / 1e6:.0f}" for peak in row.get("peak_bytes", {}).values())
            or "-",
        )
    return table


def bench_means(result: dict[str, Any]) -> Table:
    """The geometric means over the shapes, and the least ratio."""
    table = Table(title=Text("over the shapes: geometric mean, least"), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("cell")
    for column in ("step, torch.nn", "step, plain loop", "forward, torch.nn", "forward, plain loop"):
        table.add_column(column, justify="right")
    for row in result["means"]:
        pairs = [row[mode][peer] for mode in ("train", "forward") for peer in ("torch_nn", "plain")]
        table.add_row(row["cell"], *(f"{pair['geometric_mean']:.2f}, {pair['least']:.2f}" for pair in pairs))
    return table


def config_table(result: dict[str, Any]) -> Table:
    """The shipped configs."""
    table = Table("name", "what", title="seqtrain train NAME", title_style="bold")
    for entry in result["configs"]:
        table.add_row(Text(entry["name"]), Text(entry["summary"]))
    return table
