"""Find the embedding and the head of a model among the weights of a PyTorch program.

                          shape                      names
    embedding             [V, E]                     encoder.weight
    recurrent layers      see `torch_recurrent`      recurrent.weight_ih_l0 ...
    projection            [E, D*H]                   head.projection.weight     only before the weights of the embedding
    head                  [O, D*H], or [V, E]        head.weight, head.bias

The names are those of seqtrain; other programs have others. So the shapes decide: E and D*H are those of the recurrent
layers, V and O those of the task, and an embedding has no bias beside it. Where two weights could be exchanged, clear
names decide (see `torch_names`). Without these the embedding comes before the recurrent layers and the head after them,
if the file is in the order of the modules. Else the user says which is which.

Symbols enter one-hot if the layers read V numbers, and no weight is named an embedding.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from seqtrain.interchange.torch_file import shown
from seqtrain.interchange.torch_names import EMBEDDING, HEAD
from seqtrain.interchange.torch_recurrent import Recurrent
from seqtrain.interchange.torch_search import Search, Wanted, are_equal
from seqtrain.system.errors import ConfigError


class Parts(NamedTuple):
    """What a model has beside its recurrent layers.

    embedding : `[V, E]`; None if symbols enter one-hot, or the inputs are numbers.
    head, bias : `[O, D*H]` and `[O]`; the bias is None if there is none.
    projection : `[E, D*H]` from the outputs to a head `[V, E]`; None if there is none.
    tied : the embedding is the head.
    remark : which weight is what.
    """

    embedding: Tensor | None
    head: Tensor
    bias: Tensor | None
    projection: Tensor | None
    tied: bool
    remark: str


def find_parts(
    tensors: Mapping[str, Tensor],
    recurrent: Recurrent,
    wanted: Wanted,
    said: Mapping[str, str],
    *,
    in_order: bool = True,
) -> Parts:
    """The parts of a model.

    Parameters
    ----------
    said : weights that the user has named, see `torch_names.renamed`.
    in_order : whether the weights are in the order of the modules.

    Raises
    ------
    ConfigError : a part is missing, several weights could be one, or a weight has no place in the model.
    """
    search = Search(tensors, recurrent, wanted, said, in_order=in_order)
    choice = search.choice()
    used = [name for name in choice if name is not None]
    bias = search.bias_of(choice.head, used)
    if left := [name for name in search.rest if name not in [*used, bias]]:
        raise ConfigError(search.left_over(left))
    embedding, head, projection = (None if name is None else tensors[name] for name in choice)
    assert head is not None
    tied = wanted.may_tie and embedding is not None and are_equal(embedding, head)
    roles = {"embedding": choice.embedding, "projection": choice.projection, "head": choice.head, "its bias": bias}
    remark = ", ".join(f"the {role} is {shown(name)}".replace("the its", "its") for role, name in roles.items() if name)
    if search.by_order:
        remark += (
            f"; these have one shape, and only their order in the file tells them apart; if it is the other way round, "
            f"give --rename {shown(choice.head)}={EMBEDDING} --rename {shown(str(choice.embedding))}={HEAD}"
        )
    return Parts(embedding, head, None if bias is None else tensors[bias], projection, tied, remark)
