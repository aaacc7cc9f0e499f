"""What `seqtrain export` can write."""

from typing import NamedTuple


class Format(NamedTuple):
    """One of `FORMATS`.

    what : it is, in words.
    file : the name of the file, or of the folder, in the run directory unless the user names another.
    endings : that the name may have; none for a folder.
    options : of `export` that belong to it.
    """

    what: str
    file: str
    endings: tuple[str, ...]
    options: tuple[str, ...] = ()


FORMATS = {
    "onnx": Format("the whole model, for ONNX runtimes", "model.onnx", ("onnx",), ("form", "lengths", "states")),
    "torch": Format(
        "the whole model for torch.export (.pt2), or weights for nn.LSTM, nn.GRU or nn.RNN (.pt)",
        "model.pt2",
        ("pt2", "pt", "pth"),
        ("lengths", "states"),
    ),
    "c": Format("one header in C99 with a step function", "model.h", ("h",), ("int8",)),
    "keras": Format("weights in the layout of Keras", "keras.npz", ("npz",)),
    "flax": Format("weights in the layout of Flax", "flax.npz", ("npz",)),
    "safetensors": Format(
        "a folder for the Hugging Face hub: weights, config and a model card", "hub", (), ("license",)
    ),
}
"""By the name that `--to` takes."""

TOLERANCE = 1e-5
"""The largest difference between an exported model and the model itself; above it nothing is written."""
