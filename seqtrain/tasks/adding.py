"""The adding problem."""

from torch import Tensor

from seqtrain.tasks.base import Split
from seqtrain.tasks.marked import MarkedNumbers


class Adding(MarkedNumbers):
    """Two of many numbers are marked; after the last step, say their sum.

        value   .31  .80  .12  .57  .44  .09          target
        marker   0    1    0    0    1    0    -->    .80 + .44

    Variants
    --------
    halves : values U[0,1], one mark in each half (Arjovsky, Shah & Bengio 2016).
    anywhere : values U[0,1], any two positions (Bai, Kolter & Koltun 2018).
    hochreiter : values U[-1,1]; marks in the first 10 steps and in the first T/2 - 1; marker -1 on the first and
        last step, where a mark counts as zero; length uniform in [T, 1.1 T]; target 0.5 + (X1 + X2) / 4
        (Hochreiter & Schmidhuber 1997, experiment 4).

    Loss: mean squared error, also the metric `mse`; `accuracy` is the share of sequences with an error below 0.08
    (0.04 in `hochreiter`: the same error, since its target is scaled). Baseline: the mean as a constant guess. Solved:
    an accuracy of at least 0.99 on the validation set.
    """

    name = "adding"

    def __post_init__(self) -> None:
        """Set the tolerance."""
        super().__post_init__()
        self.tolerance = 0.04 if self.variant == "hochreiter" else 0.08

    def answer(self, values: Tensor, marker: Tensor) -> tuple[Tensor, Tensor]:
        """The sums."""
        if self.variant == "hochreiter":
            values = values * 2 - 1
        total = (values * (marker == 1)).sum(0)
        return values, 0.5 + total / 4 if self.variant == "hochreiter" else total

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """Variance of the target: the error of the best constant guess."""
        if self.variant == "hochreiter":
            square = 1 / 3  # of a value U[-1, 1]; marks on step 0 count as zero
            variance = sum(square * (1 - hidden) for hidden in self.hidden_marks()) / 16
        else:
            variance = 2 / 12  # of a value U[0, 1], twice
        return {"loss": variance, "mse": variance}
