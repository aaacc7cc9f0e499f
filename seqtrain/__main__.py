"""`seqtrain` and `python -m seqtrain`."""

import os
import sys
from pathlib import Path

from seqtrain.errors import SeqtrainError


def main() -> None:
    """Run the command line; a `SeqtrainError` becomes its message and exit code, anything else is our bug."""
    from seqtrain.cli import app

    # Python gives None for a stream that the caller closed; nobody reads it, and nothing should fail over it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    try:
        app()
    except SeqtrainError as error:
        print(f"seqtrain: {error}".replace("\n", "\nseqtrain: "), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
