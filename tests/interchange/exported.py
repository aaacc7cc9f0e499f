"""Models to export, with weights that nobody trained."""

from pathlib import Path
from typing import Any

import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_model
from seqtrain.inference.load import Trained
from seqtrain.runs.checkpoint import Header
from seqtrain.tasks import Spec

ABLATIONS = ("none", "no_input_gate", "no_forget_gate", "no_output_gate", "no_input_activation",
             "no_output_activation", "no_peepholes", "coupled", "full_gate_recurrence")  # fmt: skip

CELLS: tuple[dict[str, Any], ...] = (
    {"name": "rnn"},
    {"name": "rnn", "nonlinearity": "relu", "biases": 2},
    {"name": "lstm"},
    {"name": "lstm", "biases": 2, "learn_initial_state": True},
    {"name": "peephole"},
    {"name": "coupled"},
    {"name": "coupled", "peepholes": True},
    {"name": "gru"},
    {"name": "gru", "reset": "before", "learn_initial_state": True},
    *({"name": "odyssey", "ablation": ablation} for ablation in ABLATIONS),
)
"""Every cell with each of its options that change what it computes."""

HEADS: dict[str, tuple[Spec, dict[str, Any]]] = {
    "regression": (Spec(3, False, 2, False, False), {}),
    "values": (Spec(3, False, 2, True, False), {}),
    "classes": (Spec(5, True, 4, False, False), {}),
    "tags": (Spec(9, True, 4, True, False), {"embedding_size": 6}),
    "words": (Spec(9, True, 9, True, True), {"embedding_size": 6}),
    "tied": (Spec(9, True, 9, True, True), {"embedding_size": 7, "tied": True}),
    "projected": (Spec(9, True, 9, True, True), {"embedding_size": 6, "tied": True}),
    "adaptive": (
        Spec(20, True, 20, True, True),
        {"embedding_size": 6, "softmax": {"name": "adaptive", "cutoffs": [5, 11], "shrink": 2.0}},
    ),
}
"""What goes in and out of a model, and the settings that belong to it."""

DIRECTIONS = ("forward", "backward", "bidirectional")


def trained(
    cell: dict[str, Any],
    head: str = "regression",
    *,
    direction: str = "forward",
    merge: str | None = None,
    depth: int = 1,
    hidden_size: int | list[int] = 7,
    seed: int = 0,
    **settings: Any,
) -> Trained:
    """A model as `load_trained` gives it; all its weights are drawn from (-0.5, 0.5)."""
    spec, further = HEADS[head]
    task = {"name": "language_model", "path": "text"} if spec.words else {"name": "copy_memory"}
    section = {"cell": cell, "hidden_size": hidden_size, "depth": depth}
    config = config_from({"task": task, "model": section | further | settings}, "a test", task_is_built=False)
    ways = {"direction": direction, "merge": merge}  # not in the config: a text is read forward only
    model_section = config.model.model_copy(update=ways)
    config = config.model_copy(update={"model": model_section})
    model = build_model(config, spec).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5, generator=draw)
    words = ["<unk>", *(f"word{number}" for number in range(1, spec.input_size))] if spec.words else None
    header = Header(
        config=config.model_dump(mode="json"),
        variant="v",
        fingerprints={},
        spec=spec,
        vocabulary=words,
        counts=[1] * len(words) if words else None,
    )
    return Trained(Path("best.safetensors"), config, header, model)
