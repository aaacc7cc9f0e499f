"""A model for PyTorch without seqtrain: as a program of `torch.export`, or as weights for the modules of `torch.nn`."""

from seqtrain.inference.load import Trained
from seqtrain.interchange import exported_program, torch_weights
from seqtrain.interchange.content import Content, Options


def write(trained: Trained, options: Options) -> Content:
    """The file of a trained model; its ending says which of both.

    Raises
    ------
    ConfigError : it cannot hold the model.
    """
    write = torch_weights.write if options.ending in ("pt", "pth") else exported_program.write
    return write(trained, options)
