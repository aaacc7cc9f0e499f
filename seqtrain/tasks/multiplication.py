"""The multiplication problem."""

from torch import Tensor

from seqtrain.tasks.base import Split
from seqtrain.tasks.marked import MarkedNumbers


class Multiplication(MarkedNumbers):
    """Two of many numbers are marked; after the last step, say their product.

        value   .31  .80  .12  .57  .44  .09          target
        marker   0    1    0    0    1    0    -->    .80 * .44

    Hochreiter & Schmidhuber 1997, experiment 5. Adding to one memory cell gives a sum, but not a product.

    Variants
    --------
    All values are U[0,1]; the variants place the marks as those of `adding` do.

    halves : one mark in each half.
    anywhere : any two positions.
    hochreiter : marks in the first 10 steps and in the first T/2 - 1; marker -1 on the first and last step, where a
        mark counts as a factor of one; length uniform in [T, 1.1 T]. The published task.

    Loss: mean squared error, also the metric `mse`; `accuracy` is the share of sequences with an error below 0.04.
    Baseline: the mean as a constant guess, 7/144 if both marks are visible. Solved: an accuracy of at least 0.99 on the
    validation set.
    """

    name = "multiplication"
    tolerance = 0.04

    def answer(self, values: Tensor, marker: Tensor) -> tuple[Tensor, Tensor]:
        """The products."""
        return values, values.where(marker == 1, 1.0).prod(0)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """Variance of the target: the error of the best constant guess."""
        single = sum(self.hidden_marks())  # the target is one value U[0, 1] then, not the product of two
        mean = (1 - single) * (1 / 2) ** 2 + single * 1 / 2
        square = (1 - single) * (1 / 3) ** 2 + single * 1 / 3
        variance = square - mean**2
        return {"loss": variance, "mse": variance}
