"""Saving figures as SVG and PNG, with identical bytes for identical figures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from slt_grok.plots.style import STYLE
from slt_grok.store.files import atomic

METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def lay_out(figure: Figure) -> None:
    """Fix the layout once, so that every format shares it."""
    with matplotlib.rc_context(STYLE):
        if engine := figure.get_layout_engine():
            engine.execute(figure)
            figure.set_layout_engine(None)  # the string "none" would cost an extra draw per file


def save(figure: Figure, folder: str | Path, name: str, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write `folder/name.svg` and `folder/name.png` (150 dpi) atomically, and clear the figure.

    Parameters
    ----------
    figure : Figure
        The figure, which is cleared afterwards to free its memory.
    folder : str or Path
        The folder, created if missing.
    name : str
        The file name without extension.
    kinds : sequence of str, optional
        Which of the two formats to write.

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
    lay_out(figure)
    with matplotlib.rc_context(STYLE):
        for kind in kinds:
            path = Path(folder) / f"{name}.{kind}"
            with atomic(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=150, metadata=METADATA[kind])
            paths.append(path)
    figure.clear()
    return paths
