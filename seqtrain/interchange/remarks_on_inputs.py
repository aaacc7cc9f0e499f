"""Which numbers an imported model must read, and in which order, as no file of weights says it."""

from collections.abc import Iterator

from seqtrain.inference.load import Trained
from seqtrain.interchange.meaning import meaning_of
from seqtrain.interchange.torch_file import listed
from seqtrain.runs.run import Run
from seqtrain.system.words import counted

MOST = 10
"""Names in a remark."""


def remarks_on_inputs(run: Run) -> Iterator[str]:
    """The numbers of a step in their order, if the task names them."""
    inputs = meaning_of(Trained(run.directory.path, run.config, run.header, run.state.model)).inputs
    if inputs is None:
        return
    scaled = "" if inputs.mean is None else ", each as (value - mean) / spread"
    yield (
        f"in each step the model must read {counted(len(inputs.names), 'number')} in this order{scaled}: "
        f"{listed(inputs.names, most=MOST)}; seqtrain export RUN --to torch --out x.pt writes all of them, with mean "
        "and spread, as `inputs` in its metadata"
    )
