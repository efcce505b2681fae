"""Embedding circles: the tokens in the plane of each key frequency of the embedding.

After Nanda et al. 2301.05217, section 4.1, and Zhong et al. 2306.17844, figure 1.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from slt_grok.plots.panels import undefined
from slt_grok.plots.style import WIDTH, one_seed, styled

MOST_CIRCLES = 5  # in a row, beside the control
ORDER = "twilight"  # cyclic, and its lightness alone tells the order, so that no hue is needed


@styled
def embedding_circles(maps: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the tokens in the planes of the circuit's frequencies, a column each, and a row for each step.

    Tokens are joined in the order of k t mod p, which is also their color: on a circle the line is its edge and the
    colors go round once. The last column is a control, the frequency outside the circuit with the median share of
    norm at the last step. All panels of a row have one scale.

    Parameters
    ----------
    maps : xarray.Dataset
        Of `slt_grok.circuits.maps.measure`, over `step`; of more than five frequencies in the circuit those with the
        largest share of norm at the last step are drawn.
    seed : int or None, optional
        The first where left out.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, or no such seed.
    """
    one = one_seed(maps, seed)
    keys, control = shown_frequencies(one.isel(step=-1))
    if not keys:
        figure = Figure(figsize=(WIDTH, 0.8), layout="constrained")
        undefined(figure.subplots(), "no frequency in the circuit at the last step")
        return figure
    columns = [*keys, *control]
    rows = one.sizes["step"]
    size = min(WIDTH / (len(columns) + 0.7), 1.75)
    figure = Figure(figsize=(size * (len(columns) + 0.7), (size + 0.4) * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, len(columns), squeeze=False)
    for step, row in zip(one.step.values, panels, strict=True):
        now = one.sel(step=step)
        limit = 1.08 * float(np.abs(now.embedding_plane.sel(frequency=columns)).max())
        for k, axes in zip(columns, row, strict=True):
            circle(axes, now.sel(frequency=k))
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            axes.locator_params(nbins=3, steps=[1, 2, 4, 5, 10])
            axes.tick_params(labelleft=axes is row[0])
        row[0].set_ylabel(f"Step {int(step):,}\nalong $\\sin$")
    for k, axes in zip(columns, panels[0], strict=True):
        axes.set_title(f"$k$ = {k}{', control' if k in control else ''}\n{axes.get_title()}")
    figure.supxlabel(r"Centered row of the embedding along $\cos$ (the units of $W_E$)", fontsize=8)
    p = one.sizes["token"]
    bar = figure.colorbar(ScalarMappable(Normalize(0, p), ORDER), ax=panels, shrink=min(1, 1.6 / rows), pad=0.01)
    bar.set_label(r"$k\,t$ mod $p$ of token $t$")
    return figure


def shown_frequencies(last: xr.Dataset) -> tuple[list[int], list[int]]:
    """Return the circuit's frequencies with the largest share of norm, ascending, and the control (if any).

    Frequencies without a plane are left out.
    """
    share = last.embedding_plane_share.dropna("frequency")
    kept = last.circuit_frequency.sel(frequency=share.frequency).values.astype(bool)
    circuit, others = (share[which].sortby(share[which], ascending=False) for which in (kept, ~kept))
    keys = sorted(circuit.frequency.values[:MOST_CIRCLES].tolist())
    return keys, others.frequency.values[others.size // 2 :][:1].tolist()


def circle(axes: Axes, plane: xr.Dataset) -> None:
    """Draw the tokens in the plane of one frequency, with its share of norm and what of it is at the frequency."""
    p = plane.sizes["token"]
    turns = int(plane.frequency) * np.arange(p) % p
    x, y = plane.embedding_plane.transpose("part", "token").values[:, np.argsort(turns)]
    axes.plot([*x, x[0]], [*y, y[0]], color="0.75", lw=0.6, zorder=1)
    axes.scatter(x, y, c=np.arange(p), cmap=ORDER, vmin=0, vmax=p, s=11, edgecolors="0.35", linewidths=0.35, zorder=2)
    axes.set_aspect("equal")
    share, fve = float(plane.embedding_plane_share), float(plane.embedding_plane_fve)
    axes.set_title(f"{100 * share:.2g}% of norm\nFVE {fve:.3f}")
