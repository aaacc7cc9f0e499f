"""Look at a file of the user: what it is, what is wrong with it, and a config that trains on it."""

from pathlib import Path

from seqtrain.data_profile.arrays import profile_npz, profile_ts
from seqtrain.data_profile.folders import profile_folder
from seqtrain.data_profile.result import Profile
from seqtrain.data_profile.tables import is_table, profile_table
from seqtrain.data_profile.texts import profile_text
from seqtrain.system.errors import DataError
from seqtrain.system.files import check_name
from seqtrain.system.shipped import text_path

__all__ = ["Profile", "profile"]


def profile(path: str) -> Profile:
    """What a file or a folder is.

    Raises
    ------
    DataError : it cannot be read.
    """
    check_name(path)
    file = text_path(path)
    if file.is_dir():
        return profile_folder(path, file)
    _check_readable(file)
    if file.suffix.lower() == ".npz":
        return profile_npz(path, file)
    if file.suffix.lower() == ".ts":
        return profile_ts(path, file)
    if is_table(file):
        return profile_table(path, file)
    return profile_text(path, file)


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            is_file = file.is_file()
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; give a table, a text, or a folder of them") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); make it readable") from None
    if not is_file:
        raise DataError(f"{file}: is not a regular file; save it as a file first")
