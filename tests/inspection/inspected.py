"""Small untrained models for the tests of what inspection shows."""

from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task


def made(task, **model):
    """The model of a config, and its task."""
    config = config_from({"task": task, "model": {"hidden_size": 5} | model}, "test")
    built = build_task(config)
    return build_model(config, built.spec).eval(), built
