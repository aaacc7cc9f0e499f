"""seqtrain: train, evaluate and compare recurrent sequence models from a YAML config."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqtrain.restore import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """Import `load_model` when it is first asked for, so that `import seqtrain` does not wait for torch."""
    if name == "load_model":
        from seqtrain.restore import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
