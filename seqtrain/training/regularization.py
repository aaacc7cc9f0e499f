"""Penalties on activations, which are added to the loss."""

import torch
from torch import Tensor

from seqtrain.models import Prediction


def activation_penalty(prediction: Prediction, lengths: Tensor | None, ar: float, tar: float) -> Tensor | float:
    """Activation regularisation of the head's inputs, plus temporal activation regularisation of the cells' outputs.

    Padding does not count.

    Parameters
    ----------
    lengths : of the sequences, [B]; None if all fill the batch.
    ar, tar : the weights of the two penalties.

    Merity, McCann & Socher 2017, "Revisiting activation regularization for language RNNs", equations 2 and 3, with the
    mean of the squares in place of the norm, as in their code.
    """
    penalty: Tensor | float = 0.0
    if not ar and not tar:
        return penalty  # saves the array of changes, which is as large as the outputs
    h = prediction.activations
    seen = prediction.features if prediction.features.dim() == 3 else h
    changes = h.diff(dim=0)
    if lengths is not None:
        inside = torch.arange(len(h), device=h.device)[:, None] < lengths  # [T, B]
        seen, changes = seen[inside], changes[inside[1:]]
    if ar:
        penalty = ar * seen.square().mean()
    if tar and changes.numel():
        penalty = penalty + tar * changes.square().mean()
    return penalty
