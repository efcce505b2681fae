"""What the statuses of an LLC rest on, along training.

R-hat and effective sample size (Vehtari et al. 1903.08008), drift between the halves of the draws, the virial identity,
acceptance of a Metropolis-adjusted Langevin proposal, distance from the checkpoint; limits of
`slt_grok.llc.diagnostics`.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.llc.diagnostics import DRIFT_LIMIT, RHAT_LIMIT, VIRIAL_LIMIT
from slt_grok.plots.llc_curve import TRUSTED
from slt_grok.plots.style import BLUE, GRAY, WIDTH, one_seed, panel_letters, step_axis, styled


@styled
def llc_diagnostics(llc: xr.Dataset, seed: int | None = None) -> Figure:
    """Six small panels over the training step: R-hat, effective sample size, drift, virial, acceptance, distance.

    Dashed lines are the limits of the statuses. Points with a status other than effective or converged are hollow.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, or no such seed.
    """
    one = one_seed(llc, seed)
    trusted = one.llc_status.isin(TRUSTED).values
    panels = (
        ("R-hat", one.rhat, (RHAT_LIMIT,)),
        ("Effective\nsample size", one.ess, ()),
        ("Drift\n(% of LLC)", 100 * one.drift / abs(one.llc), (-100 * DRIFT_LIMIT, 100 * DRIFT_LIMIT)),
        ("Virial", one.virial, (1 - VIRIAL_LIMIT, 1 + VIRIAL_LIMIT)),
        ("Acceptance", one.acceptance.mean("chain"), ()),
        ("Distance\n$|w-w^*|$", one.distance.isel(look=-1).mean("chain"), ()),
    )
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    grid = figure.subplots(3, 2, sharex=True).ravel()
    for axes, (label, values, limits) in zip(grid, panels, strict=True):
        step_axis(axes, one.step.values)
        draw(axes, one.step.values, values.values.astype(float), trusted)
        for limit in limits:
            axes.axhline(limit, color=GRAY, lw=0.8, ls=(0, (4, 2)))
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("")
        # half the width of other figures: powers of ten alone
        axes.set_xticks([tick for tick in axes.get_xticks() if tick == 0 or np.log10(tick) % 1 == 0])
    for axes in grid[-2:]:
        axes.set_xlabel("Training step")
    panel_letters(list(grid), offset=(-40, 4))
    figure.align_ylabels(list(grid))
    return figure


def draw(axes: Axes, steps: np.ndarray, values: np.ndarray, trusted: np.ndarray) -> None:
    """Draw a line with filled points where the status is trusted, hollow ones elsewhere."""
    axes.plot(steps, values, color=BLUE, lw=0.9)
    for chosen, face in ((trusted, BLUE), (~trusted, "white")):
        axes.plot(steps[chosen], values[chosen], "o", ms=3, mec=BLUE, mfc=face, mew=0.8)
