"""Description length along training beside the LLC, in bits on one axis."""

import xarray as xr
from matplotlib.figure import Figure

from slt_grok.plots.style import WIDTH, styled


@styled
def description_length(program: xr.Dataset, llc: xr.Dataset, samples: int) -> Figure:
    """Bits of program, table and network against the training step, and llc log2(n) on the same axis.

    Parameters
    ----------
    program : of `slt_grok.program.measure`, over (step,) or (step, seed).
    llc : llc and its interval over the same.
    samples : n, train pairs.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    return figure
