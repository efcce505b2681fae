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
from scipy.stats import t

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.plots import style
from slt_grok.plots.lines import interval, points
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, VERMILION
from slt_grok.plots.tokens import circle

LEVELS = {  # color, line, marker, its size and fill; the clock is drawn over the pizza, which it often hides
    "neurons": (GREEN, (0, (1, 1.3)), "^", 3.2, GREEN),
    "pizza": (ORANGE, (0, (4, 2)), "s", 4.4, "white"),
    "clock": (BLUE, "-", "o", 2.2, BLUE),
}
PANELS = {"explained_variance": "Variance of logits\nexplained (%)", "agreement": "Predictions\nreproduced (%)"}
QUANTILE = 0.975


@style.styled
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
    program = style.with_seed(program)
    several = program.sizes["seed"] > 1
    columns = [[level] for level in reversed(LEVELS)] if several else [list(LEVELS)]
    figure, panels = style.frame(4.1, 2, len(columns), sharex=True, sharey="row")
    for row, (name, label) in zip(panels, PANELS.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, levels in zip(row, columns, strict=True):
            for level in levels:
                look = dict(zip(("color", "ls", "marker", "ms", "mfc"), LEVELS[level], strict=True), label=level)
                _line(axes, 100 * program[name].sel(level=level), look)
            axes.set(ylim=(-4, 104), yticks=[0, 25, 50, 75, 100])
            if not np.isfinite(program[name].sel(level=levels)).any():
                style.empty_panel(axes, "no frequency in the logits:\nno program of this level")
    onset = explained_from(program)
    for axes in panels[1]:
        true = {"color": "0.15", "ls": "none", "marker": "x", "ms": 3.6, "mew": 0.8}
        axes.plot(program.step, 100 * program.true_answers.mean("seed"), **true, label="true labels")
        tick = {"color": "0.15", "ms": 9, "mew": 1.2, "clip_on": False, "zorder": 5}
        edge = axes.get_xaxis_transform()
        axes.plot(onset, np.zeros(len(onset)), "|", **tick, transform=edge, label="explained from here on")
    style.shared_legend(figure, panels.flat)
    style.over_training(figure, panels.ravel().tolist(), program.step.values, 45 if several else 0)
    return figure


def explained_from(program: xr.Dataset) -> xr.DataArray:
    """Find the step from which on every checkpoint's shortest program explains its network, over `seed`; or NaN."""
    program = style.with_seed(program)
    explains = program.program_explains.values.astype(bool)
    from_here_on = np.logical_and.accumulate(explains[::-1])[::-1]
    first = np.where(from_here_on.any(0), program.step.values[from_here_on.argmax(0)], np.nan)
    return xr.DataArray(first, {"seed": program.seed}, attrs={"long_name": "step from which the program explains"})


def _line(axes: Axes, values: xr.DataArray, look: dict[str, Any]) -> None:
    """Draw one line, or thin lines for seeds and their mean with its interval."""
    if values.sizes["seed"] > 1:
        axes.plot(values.step, values, color=look["color"], ls="-", lw=0.6, alpha=0.5)
        values = values.dropna("step")
        _, low, high = _mean(values)
        axes.fill_between(values.step, low.clip(0, 100), high.clip(0, 100), color=look["color"], alpha=0.2, lw=0)
    axes.plot(values.step, values.mean("seed"), **look)


def _mean(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Compute the mean over seeds and the ends of its 95% interval by Student's t."""
    count, mean = values.count("seed"), values.mean("seed")
    reach = t.ppf(QUANTILE, (count - 1).clip(1)) * values.std("seed", ddof=1) / np.sqrt(count)
    return mean, mean - reach, mean + reach


MOST_CIRCLES, IN_A_COLUMN = 6, 3
NAMED = 3  # tokens 0, 1 and 2 are labeled
APART, OUTSIDE = 0.18, 0.17  # distance between two labels, and of a label from its point, in half widths of a panel
LETTERS, LEADING = 6.2, 1.32  # font size in points, and line spacing


@style.styled
def program_text(text: str, program: xr.Dataset, maps: xr.Dataset) -> Figure:
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
    last, planes = (style.select_seed(dataset, None).isel(step=-1) for dataset in (program, maps))
    size = abs(last.clock_amplitude.where(last.program_frequency.astype(bool), drop=True))
    keys = sorted(size.sortby(size, ascending=False).frequency.values[:MOST_CIRCLES].tolist())
    if not keys:
        raise SltGrokError("the program figure expected a frequency at the last step, found none")
    columns = 1 if len(keys) <= IN_A_COLUMN else 2
    rows = math.ceil(len(keys) / columns)
    height = max((text.count("\n") + 1) * LETTERS * LEADING / 72 + 0.15, (1.08 if columns == 1 else 1.5) * rows + 0.5)
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[4.75, style.WIDTH - 4.75])[0]
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


LENGTHS = {  # color, line, marker
    ("network", "answers"): (GRAY, ":", "v"),
    ("network", "loss"): (ORANGE, "-.", "^"),
    ("program", "answers"): (VERMILION, "--", "s"),
    ("program", "loss"): (BLUE, "-", "o"),
}
LLC_LENGTH = (GREEN, "-", "D")
SHORTEST = {"program": "mixture", "network": "compression"}


@style.styled
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
    program = style.with_seed(program)
    figure, ((axes,),) = style.frame(3.8)
    handles, steps = [], program.step.values
    for (kind, keeps), look in LENGTHS.items():
        if keeps in program.keeps:
            bits = program[f"{kind}_bits"].min(SHORTEST[kind]).sel(keeps=keeps)
            listed = program.table_share.sel(keeps=keeps).median("seed") > 0.5 if kind == "program" else None
            handles.append(_length(axes, bits, f"{kind}, keeps the {keeps}", look, listed))
    if llc is not None and (samples := samples or int(llc.attrs.get("n", 0))) > 1:
        handles.append(_llc_in_bits(axes, style.with_seed(llc), samples))
        steps = np.union1d(steps, llc.step.values)
    style.step_axis(axes, steps)
    if (program.table_share > 0.5).any():
        handles.append(Line2D([], [], ls="", marker="o", ms=4, mec="0.25", mfc="white", label="mostly table"))
    style.legend_right(axes, handles)
    logarithmic(axes.yaxis)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("Description length (bits)")
    return figure


def _length(
    axes: Axes, bits: xr.DataArray, label: str, look: tuple[str, str, str], hollow: xr.DataArray | None = None
) -> Line2D:
    """Draw a line with markers, some of them hollow, and the band over several seeds; return a line for the legend."""
    color, line, marker = look
    logs: xr.DataArray = bits.where(bits > 0).pipe(np.log)
    axes.plot(bits.step, np.exp(logs.mean("seed")), line, color=color, marker=marker, ms=2.8 if hollow is None else 0)
    if hollow is not None:
        points(axes, bits.step, np.exp(logs.mean("seed")), ~hollow, color, marker, 4)
    if bits.sizes["seed"] > 1:
        _, low, high = _mean(logs)
        axes.fill_between(bits.step, np.exp(low), np.exp(high), color=color, alpha=0.2, lw=0)
    return Line2D([], [], color=color, ls=line, marker=marker, ms=3.6, label=label)


def _llc_in_bits(axes: Axes, llc: xr.Dataset, samples: int) -> Line2D:
    bits, low, high = (
        np.log2(samples) * values.where(~llc.llc_status.isin(EXCLUDED)) for values in (llc.llc, *interval(llc))
    )
    if llc.sizes["seed"] == 1:
        positive = ((bits > 0) & (low > 0)).values[:, 0]
        axes.fill_between(llc.step, low[:, 0], high[:, 0], where=positive, color=GREEN, alpha=0.3, lw=0)
    return _length(axes, bits, f"LLC × log$_2$ n, n = {samples:,}", LLC_LENGTH)
