"""Figures as files: pictures for a screen, and drawings in PDF or SVG for a paper."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seqtrain.system.errors import ConfigError
from seqtrain.system.ignoring import warnings_ignored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
"""The endings of the files that `encoded` writes."""


def check_form(form: str) -> None:
    """Raise a ConfigError if `--pictures` names another form."""
    if form not in FORMATS:
        raise ConfigError(f"--pictures {form}: choose one of {', '.join(FORMATS)}")


_FOR_PAPERS = {"pdf.fonttype": 42, "svg.hashsalt": "seqtrain"}
"""TrueType fonts, as many journals refuse others; and the same names inside an SVG each time, not random ones."""

_DATES = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata without the time, so that the same figure gives the same bytes."""


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with settings of matplotlib that end with the context, in one thread at a time as all threads share them."""
    import matplotlib

    # The warnings are about a letter that the font lacks: a box stands in its place.
    with warnings_ignored(), matplotlib.rc_context():
        yield


def encoded(figure: "Figure", form: str, dpi: int = 120) -> bytes:
    """A figure as the content of a file.

    Parameters
    ----------
    form : one of `FORMATS`.
    dpi : dots per inch of a PNG.
    """
    import matplotlib

    content = io.BytesIO()
    with own_style():
        matplotlib.rcParams.update(_FOR_PAPERS)  # type: ignore[arg-type]
        figure.savefig(content, format=form, dpi=dpi, metadata=_DATES[form])
    return content.getvalue()
