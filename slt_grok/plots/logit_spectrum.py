"""The two-dimensional Fourier spectrum of the logits: on which waves of a and of b the answer rests.

After Nanda et al. 2301.05217, section 4.4: logits that are sums of cos w_k(a + b - c) have components at the products
of waves of one frequency alone, which are 2 x 2 blocks on the diagonal.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from slt_grok.plots.phase_alignment import one_network
from slt_grok.plots.spectrum import spread
from slt_grok.plots.style import WIDTH, styled

DECADES = 4  # of the colors, below the largest component


@styled
def logit_spectrum(maps: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Heat map of the norm over the answers of each Fourier component of the logits, p x p components.

    Rows are the waves of a, columns those of b: the constant, then cosine and sine of k = 1..(p-1)/2. The ticks name
    the circuit's frequencies; the title says which share of the squared norm, the constant component aside, is in
    their 2 x 2 blocks {cos k, sin k} x {cos k, sin k}, beside their share of the components.

    Parameters
    ----------
    maps : xarray.Dataset
        Of `slt_grok.circuits.maps.measure`, over `step`.
    seed, step : int or None, optional
        Which network; the first seed and the last step where left out.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, no such seed or no such step.
    """
    one = one_network(maps, seed, step)
    norm = one.logit_fourier_norm.transpose("component_a", "component_b").values.astype(float)
    keys = one.frequency.values[one.circuit_frequency.values.astype(bool)].tolist()
    figure = Figure(figsize=(0.72 * WIDTH, 0.62 * WIDTH), layout="constrained")
    axes = figure.subplots()
    top = norm.max()
    image = axes.imshow(np.maximum(norm, top / 10**DECADES), norm=LogNorm(top / 10**DECADES, top), cmap="mako")
    figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02, extend="min").set_label(
        "Norm over the answers of the logits' component (logits)"
    )
    name_waves(axes, keys, len(norm))
    axes.set_title(f"Step {int(one.step):,}" + (f"\n{in_blocks(norm, keys)}" if keys else ""), loc="left")
    return figure


def in_blocks(norm: np.ndarray, keys: list[int]) -> str:
    """Share of the squared norm in the 2 x 2 blocks of the frequencies, beside their share of the components."""
    power = np.square(norm)
    power[0, 0] = 0
    blocks = sum(power[2 * k - 1 : 2 * k + 1, 2 * k - 1 : 2 * k + 1].sum() for k in keys)
    share, chance = blocks / power.sum(), 4 * len(keys) / (power.size - 1)
    text = f"{100 * share:.3g}% of the squared norm in the circuit's 2 × 2 blocks,\n"
    return text + f"{100 * chance:.2g}% of the components"


def name_waves(axes: Axes, keys: list[int], components: int) -> None:
    """Ticks at the constant and at the circuit's frequencies, between cosine and sine; their names kept apart."""
    places = [0, *(2 * k - 0.5 for k in keys)]
    for axis, token in ((axes.yaxis, "a"), (axes.xaxis, "b")):
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(NullFormatter())
        axis.set_label_text(rf"Component of ${token}$: 1, $\cos k$, $\sin k$, $k$ = 1 to {(components - 1) // 2}")
        axis.labelpad = 18
    options = {"textcoords": "data", "annotation_clip": False, "fontsize": 7}
    line = {"arrowstyle": "-", "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
    end, out = components - 0.5, 0.035 * components
    for name, at, beside, below in zip(
        ["1", *map(str, keys)], places, spread(places, out), spread(places, 0.05 * components), strict=True
    ):
        axes.annotate(name, (-0.5, at), (-out, beside), ha="right", va="center", arrowprops=line, **options)
        axes.annotate(name, (at, end), (below, end + out), ha="center", va="top", arrowprops=line, **options)
