"""seqtrain: train, evaluate and compare recurrent sequence models from a YAML config."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqtrain.inference.load import load_model, load_text_model

__all__ = ["load_model", "load_text_model"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first asked for, so that `import seqtrain` does not wait for torch."""
    if name in __all__:
        from seqtrain.inference import load as restore

        return getattr(restore, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
