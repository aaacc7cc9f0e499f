"""Defaults of the options of `inspect`, for the command line and for programs."""

SEQUENCES = 50
"""Sequences that are looked at."""

TRACED = 4
"""Sequences whose activations are kept."""
