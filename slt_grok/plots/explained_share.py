"""How much of the network each level of program explains, over training: its logits' variance, and its answers.

Dataset: `slt_grok.program.measure`. Levels after Nanda et al. 2301.05217 (clock), Zhong et al. 2306.17844 (pizza) and
McCracken et al. 2505.18266 (neurons).
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t

from slt_grok.plots.panels import undefined
from slt_grok.plots.style import BLUE, GREEN, ORANGE, WIDTH, panel_letters, step_axis, styled, with_seed

LOOKS = {  # color, line, marker and its size; the clock over the pizza, which it often hides
    "neurons": (GREEN, (0, (1, 1.3)), "^", 3.2),
    "pizza": (ORANGE, (0, (4, 2)), "s", 4.4),
    "clock": (BLUE, "-", "o", 2.2),
}
PANELS = {"explained_variance": "Variance of logits\nexplained (%)", "agreement": "Network's answers\ngiven (%)"}


@styled
def explained_share(program: xr.Dataset) -> Figure:
    """Explained variance and agreement of every level over training, and the network's own accuracy on all pairs.

    Of a single seed all levels stand in one panel. Of several each level has its own: every seed is a thin line, thick
    is their mean with Student's 95% interval, cut at 0 and 100%, at the steps where every seed has the level. A line
    begins where the logits have a frequency: before, no level has a program. Ticks under the lower panels: the step
    from which on the shortest program explains the network, of each seed that comes to it.

    Parameters
    ----------
    program : xarray.Dataset
        Over `step`, with or without `seed`.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension.
    """
    program = with_seed(program)
    several = program.sizes["seed"] > 1
    columns = [[level] for level in reversed(LOOKS)] if several else [list(LOOKS)]
    figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
    panels = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for row, (name, label) in zip(panels, PANELS.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, levels in zip(row, columns, strict=True):
            for level in levels:
                color, line, marker, size = LOOKS[level]
                look = {"color": color, "ls": line, "marker": marker, "ms": size, "label": level}
                look["mfc"] = "white" if level == "pizza" else color
                _over_seeds(axes, 100 * program[name].sel(level=level).transpose("step", "seed"), look)
            axes.set_ylim(-4, 104)
            axes.set_yticks([0, 25, 50, 75, 100])
            axes.spines[["top", "right"]].set_visible(False)
            if not np.isfinite(program[name].sel(level=levels)).any():
                undefined(axes, "no frequency in the logits:\nno program of this level")
    onset = explained_from(program)
    for axes in panels[1]:
        true = {"color": "0.15", "ls": "none", "marker": "x", "ms": 3.6, "mew": 0.8}
        axes.plot(program.step, 100 * program.true_answers.mean("seed"), **true, label="true answers")
        axes.plot(
            onset, np.zeros(len(onset)), "|", color="0.15", ms=9, mew=1.2, clip_on=False, zorder=5,
            transform=axes.get_xaxis_transform(), label="explained from here on",
        )  # fmt: skip
    for axes in panels.flat:
        step_axis(axes, program.step.values)
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelrotation=45 if several else 0)
    figure.supxlabel("Training step (logarithmic, linear near 0)", fontsize=8)
    handles, labels = _legend(panels)
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    panel_letters(panels[:, 0].tolist())
    return figure


def _legend(panels: np.ndarray) -> tuple[list[Any], list[str]]:
    """Every label once."""
    found = {text: line for axes in panels.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    return list(found.values()), list(found)


def explained_from(program: xr.Dataset) -> xr.DataArray:
    """Return the step from which on every checkpoint's shortest program explains its network, over `seed`.

    NaN where none.
    """
    program = with_seed(program)
    explains = program.program_explains.transpose("step", "seed").values.astype(bool)
    from_here_on = np.logical_and.accumulate(explains[::-1])[::-1]
    first = np.where(from_here_on.any(0), program.step.values[from_here_on.argmax(0)], np.nan)
    return xr.DataArray(first, {"seed": program.seed}, attrs={"long_name": "step from which the program explains"})


def _over_seeds(axes: Axes, values: xr.DataArray, look: dict[str, Any]) -> None:
    """One line; or thin lines of the seeds and their mean with its interval."""
    count = values.sizes["seed"]
    if count == 1:
        axes.plot(values.step, values.isel(seed=0), **look)
        return
    axes.plot(values.step, values, color=look["color"], ls="-", lw=0.6, alpha=0.5)
    whole = values.dropna("step")
    mean = whole.mean("seed")
    reach = t.ppf(0.975, count - 1) * whole.std("seed", ddof=1) / np.sqrt(count)
    low, high = (mean - reach).clip(0, 100), (mean + reach).clip(0, 100)
    axes.fill_between(whole.step, low, high, color=look["color"], alpha=0.2, lw=0)
    axes.plot(whole.step, mean, **look)
