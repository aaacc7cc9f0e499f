"""Write a trained model in another format: what `seqtrain export` does."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from seqtrain.inference.load import Trained, load_trained
from seqtrain.interchange import c_format, flax_format, keras_format, onnx_format, safetensors_format, torch_format
from seqtrain.interchange.content import Check, Content, Figures, Form, Options
from seqtrain.interchange.formats import FORMATS, TOLERANCE
from seqtrain.interchange.request import check_request, check_target
from seqtrain.models import SequenceModel
from seqtrain.system.errors import CheckpointError, ConfigError, Differs
from seqtrain.system.outputs import check_replaced, write_outputs
from seqtrain.system.runtime import prepare, settings_restored

WRITERS: dict[str, Callable[[Trained, Options], Content]] = {
    "onnx": onnx_format.write,
    "torch": torch_format.write,
    "c": c_format.write,
    "keras": keras_format.write,
    "flax": flax_format.write,
    "safetensors": safetensors_format.write,
}
"""What makes the files of each of `FORMATS`."""


AMPLIFIED = 10
"""A right program may be so many times as far from the model as the model is from itself in float64. A word model of
large weights was 3 times as far in onnxruntime, which adds in another order."""


@dataclass(frozen=True)
class Exported:
    """A model that was written in another format.

    format : one of `FORMATS`.
    files : that were written.
    bytes : of all of them.
    check : None if the exported model was not run beside the model.
    remarks : what a user should know.
    facts : about the file, in words.
    figures : see `Content`.
    """

    checkpoint: str
    task: str
    cell: str
    format: str
    files: list[str]
    bytes: int
    check: Check | None
    remarks: list[str]
    facts: dict[str, str]
    figures: Figures

    def as_json(self) -> dict[str, object]:
        """What `seqtrain export --json` prints."""
        return asdict(self) | {"check": None if self.check is None else self.check._asdict()}


@settings_restored()
def export(
    run_or_checkpoint: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    form: Form | None = None,
    lengths: bool = False,
    states: bool | None = None,
    license: str | None = None,
    int8: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a trained model in another format.

    Parameters
    ----------
    run_or_checkpoint : a checkpoint, or a run directory, which stands for its best one.
    to : one of `FORMATS`.
    out : the file, or the folder of several; by default one in the directory of the checkpoint.
    form, lengths, states, license, int8 : see `Options`, which says to which formats each belongs.
    overwrite : replace files that exist.

    Raises
    ------
    SeqtrainError : the checkpoint cannot be used, the format cannot hold the model, or a file exists.
    Differs : the exported model computes something else. In all cases nothing is written.
    """
    options = Options(form=form, lengths=lengths, states=states, license=license, int8=int8)
    check_request(to, options)
    prepare(None)
    trained = load_trained(run_or_checkpoint)
    _check_finite(trained)
    remarks = [] if to == "safetensors" else [*_in_float32(trained.model)]  # that one has the config as it is
    target = Path(out) if out is not None else trained.path.parent / FORMATS[to].file
    check_target(to, target, overwrite=overwrite)
    content = WRITERS[to](trained, options._replace(ending=target.suffix.lower().removeprefix(".")))
    remarks += content.remarks
    if content.check is not None:
        remarks += _compared(target, content.check)
    files = _paths(to, target, content)
    for file in files:
        check_replaced("--out", file, overwrite=overwrite)
    if trained.path.resolve() in [file.resolve() for file in files]:
        raise ConfigError(f"{trained.path}: is the checkpoint itself; choose another name with --out")
    write_outputs(dict(zip(files, content.files.values(), strict=True)))
    return Exported(
        checkpoint=str(trained.path),
        task=trained.config.task.name,
        cell=trained.config.model.cell.name,
        format=to,
        files=[str(file) for file in files],
        bytes=sum(map(len, content.files.values())),
        check=content.check,
        remarks=remarks,
        facts={**content.facts},
        figures=content.figures,
    )


def _check_finite(trained: Trained) -> None:
    strange = [name for name, weight in trained.model.state_dict().items() if not weight.isfinite().all()]
    if strange:
        raise CheckpointError(
            f"{trained.path}: {', '.join(strange)}: has numbers that are not finite; use another checkpoint, of a run "
            "that converged"
        )


def _compared(target: Path, check: Check) -> Iterator[str]:
    """Refuse an exported model that computes something else; a remark if the model itself is as far from float64."""
    if check.difference <= TOLERANCE:
        return
    if not check.difference <= AMPLIFIED * check.rounding:  # it may be NaN
        raise Differs(
            f"{target}: {check.program} is {check.difference:.2g} off the model, more than {TOLERANCE:g}; nothing is "
            "written. Please report the config of the run"
        )
    yield (
        f"the model amplifies rounding: in float32 it is up to {check.rounding:.2g} from itself in float64, and what "
        f"is written is {check.difference:.2g} from it; smaller weights, as of a lower learning rate, are more reliable"
    )


def _in_float32(model: SequenceModel) -> Iterator[str]:
    """Let a model compute as the exported one does, and say so."""
    if model.precision != "float32":
        yield (
            f"the model was trained with products in {model.precision}; what is written computes in float32, and so "
            "does the model that it is compared with"
        )
        model.precision = "float32"


def _paths(to: str, target: Path, content: Content) -> list[Path]:
    return [target / name for name in content.files] if not FORMATS[to].endings else [target]
