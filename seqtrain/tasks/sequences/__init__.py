"""Whole sequences of the user: reading files, dividing them, labels, metrics and baselines."""
