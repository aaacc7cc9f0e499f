"""A run: from a config to a run directory with its checkpoints, metrics and summary."""
