"""`seqtrain` and `python -m seqtrain`."""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` searches the current folder first; a file of the user's such as copy.py must not be ours.
    sys.path.append(sys.path.pop(0))

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

from seqtrain.system.errors import LostProcess, SeqtrainError
from seqtrain.system.files import check_name
from seqtrain.system.processes import torchrun_rank
from seqtrain.system.streams import raised_by, to_stderr

INTERRUPTED = "interrupted; what was saved before is whole"


def main() -> None:
    """Run the command line; a `SeqtrainError` becomes its message and exit code, any other error is a bug and shows."""
    from seqtrain.cli import app

    # Python gives None for a stream that the caller closed; nothing should fail when it is written to.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows "?"
    try:
        for argument in sys.argv[1:]:
            check_name(argument)
        with _silence() if torchrun_rank() else nullcontext():  # process 0 speaks for all, but for an error of its own
            app()
    except SystemExit as ended:
        if ended.code == 2 and not torchrun_rank():
            _hint_at_settings()
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):  # Typer says nothing of it
            _fail(INTERRUPTED, 130)
        raise
    except KeyboardInterrupt:  # the second one, while the run is being saved
        _fail(INTERRUPTED, 130)
    except LostProcess as error:
        if torchrun_rank():  # the lost process, or process 0, says why
            sys.exit(error.exit_code)
        _fail(str(error), error.exit_code)
    except SeqtrainError as error:
        rank = torchrun_rank()
        _fail(f"process {rank}: {error}" if rank else str(error), error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written
        if raised_by(error):
            raise
        _fail(f"{error.filename or 'output'}: {error.strerror or error}", 2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        _fail("not enough memory; make model.hidden_size, train.batch_size, the sequences or the shapes smaller", 2)


@contextmanager
def _silence() -> Iterator[None]:
    """Print nothing: no help, no usage errors, no results."""
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        yield


def _hint_at_settings() -> None:
    """After a usage error, name the settings that an unknown option may mean: `--steps` is `train.steps`."""
    if sys.argv[1:2] and sys.argv[1] not in ("train", "eval", "compare", "validate", "check"):
        return  # the verb takes no settings
    from seqtrain.config.describe import find_setting

    for option in (word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")):
        if settings := find_setting(option.removeprefix("--").replace("-", "_").split(".")[-1]):
            choices = " or ".join(f"{setting}=VALUE" for setting in settings)
            to_stderr(f"seqtrain: {option} is a setting, not an option; write {choices}")


def _fail(message: str, exit_code: int) -> NoReturn:
    to_stderr(f"seqtrain: {message}".replace("\n", "\nseqtrain: "))
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
