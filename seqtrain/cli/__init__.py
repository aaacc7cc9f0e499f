"""The command line: parse, call, print. The only part that knows Typer; everything heavy is imported when needed."""

from seqtrain.cli.app import app

__all__ = ["app"]
