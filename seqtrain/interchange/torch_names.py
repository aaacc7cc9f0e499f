"""The names of weights: what the user says about them, and what a name says by itself."""

import re
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from seqtrain.interchange.torch_file import listed, shown
from seqtrain.interchange.torch_recurrent import NAME
from seqtrain.system.errors import ConfigError, plain

EMBEDDING, PROJECTION, HEAD, BIAS = OWN = ("encoder.weight", "head.projection.weight", "head.weight", "head.bias")
"""What `--rename` can call a weight, beside the names of recurrent weights."""

OF_EMBEDDING = re.compile(r"emb|.*emb(ed(ding)?)?s?$|encoder$|enc$|wte$|lookup|lut$")
OF_HEAD = re.compile(r"decoder$|dec$|head|out|fc|classif|logit|linear|dense|predict|generator$")
"""How the words of a name begin that is clearly that of an embedding, or of a head."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def renamed(
    tensors: Mapping[str, Tensor], rename: Mapping[str, str], ignore: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights without those that a user leaves out, recurrent weights under the names that the user gives.

    Parameters
    ----------
    rename : to `EMBEDDING`, `PROJECTION`, `HEAD`, `BIAS`, or to the name of a recurrent weight.
    ignore : names, or what they begin with and a star: `norm.*`.

    Returns
    -------
    The weights, and the names of those that the user calls one of `OWN`, by these.

    Raises
    ------
    ConfigError : a name is not there, or is given twice, or only a part of a weight is there.
    """
    left_out = {name: [one for one in tensors if _is_meant(one, name)] for name in ignore}
    gone = {name for found in left_out.values() for name in found}
    names = {name: rename.get(name, name) for name in tensors if name not in gone}
    if faults := [*_faults(tensors, rename, left_out, names)]:
        raise ConfigError([*dict.fromkeys(faults), f"the weights are {listed([*tensors], most=40)}"])
    if parts := [*_parts_of_weights(tensors, names)]:
        raise ConfigError(parts)
    said = {new: old for old, new in rename.items() if new in OWN}
    return {(old if new in OWN else new): tensors[old] for old, new in names.items()}, said


def _is_meant(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _faults(
    tensors: Mapping[str, Tensor],
    rename: Mapping[str, str],
    left_out: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
) -> Iterator[str]:
    """What is wrong with the options.

    names : the new names of the weights that are not left out.
    """
    yield from (f"--ignore {shown(name)}: there is no such weight" for name, found in left_out.items() if not found)
    for old, new in rename.items():
        said = f"--rename {shown(old)}={shown(new)}"
        if old not in tensors:
            yield f"--rename {shown(old)}=...: there is no such weight"
        elif old not in names:
            yield f"{said}: the weight is left out by --ignore; give one of the two options"
        if new not in OWN and not NAME.fullmatch(new):
            yield f"{said}: choose one of {', '.join(OWN)}, or the name of a recurrent weight, as lstm.weight_hh_l0"
        if [*names.values()].count(new) > 1:
            yield f"--rename ...={plain(new)}: would be the name of two weights"


def _parts_of_weights(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Iterator[str]:
    """Weights that a module computes from others before each use, so that none of them is the weight itself."""
    found = [name for name in names if _is_part(name, tensors)]
    for name in [one for one in found if one.endswith("_raw") and names[one] == one]:
        yield _of_weight_drop(name, tensors, names)
    pruned = [name for name in found if name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in tensors]
    if pruned:
        yield (
            f"{listed(pruned)}: pruned weights, which the module computes from several tensors; call "
            "torch.nn.utils.prune.remove(MODULE, NAME) for each before torch.save"
        )
    if others := [name for name in found if not name.endswith("_raw") and name not in pruned]:
        yield (
            f"{listed(others)}: parts of a weight, which the module computes from several tensors; call "
            "torch.nn.utils.remove_weight_norm, torch.nn.utils.remove_spectral_norm or "
            "torch.nn.utils.parametrize.remove_parametrizations before torch.save"
        )


def _is_part(name: str, tensors: Mapping[str, Tensor]) -> bool:
    stem, _, ending = name.rpartition("_")
    if ending in ("g", "v"):
        return f"{stem}_g" in tensors and f"{stem}_v" in tensors
    return (
        ".parametrizations." in f".{name}" or ending == "orig" or (ending == "raw" and NAME.fullmatch(stem) is not None)
    )


def _of_weight_drop(name: str, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> str:
    """The option for a recurrent weight as weight drop stores it, outside of the module that it belongs to."""
    module, dot, last = name.removesuffix("_raw").rpartition(".")
    inside = (one for one in tensors if NAME.fullmatch(one) and one.startswith(module + dot))
    meant = next(inside, name).rpartition(".")[0] + dot + last
    option = f"--rename {shown(name)}={plain(meant)}" + (f" --ignore {plain(meant)}" if meant in names else "")
    return f"{shown(name)}: the weight before weight drop, which acts in training only; give {option}"


def role_of(name: str) -> str | None:
    """`EMBEDDING` or `HEAD` if the name clearly is that of one; the innermost word that says something counts."""
    *modules, last = name.split(".")
    for part in reversed(modules if last == "weight" and modules else [*modules, last]):
        words = [word.lower() for word in _WORD.findall(part)]
        roles = {
            role
            for role, pattern in ((EMBEDDING, OF_EMBEDDING), (HEAD, OF_HEAD))
            if any(pattern.match(word) for word in words)
        }
        if roles:
            return roles.pop() if len(roles) == 1 else None
    return None
