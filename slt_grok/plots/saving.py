"""A figure to disk as SVG and PNG, the same bytes for the same figure."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from slt_grok.plots.style import STYLE
from slt_grok.store.files import atomic

METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def save(figure: Figure, folder: str | Path, name: str, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write `folder/name.svg` and `folder/name.png` (150 dots an inch), each whole or not at all, and empty the figure.

    Parameters
    ----------
    figure : Figure
        It is cleared afterwards, so that its memory is free.
    folder : str or Path
        Made if it is not there.
    name : str
        The file name without ending.
    kinds : sequence of str, optional
        Which of the two.

    Returns
    -------
    list[Path]
        The paths, in that order.

    Raises
    ------
    SltGrokError
        A file cannot be written (no permission, full disk).
    """
    paths = []
    with matplotlib.rc_context(STYLE):
        if engine := figure.get_layout_engine():
            engine.execute(figure)  # once for both files
            figure.set_layout_engine(None)  # with "none" each file would be drawn once more, in vain
        for kind in kinds:
            path = Path(folder) / f"{name}.{kind}"
            with atomic(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=150, metadata=METADATA[kind])
            paths.append(path)
    figure.clear()
    return paths
