"""`seqtrain` and `python -m seqtrain`."""

import sys

from seqtrain.errors import SeqtrainError


def main() -> None:
    """Run the command line; a `SeqtrainError` becomes its message and exit code, anything else is our bug."""
    from seqtrain.cli import app

    try:
        app()
    except SeqtrainError as error:
        print(f"seqtrain: {error}".replace("\n", "\nseqtrain: "), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
