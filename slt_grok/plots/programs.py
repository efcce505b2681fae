"""Programs: variance explained by each level over training, the text of a program, and description lengths.

Levels after Nanda et al. 2301.05217 (clock), Zhong et al. 2306.17844 (pizza) and McCracken et al. 2505.18266
(neurons).
"""

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy.stats import t

from slt_grok.errors import SltGrokError
from slt_grok.plots.lines import interval, points
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, VERMILION
from slt_grok.plots.style import WIDTH, frame, one_seed, over_training, step_axis, styled, undefined, with_seed
from slt_grok.plots.tokens import circle

LEVELS = {  # color, line, marker and its size; the clock is drawn over the pizza, which it often hides
    "neurons": (GREEN, (0, (1, 1.3)), "^", 3.2),
    "pizza": (ORANGE, (0, (4, 2)), "s", 4.4),
    "clock": (BLUE, "-", "o", 2.2),
}
PANELS = {"explained_variance": "Variance of logits\nexplained (%)", "agreement": "Predictions\nreproduced (%)"}
QUANTILE = 0.975


@styled
def explained_share(program: xr.Dataset) -> Figure:
    """Draw explained variance and agreement of every level over training, and the network's accuracy on all pairs.

    A single seed has all levels in one panel. With several seeds, each level has its own panel: seeds are thin lines,
    and the thick one is their mean with Student's 95% interval, clipped at 0 and 100%, at steps where every seed has
    the level. A line starts where the logits have a frequency. Ticks under the lower panels mark, for each seed that
    has one, the step from which on the shortest program explains the network.

    Parameters
    ----------
    program : xarray.Dataset
        The measurement `program`.
    """
    program = with_seed(program)
    several = program.sizes["seed"] > 1
    columns = [[level] for level in reversed(LEVELS)] if several else [list(LEVELS)]
    figure, panels = frame(4.1, 2, len(columns), sharex=True, sharey="row")
    for row, (name, label) in zip(panels, PANELS.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, levels in zip(row, columns, strict=True):
            for level in levels:
                color, line, marker, size = LEVELS[level]
                look = {"color": color, "ls": line, "marker": marker, "ms": size, "label": level}
                look["mfc"] = "white" if level == "pizza" else color
                _mean(axes, 100 * program[name].sel(level=level).transpose("step", "seed"), look)
            axes.set(ylim=(-4, 104), yticks=[0, 25, 50, 75, 100])
            if not np.isfinite(program[name].sel(level=levels)).any():
                undefined(axes, "no frequency in the logits:\nno program of this level")
    onset = explained_from(program)
    for axes in panels[1]:
        true = {"color": "0.15", "ls": "none", "marker": "x", "ms": 3.6, "mew": 0.8}
        axes.plot(program.step, 100 * program.true_answers.mean("seed"), **true, label="true labels")
        tick = {"color": "0.15", "ms": 9, "mew": 1.2, "clip_on": False, "zorder": 5}
        edge = axes.get_xaxis_transform()
        axes.plot(onset, np.zeros(len(onset)), "|", **tick, transform=edge, label="explained from here on")
    handles = {text: line for axes in panels.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
    over_training(figure, panels.ravel().tolist(), program.step.values, 45 if several else 0)
    return figure


def explained_from(program: xr.Dataset) -> xr.DataArray:
    """Find the step from which on every checkpoint's shortest program explains its network, over `seed`; or NaN."""
    program = with_seed(program)
    explains = program.program_explains.transpose("step", "seed").values.astype(bool)
    from_here_on = np.logical_and.accumulate(explains[::-1])[::-1]
    first = np.where(from_here_on.any(0), program.step.values[from_here_on.argmax(0)], np.nan)
    return xr.DataArray(first, {"seed": program.seed}, attrs={"long_name": "step from which the program explains"})


def _mean(axes: Axes, values: xr.DataArray, look: dict[str, Any]) -> None:
    """Draw one line, or thin lines for seeds and their mean with its interval."""
    count = values.sizes["seed"]
    if count == 1:
        axes.plot(values.step, values.isel(seed=0), **look)
        return
    axes.plot(values.step, values, color=look["color"], ls="-", lw=0.6, alpha=0.5)
    whole = values.dropna("step")
    mean = whole.mean("seed")
    reach = t.ppf(QUANTILE, count - 1) * whole.std("seed", ddof=1) / np.sqrt(count)
    low, high = (mean - reach).clip(0, 100), (mean + reach).clip(0, 100)
    axes.fill_between(whole.step, low, high, color=look["color"], alpha=0.2, lw=0)
    axes.plot(whole.step, mean, **look)


MOST_CIRCLES, IN_A_COLUMN = 6, 3
NAMED = 3  # tokens 0, 1 and 2 are labeled
APART, OUTSIDE = 0.18, 0.17  # distance between two labels, and of a label from its point, in half widths of a panel
LETTERS, LEADING = 6.2, 1.32  # font size in points, and line spacing


@styled
def program_text(text: str, program: xr.Dataset, maps: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the text, and next to it the tokens in the planes of the program's frequencies at the last step.

    Parameters
    ----------
    text : str
        Program text with lines of at most 84 characters.
    program : xarray.Dataset
        The measurement `program`; only the six frequencies of largest amplitude are drawn.
    maps : xarray.Dataset
        The measurement `circuit_maps`.

    Raises
    ------
    SltGrokError
        The program has no frequency at the last step.
    """
    last, planes = (one_seed(one, seed).isel(step=-1) for one in (program, maps))
    size = abs(last.clock_amplitude.where(last.program_frequency.astype(bool), drop=True))
    keys = sorted(size.sortby(size, ascending=False).frequency.values[:MOST_CIRCLES].tolist())
    if not keys:
        raise SltGrokError("the program figure expected a frequency at the last step, found none")
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
        axes.set_title(f"{lines[0]}: {lines[1]}, {lines[2]}" if columns == 1 else "\n".join(lines), fontsize=7)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
        axes.locator_params(nbins=3, steps=[1, 2, 5, 10])
        _name_tokens(axes, plane.embedding_plane.transpose("token", "part").values[:NAMED], limit)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    right.supxlabel(r"Row of $W_E$ of each token along $\cos$", fontsize=7)
    right.supylabel(r"along $\sin$", fontsize=7)
    return figure


def _name_tokens(axes: Axes, places: np.ndarray, limit: float) -> None:
    """Label the first tokens outside their circle, unless an earlier label is in the way."""
    places = places * (1 + OUTSIDE * limit / np.linalg.norm(places, axis=1, keepdims=True))
    for token, place in enumerate(places):
        if token == 0 or np.linalg.norm(places[:token] - place, axis=1).min() > APART * limit:
            axes.text(place[0], place[1], str(token), ha="center", va="center", fontsize=6)


def _look(color: str, line: str, marker: str) -> dict[str, Any]:
    return {"color": color, "ls": line, "marker": marker}


LENGTHS = {
    "network": {"answers": _look(GRAY, ":", "v"), "loss": _look(ORANGE, "-.", "^")},
    "program": {"answers": _look(VERMILION, "--", "s"), "loss": _look(BLUE, "-", "o")},
}
OF_LLC = _look(GREEN, "-", "D")
SHORTEST = {"program": "mixture", "network": "compression"}


@styled
def description_length(program: xr.Dataset, llc: xr.Dataset | None, samples: int | None = None) -> Figure:
    """Draw bits of program and network against the training step, and llc log2(n) on the same axis.

    With several seeds, geometric means with their 95% intervals by Student's t on the logarithms; with one, the
    LLC's interval. A program whose bits mostly list pairs has a hollow marker. Nonpositive or diverged LLCs are
    omitted.

    Parameters
    ----------
    program : xarray.Dataset
        The measurement `program`.
    llc : xarray.Dataset or None
        The measurement `llc`, with its own steps.
    samples : int or None, optional
        n, the size of the train set; by default the attribute `n` of `llc`.
    """
    program = with_seed(program)
    samples = samples or int(llc.attrs.get("n", 0) if llc is not None else 0)
    figure, ((axes,),) = frame(3.8)
    step_axis(axes, np.union1d(program.step.values, llc.step.values) if llc is not None else program.step.values)
    axes.set_yscale("log")
    handles = []
    for what, looks in LENGTHS.items():
        shortest = program[f"{what}_bits"].min(SHORTEST[what])
        for keeps, look in looks.items():
            if keeps in program.keeps:
                listed = program.table_share.sel(keeps=keeps).median("seed").values > 0.5
                _length(axes, shortest.sel(keeps=keeps), look, listed if what == "program" else None)
                handles.append(Line2D([], [], ms=3.6, label=f"{what}, keeps the {keeps}", **look))
    if llc is not None and samples > 1:
        _llc_in_bits(axes, with_seed(llc), samples)
        handles.append(Line2D([], [], ms=3.6, label=f"LLC × log$_2$ n, n = {samples:,}", **OF_LLC))
    if (program.table_share > 0.5).any():
        handles.append(Line2D([], [], ls="", marker="o", ms=4, mec="0.25", mfc="white", label="mostly table"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.015, 1.0))
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=80))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("Description length (bits)")
    return figure


def _length(axes: Axes, bits: xr.DataArray, look: dict[str, Any], hollow: np.ndarray | None = None) -> None:
    """Draw a line with markers, some of them hollow, and the band over several seeds."""
    bits, color = bits.transpose("step", "seed"), look["color"]
    middle, low, high = _geometric_mean(bits)
    axes.plot(bits.step, middle, ms=2.8 if hollow is None else 0, **look)
    if hollow is not None:
        points(axes, bits.step, middle, ~hollow, color, look["marker"], 4)
    if bits.sizes["seed"] > 1:
        axes.fill_between(bits.step, low, high, color=color, alpha=0.2, lw=0)


def _llc_in_bits(axes: Axes, llc: xr.Dataset, samples: int) -> None:
    if "llc_status" in llc:
        llc = llc.where(llc.llc_status != "diverged")
    bits = llc.llc * np.log2(samples)
    _length(axes, bits, OF_LLC)
    if llc.sizes["seed"] == 1 and ("llc_se" in llc or "llc_low" in llc):
        low, high = (end.isel(seed=0).values * np.log2(samples) for end in interval(llc))
        positive = (bits.isel(seed=0).values > 0) & (low > 0)
        axes.fill_between(llc.step, low, high, where=positive, color=OF_LLC["color"], alpha=0.3, lw=0)


def _geometric_mean(bits: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the geometric mean over seeds of (step, seed) and the ends of its 95% interval, NaN for one seed."""
    logs: xr.DataArray = bits.where(bits > 0).pipe(np.log)
    count = logs.notnull().sum("seed").values
    mean = logs.mean("seed").values
    spread = logs.std("seed", ddof=1).values if bits.sizes["seed"] > 1 else np.full(len(mean), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = t.ppf(QUANTILE, np.maximum(count - 1, 1)) * spread / np.sqrt(count)
    return np.exp(mean), np.exp(mean - reach), np.exp(mean + reach)
