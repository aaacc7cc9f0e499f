"""`seqtrain validate`."""

from typing import TYPE_CHECKING

from seqtrain.cli.arguments import ConfigName, Json, Overrides, Quiet
from seqtrain.cli.guide import command, suggest
from seqtrain.cli.render import in_figures, model_line, print_result
from seqtrain.system.tables import Facts
from seqtrain.system.words import counted, in_words

if TYPE_CHECKING:
    from seqtrain.runs.validation import Validated


def validate(config: ConfigName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Build everything that a config asks for, train nothing, report every fault at once."""
    from seqtrain.runs.validation import validate

    result = validate(config, overrides or (), quiet=quiet)
    print_result(result, json, lambda _: [validate_table(result, config)])
    suggest(command("train", config, overrides), quiet=quiet or json)


def validate_table(result: "Validated", config: str) -> Facts:
    """What a config, under the name that the user gave, builds."""
    peak, free = result.memory["peak"], result.memory["available"]
    rows = [
        ("config", f"{config}: valid"),
        ("task", result.variant),
        ("model", model_line(vars(result))),
        ("engine", result.engine),
        ("training", counted(result.steps, "step")),
        (
            "memory",
            f"at least {in_words(peak or 0)} beside Python and PyTorch" + (f", {in_words(free)} free" if free else ""),
        ),
        ("optimizer", ", ".join(f"{key} {value}" for key, value in result.optimizer.items()).removeprefix("name ")),
        *in_figures("baseline", result.baseline),
    ]
    return Facts(f"{result.cell} on {result.task}", rows)
