"""The drop of the LLC split over matrices, heads and key frequencies: bars with intervals, what is left over hatched.

Splittings of `slt_grok.transitions.attribution`; refined LLCs: Wang et al. 2410.02984, section 3.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots.llc_curve import settings
from slt_grok.plots.style import BLUE, GREEN, ORANGE, WIDTH, panel_letters, styled

TITLES = {"matrix": "matrices", "head": "attention heads", "frequency": "frequencies,\nin the tables over Z_p"}
COLORS = {"matrix": BLUE, "head": ORANGE, "frequency": GREEN}
WHOLE = "0.35"


@styled
def attribution(split: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw a panel for each splitting, a bar for each part, for the remainder (hatched) and for the whole (dark).

    Bars are drops of the LLC with 95% intervals; the number beside each is its share of the drop of all weights.

    Parameters
    ----------
    split : xarray.Dataset
        Of `slt_grok.transitions.attribution.attribute`.
    seed : int or None, optional
        The first where none is named.

    Raises
    ------
    SltGrokError
        No such seed, or no drop that is known.
    """
    seeds = split.seed.values.tolist()
    if seed is not None and seed not in seeds:
        raise SltGrokError(f"expected a seed among {', '.join(map(str, seeds))}, got {seed}")
    one = split.sel(seed=seeds[0] if seed is None else seed)
    one = one.isel(row=np.flatnonzero(np.isfinite(one["drop"]) | (one.kind == "remainder")))
    names = [name for name in TITLES if (one.splitting == name).any()]
    if not np.isfinite(one["drop"]).any():
        raise SltGrokError("the figure of the drop's parts expected at least one that is known")
    counts = [int((one.splitting == name).sum()) for name in names]
    figure = Figure(figsize=(WIDTH, 0.7 + 0.19 * sum(counts) + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False, height_ratios=counts)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        _bars(axes, one.isel(row=(one.splitting == name).values), COLORS[name])
        axes.set_title(TITLES[name].replace("\n", " "), loc="left")
    panels[-1].set_xlabel(
        f"Drop of the LLC from step {int(one.drop_from):,} to step {int(one.drop_to):,}; per cent of all weights' drop"
    )
    panels[0].set_title(settings(split), loc="right", fontsize=6.5, color="0.35")
    panel_letters(panels.tolist(), offset=(-105, 7), room=False)
    return figure


def _bars(axes: Axes, rows: xr.Dataset, color: str) -> None:
    """Parts, the largest first, then the remainder and the whole."""
    order = np.lexsort(np.stack([-rows["drop"].fillna(0).values, [KINDS[kind] for kind in rows.kind.values]]))
    rows = rows.isel(row=order)
    places = list(range(rows.sizes["row"]))
    for place, kind in zip(places, rows.kind.values, strict=True):
        here = rows.isel(row=place)
        value = float(here["drop"])
        if not np.isfinite(value):
            axes.text(0, place, " not known: a part or the whole was not measured", va="center", fontsize=6.5)
            continue
        look: dict[str, Any] = {
            "part": {"color": color},
            "remainder": {"facecolor": "white", "edgecolor": color, "hatch": "////"},
            "whole": {"color": WHOLE},
        }[str(kind)]
        axes.barh(place, value, height=0.72, lw=0.8, **look)
        ends = [[value - float(here.drop_low)], [float(here.drop_high) - value]]
        axes.errorbar(value, place, xerr=ends, color="0.1", lw=0.9, capsize=1.5)
        if np.isfinite(here.share):
            edge = max(float(here.drop_high), 0)
            axes.annotate(
                _percent(float(here.share)), (edge, place), (4, 0), textcoords="offset points", va="center",
                fontsize=6.5, color="0.25",
            )  # fmt: skip
    axes.set_yticks(places, [str(name) for name in rows.component.values])
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.axvline(0, color="0.6", lw=0.7)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _percent(share: float) -> str:
    """Two digits below one per cent, one place above."""
    return f"{100 * share:.1f}%" if abs(share) >= 0.01 else f"{100 * share:.2g}%"


KINDS = {"part": 0, "remainder": 1, "whole": 2}
