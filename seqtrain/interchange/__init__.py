"""Trained models in other formats, and models of other programs as runs."""
