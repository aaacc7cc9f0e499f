"""Defaults of the options of `inspect`, for the command line and for programs."""

SEQUENCES = 50
"""Sequences that are looked at."""
