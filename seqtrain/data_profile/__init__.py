"""Look at a file of the user: what it is, what is wrong with it, and a config that trains on it."""

from seqtrain.data_profile.arrays import profile_npz, profile_ts
from seqtrain.data_profile.folders import profile_folder
from seqtrain.data_profile.other import profile_other
from seqtrain.data_profile.result import Profile
from seqtrain.data_profile.tables import is_table, profile_table
from seqtrain.data_profile.texts import profile_text
from seqtrain.system.errors import DataError
from seqtrain.system.files import UnreadableError, check_name, open_regular
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
    try:
        open_regular(file).close()
    except UnreadableError as error:
        raise DataError(f"{error}; give a table, a text, or a folder of them") from None
    if (other := profile_other(path, file)) is not None:
        return other
    if file.suffix.lower() == ".npz":
        return profile_npz(path, file)
    if file.suffix.lower() == ".ts":
        return profile_ts(path, file)
    if is_table(file):
        return profile_table(path, file)
    return profile_text(path, file)
