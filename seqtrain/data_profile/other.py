"""Files that are neither tables nor texts, by their first bytes and their endings: what they are, and what to do."""

from pathlib import Path

from seqtrain.data_profile.result import Profile

UNPACK = "unpack it, and give the file in it"
SAVE = "save its table as a CSV file with a header"
NO_DATA = "give a table, a text, or arrays in a .npz file"
SCORE = "seqtrain eval RUN, where RUN is the folder of its run"

BEGINNINGS = {
    b"\x1f\x8b": ("a gzip file", UNPACK),
    b"BZh": ("a bzip2 file", UNPACK),
    b"\xfd7zXZ\0": ("an xz file", UNPACK),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip file", UNPACK),
    b"Rar!": ("a RAR file", UNPACK),
    b"\x89PNG": ("a PNG picture", NO_DATA),
    b"\xff\xd8\xff": ("a JPEG picture", NO_DATA),
    b"GIF8": ("a GIF picture", NO_DATA),
    b"RIFF": ("a recording or a picture (RIFF)", NO_DATA),
    b"%PDF": ("a PDF file", "save its text as a file in UTF-8"),
    b"\xd0\xcf\x11\xe0": ("a file of an old Office program", SAVE),
    b"\x89HDF": ("an HDF5 file", "save its arrays with numpy.savez"),
    b"\x93NUMPY": ("a single array of NumPy", "save it with numpy.savez, as inputs, lengths and labels"),
    b"MATLAB 5.0": ("a MATLAB file", "save its arrays with numpy.savez"),
    b"SQLite format 3": ("an SQLite database", SAVE),
    b"ARROW1": ("an Arrow or Feather file", "save it as a Parquet file"),
}
"""What files begin with, what these are, and what to do."""

TABLES = {
    b"PAR1": ("a Parquet file whose name has another ending", "let its name end in .parquet"),
    b"PK\3\4": ("a zip archive, a workbook of Excel, or a model of PyTorch", "give a table of it as a CSV file"),
}
"""The same, of files that are read if their ending says what they are."""

READ = (".parquet", ".pq", ".npz")

ENDINGS = {
    ".arff": ("an ARFF file", "give the .ts file of the same data, or a CSV file with a header"),
    ".yaml": ("a config", "seqtrain validate {path} checks it, and seqtrain train {path} trains"),
    ".yml": ("a config", "seqtrain validate {path} checks it, and seqtrain train {path} trains"),
    ".safetensors": ("a checkpoint", SCORE),
}
"""What files with other endings are, and what to do."""


def profile_other(path: str, file: Path) -> Profile | None:
    """What a file is if it is no table, text or arrays; None if it may be one of these."""
    with file.open("rb") as opened:
        head = opened.read(32)
    ending = file.suffix.lower()
    beginnings = BEGINNINGS if ending in READ else BEGINNINGS | TABLES
    found = next((known for begin, known in beginnings.items() if head.startswith(begin) and not _is_text(head)), None)
    if found is None and head[8:10] == b'{"' and b"\0" in head[:8]:
        found = ENDINGS[".safetensors"]
    if found is None:
        found = ENDINGS.get(ending)
    if found is None:
        return None
    what, cure = found
    return Profile(path, "unknown", what, {}, why_not=f"it is {what}; {cure.format(path=path)}")


def _is_text(head: bytes) -> bool:
    """Whether bytes may be the beginning of a text, such as `Rar!`."""
    try:
        return "\0" not in head.decode()
    except UnicodeDecodeError:
        return False
