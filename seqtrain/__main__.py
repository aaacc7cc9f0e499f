"""`seqtrain` and `python -m seqtrain`."""

import io
import os
import sys
from pathlib import Path
from typing import NoReturn

from seqtrain.system.errors import SeqtrainError


def main() -> None:
    """Run the command line; a `SeqtrainError` becomes its message and exit code, anything else is our bug."""
    # Read when torch is loaded: how long a waiting thread spins. With OpenMP's default, two trainings at once on a
    # machine bring each other to a standstill (docs/LOG.md, 2026-11-21).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from seqtrain.cli import app

    # Python gives None for a stream that the caller closed; nobody reads it, and nothing should fail over it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows "?"
    try:
        app()
    except SystemExit as ended:
        if ended.code == 2:
            _hint_at_settings()
        raise
    except KeyboardInterrupt:  # a second one, while the first is granted
        _fail("interrupted", 130)
    except SeqtrainError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(f"{error.filename or 'output'}: {error.strerror}", 2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        _fail("not enough memory; make model.hidden_size, train.batch_size, the sequences or the shapes smaller", 2)


def _hint_at_settings() -> None:
    """After a usage error: `--steps` is no option, but there is a setting of that name."""
    if sys.argv[1:2] and sys.argv[1] not in ("train", "eval", "compare", "validate"):
        return  # takes no settings; its --seed or --threads is an option
    from seqtrain.config.describe import find_setting

    for word in sys.argv[1:]:
        option = word.partition("=")[0]
        settings = (
            find_setting(option.removeprefix("--").replace("-", "_").split(".")[-1]) if option.startswith("--") else []
        )
        if settings:
            told = " or ".join(f"{setting}=VALUE" for setting in settings)
            print(f"seqtrain: {option} is a setting, not an option; write {told}", file=sys.stderr)


def _fail(message: str, exit_code: int) -> NoReturn:
    print(f"seqtrain: {message}".replace("\n", "\nseqtrain: "), file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
