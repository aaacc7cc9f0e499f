"""Defaults of the options of `generate` and `predict`, for the command line and for programs."""

TOKENS = 100
"""Tokens to write."""

TEMPERATURE, TOP_P = 1.0, 1.0
"""The distribution as the model gives it."""

TOP = 5
"""Likely tokens to show."""
