"""Write the results of comparisons into docs/RESULTS.md: `python docs/results.py FOLDER`.

FOLDER has one folder for each comparison, as docs/results.sh writes them. In the page, the table of a comparison
replaces the text between the comments `<!-- name -->` and `<!-- end -->`; the name `all` means one table of all
comparisons. The picture of a comparison with --vary is copied beside the page.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("RESULTS.md")
BLOCK = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CELLS = ("rnn", "lstm", "peephole", "coupled", "gru")


def main() -> None:
    """Fill in the page."""
    folder = Path(sys.argv[1])
    found = {path.parent.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/results.json"))}

    def fill(block: re.Match[str]) -> str:
        name = block[2]
        if name != "all" and name not in found:
            return block[0]
        if name == "all":
            return block[1] + matrix(found) + block[3]
        result = found[name]
        if result["varied"]:
            shutil.copy(folder / name / "success.png", PAGE.with_name(f"{name}.png"))
        return block[1] + (lags if result["varied"] else table)(result) + block[3]

    PAGE.write_text(BLOCK.sub(fill, PAGE.read_text("utf-8")), encoding="utf-8")


def table(result: dict[str, Any]) -> str:
    """One comparison: the rows, the command, and each verdict."""
    name = result["metric"]["name"]
    lines = [f"`{result['command']}`", ""]
    beside = f"compared with {result['reference']}"
    lines += [f"| cell | hidden | weights | test {name}, 95 % interval | solved | steps, median | {beside} |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in result["cells"]:
        steps = row["median_steps_to_solve"]
        cells = [
            row["cell"], str(row["hidden_size"]), f"{row['parameters']:,}", interval(row["metric"]),
            f"{row['solved']} of {row['runs']}" if result["solvable"] else "",
            f"{steps:,.0f}" if steps is not None else "", verdict(row["versus"]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    baseline = "; ".join(f"{figures[name]:.4g}" for figures in result["baselines"].values())
    lines += ["", f"Baseline {baseline}. Decided by: {result['outcome']}."]
    chosen = [
        f"{one['cell']} {', '.join(f'{value:g}' for value in one['chosen'].values())}" for one in result["tuning"]
    ]
    if chosen:
        lines += [f"Chosen of {', '.join(result['tuning'][0]['chosen'])}: {'; '.join(chosen)}."]
    return "\n".join([*lines, ""])


def lags(result: dict[str, Any]) -> str:
    """One comparison at several values: a column a value, and the verdicts that claim something."""
    points = list(dict.fromkeys(row["at"] for row in result["cells"]))
    lines = [f"`{result['command']}`", ""]
    lines += [" | ".join([f"| {result['varied']}", *map(str, points), "solved up to |"])]
    lines += ["|---|" + "---|" * (len(points) + 1)]
    for cell, far in result["longest_solved"].items():
        rows = {row["at"]: row for row in result["cells"] if row["cell"] == cell}
        lines.append(f"| {cell} | " + " | ".join(short(rows[at], result) for at in points) + f" | {far or 'none'} |")
    return "\n".join([*lines, ""])


def interval(metric: dict[str, Any]) -> str:
    """`0.5 (0.4 to 0.6)`."""
    if metric["mean"] is None:
        return "-"
    limits = "" if metric["low"] is None else f" ({metric['low']:.4g} to {metric['high']:.4g})"
    return f"{metric['mean']:.4g}{limits}"


def verdict(versus: dict[str, Any] | None) -> str:
    """In words, with the corrected p."""
    return "" if versus is None else f"{versus['verdict']}, p = {versus['p_corrected']:.2g}"


SIGNS = {"better": " +", "worse": " -"}


def matrix(found: dict[str, dict[str, Any]]) -> str:
    """All comparisons of the five cells: solved runs and median steps, or the metric, and the verdict as a sign."""
    lines = ["| | " + " | ".join(CELLS) + " |", "|---|" + "---|" * len(CELLS)]
    for name, result in found.items():
        if result["varied"]:
            continue
        rows = {row["cell"]: row for row in result["cells"]}
        if set(CELLS) <= rows.keys():
            lines.append(f"| [{name}](#{name}) | " + " | ".join(short(rows[cell], result) for cell in CELLS) + " |")
    return "\n".join([*lines, ""])


def short(row: dict[str, Any], result: dict[str, Any]) -> str:
    """`8/8, 700 +`."""
    sign = SIGNS.get((row["versus"] or {}).get("verdict", ""), "")
    if not result["solvable"] or result["outcome"].startswith("test "):
        return f"{row['metric']['mean']:.4g}{sign}"
    steps = row["median_steps_to_solve"]
    return f"{row['solved']}/{row['runs']}" + (f", {steps:,.0f}" if steps is not None else "") + sign


if __name__ == "__main__":
    main()
