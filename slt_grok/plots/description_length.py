"""Description length along training beside the LLC, in bits on one axis."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy.stats import t

from slt_grok.errors import SltGrokError
from slt_grok.plots.llc_curve import interval
from slt_grok.plots.style import BLUE, GRAY, GREEN, ORANGE, VERMILION, WIDTH, step_axis, styled, with_seed


class Look(NamedTuple):
    """Color, dashes and marker of a curve."""

    color: str
    dashes: str
    marker: str


LOOKS = {
    "network": {"answers": Look(GRAY, ":", "v"), "loss": Look(ORANGE, "-.", "^")},
    "program": {"answers": Look(VERMILION, "--", "s"), "loss": Look(BLUE, "-", "o")},
}
OF_LLC = Look(GREEN, "-", "D")
SHORTEST = {"program": "mixture", "network": "compression"}
LEVEL = 0.975


@styled
def description_length(program: xr.Dataset, llc: xr.Dataset, samples: int) -> Figure:
    """Bits of program and network against the training step, and llc log2(n) on the same axis.

    Of several seeds the geometric means, with their 95% intervals by Student's t on the logarithms; of one the LLC's
    own interval. A program whose bits for the most part list pairs has a hollow marker. Of an LLC that is not positive
    nothing is drawn, nor of a diverged one.

    Parameters
    ----------
    program : xarray.Dataset
        Of `slt_grok.program.measure`, over (step,) or (step, seed).
    llc : xarray.Dataset
        `llc`, and its interval or standard error, over the same dimensions, with steps of its own.
    samples : int
        n, train pairs.

    Raises
    ------
    SltGrokError
        A dataset without `step`, a missing variable, or fewer than 2 samples.
    """
    program, llc = with_seed(program), with_seed(llc)
    for dataset, names in ((program, ("program_bits", "network_bits", "table_share")), (llc, ("llc",))):
        if missing := [name for name in names if name not in dataset]:
            raise SltGrokError(f"the length's figure expected a variable {missing[0]}, it is missing")
    if samples < 2:
        raise SltGrokError(f"the length's figure expected at least 2 train pairs, got {samples}")
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    step_axis(axes, np.union1d(program.step.values, llc.step.values))
    axes.set_yscale("log")
    handles = []
    for what, looks in LOOKS.items():
        shortest = program[f"{what}_bits"].min(SHORTEST[what])
        for keeps, look in looks.items():
            if keeps not in program.keeps:
                continue
            listed = program.table_share.sel(keeps=keeps).median("seed").values > 0.5
            _draw(axes, shortest.sel(keeps=keeps), look, listed if what == "program" else None)
            handles.append(_handle(look, f"{what}, keeps the {keeps}"))
    _draw_llc(axes, llc, samples)
    handles.append(_handle(OF_LLC, f"LLC \N{MULTIPLICATION SIGN} log$_2$ n, n = {samples:,}"))
    if (program.table_share > 0.5).any():
        handles.append(Line2D([], [], ls="", marker="o", ms=4, mec="0.25", mfc="white", label="mostly table"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.015, 1.0))
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=80))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("Description length (bits)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _handle(look: Look, label: str) -> Line2D:
    return Line2D([], [], color=look.color, ls=look.dashes, marker=look.marker, ms=3.6, label=label)


def _draw(axes: Axes, bits: xr.DataArray, look: Look, hollow: np.ndarray | None = None) -> None:
    """Line with markers, some of them hollow, and over several seeds the band."""
    bits = bits.transpose("step", "seed")
    middle, low, high = _over_seeds(bits)
    axes.plot(bits.step, middle, color=look.color, ls=look.dashes)
    if hollow is None:
        axes.plot(bits.step, middle, look.marker, ms=2.8, color=look.color)
    else:
        for face, shown in (("white", hollow), (look.color, ~hollow)):
            values = np.where(shown, middle, np.nan)
            axes.plot(bits.step, values, look.marker, ms=4, mec=look.color, mfc=face, mew=0.9, zorder=3)
    if bits.sizes["seed"] > 1:
        axes.fill_between(bits.step, low, high, color=look.color, alpha=0.2, lw=0)


def _draw_llc(axes: Axes, llc: xr.Dataset, samples: int) -> None:
    if "llc_status" in llc:
        llc = llc.where(llc.llc_status != "diverged")
    bits = llc.llc * np.log2(samples)
    _draw(axes, bits, OF_LLC)
    if llc.sizes["seed"] == 1 and ("llc_se" in llc or "llc_low" in llc):
        low, high = (end.isel(seed=0).values * np.log2(samples) for end in interval(llc))
        positive = (bits.isel(seed=0).values > 0) & (low > 0)
        axes.fill_between(llc.step, low, high, where=positive, color=OF_LLC.color, alpha=0.3, lw=0)


def _over_seeds(bits: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geometric mean over seeds and both ends of its 95% interval, of (step, seed); NaN of one seed's ends."""
    logs: xr.DataArray = bits.where(bits > 0).pipe(np.log)
    count = logs.notnull().sum("seed").values
    mean = logs.mean("seed").values
    spread = logs.std("seed", ddof=1).values if bits.sizes["seed"] > 1 else np.full(len(mean), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = t.ppf(LEVEL, np.maximum(count - 1, 1)) * spread / np.sqrt(count)
    return np.exp(mean), np.exp(mean - reach), np.exp(mean + reach)
