"""A program as text beside the network's circles: what was read, and where the network has it.

The circles are those of `slt_grok.plots.embedding_circles`, after Nanda et al. 2301.05217, section 4.1.
"""

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots.embedding_circles import circle
from slt_grok.plots.style import WIDTH, one_seed, styled

MOST_CIRCLES = 6
IN_A_COLUMN = 3
NAMED = 3  # tokens 0, 1, 2 are written at their points
APART, OUTSIDE = 0.18, 0.17  # of two names, of a name from its point, in half widths of a panel
LETTERS = 6.2  # points
LEADING = 1.32


@styled
def program_text(text: str, program: xr.Dataset, maps: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the text at the left; at the right the tokens in the planes of the program's frequencies, at the last step.

    All circles have one scale.

    Parameters
    ----------
    text : str
        Lines of at most 84 characters.
    program : xarray.Dataset
        Of `slt_grok.program.measure`, over `step`; of more than six frequencies those of largest amplitude are drawn.
    maps : xarray.Dataset
        Of `slt_grok.circuits.maps.measure`, over `step`.
    seed : int or None, optional
        The first where left out.

    Raises
    ------
    SltGrokError
        A dataset has no `step` dimension, no such seed, or the program has no frequency at the last step.
    """
    last = one_seed(program, seed).isel(step=-1)
    planes = one_seed(maps, seed).isel(step=-1)
    size = abs(last.clock_amplitude.where(last.program_frequency.astype(bool), drop=True))
    keys = sorted(size.sortby(size, ascending=False).frequency.values[:MOST_CIRCLES].tolist())
    if not keys:
        raise SltGrokError("the figure of a program expected a frequency at the last step, there is none")
    columns = 1 if len(keys) <= IN_A_COLUMN else 2
    rows = math.ceil(len(keys) / columns)
    height = max((text.count("\n") + 1) * LETTERS * LEADING / 72 + 0.15, (1.08 if columns == 1 else 1.5) * rows + 0.5)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[4.75, WIDTH - 4.75])[0]
    left.text(0.012, 0.985, text, family="DejaVu Sans Mono", fontsize=LETTERS, linespacing=LEADING, va="top")
    panels = right.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    limit = 1.38 * float(np.abs(planes.embedding_plane.sel(frequency=keys)).max())
    for axes, k in zip(panels, keys, strict=False):
        plane = planes.sel(frequency=k)
        circle(axes, plane)
        weight, share = float(last.clock_amplitude.sel(frequency=k)), float(plane.embedding_plane_share)
        lines = [f"clock {k}", f"weight {weight:.3g}", f"{100 * share:.2g}% of norm"]
        title = f"{lines[0]}: {lines[1]}, {lines[2]}" if columns == 1 else "\n".join(lines)
        axes.set_title(title, fontsize=7)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
        axes.locator_params(nbins=3, steps=[1, 2, 5, 10])
        _name_tokens(axes, plane.embedding_plane.transpose("token", "part").values[:NAMED], limit)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    right.supxlabel(r"Row of $W_E$ of each token along $\cos$", fontsize=7)
    right.supylabel(r"along $\sin$", fontsize=7)
    return figure


def _name_tokens(axes: Axes, places: np.ndarray, limit: float) -> None:
    """Draw the first tokens by name outside their circle, but where the name of an earlier one stands."""
    places = places * (1 + OUTSIDE * limit / np.linalg.norm(places, axis=1, keepdims=True))
    for token, place in enumerate(places):
        if token == 0 or np.linalg.norm(places[:token] - place, axis=1).min() > APART * limit:
            axes.text(place[0], place[1], str(token), ha="center", va="center", fontsize=6)
