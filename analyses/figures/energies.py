"""Free energies of the memorizing and the generalizing phase: over train fractions, and by tempering."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.lines import QUANTILE
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GREEN, VERMILION
from slt_grok.plots.style import frame, legend_right, panel_letters, styled

LOOKS = {"memorizing": (VERMILION, "s", "--"), "generalizing": (BLUE, "o", "-")}  # phase -> color, marker, line


@styled
def free_energies(
    energies: xr.Dataset, shares: xr.Dataset, predicted: tuple[float, float, float], seen: tuple[float, float, float]
) -> Figure:
    """Draw the free energies of both phases, seeds as points and means with 95% bands, and the share that generalizes.

    Parameters
    ----------
    energies : xarray.Dataset
        From `slt_grok.transitions.free_energy`, over train_fraction.
    shares : xarray.Dataset
        From `against_training`.
    predicted, seen : tuple[float, float, float]
        A crossing with the ends of its interval, drawn as a line with a band where finite.
    """
    figure, grid = frame(4.4, 2, sharex=True, height_ratios=[1.6, 1])
    upper, lower = grid[:, 0]
    x = energies.train_fraction.values
    for phase, (color, marker, line) in LOOKS.items():
        at = energies.sel(phase=phase)
        upper.fill_between(x, at.mean_free_energy_low, at.mean_free_energy_high, color=color, alpha=0.22, lw=0)
        upper.plot(x, at.mean_free_energy, ls=line, marker=marker, ms=4, color=color, label=f"{phase}, mean")
        values = at.free_energy.transpose("train_fraction", "seed")
        upper.plot(x, values, ls="", marker=marker, ms=2.4, mfc="none", mec=color, mew=0.6)
    upper.set_yscale("log")
    logarithmic(upper.yaxis)
    upper.set_ylabel(r"Free energy $nL + \lambda \log n$ (nats)")
    share = shares.generalized_share.values
    error = np.abs(np.stack([share - shares.generalized_share_low, shares.generalized_share_high - share]))
    lower.errorbar(x, share, error, fmt="o", ms=4, color="0.25", elinewidth=0.9, capsize=2, label="share, 95% interval")
    lower.axhline(0.5, color="0.7", lw=0.7, zorder=0)
    lower.set(ylim=(-0.05, 1.05), ylabel="Share of seeds that\ngeneralize", xlabel="Train fraction")
    for axes in (upper, lower):
        _crossing(axes, predicted, GREEN, "predicted", "-.", x)
        _crossing(axes, seen, "0.25", "seen", ":", x)
        legend_right(axes)
    panel_letters([upper, lower])
    figure.align_ylabels([upper, lower])
    return figure


@styled
def tempering(measured: xr.Dataset, names: list[str]) -> Figure:
    """Draw the integrand of the log marginal likelihood: the LLC at each temperature with 95% bands, of each network.

    Parameters
    ----------
    measured : xarray.Dataset
        From `slt_grok.llc.marginal_likelihood`, of at most four networks.
    names : list[str]
        Of the networks, in their order.
    """
    dims = [dim for dim in measured.log_marginal_likelihood.dims if dim != "beta"]
    networks = measured.stack(network=dims) if dims else measured.expand_dims("network")
    figure, ((axes,),) = frame(2.8)
    looks = [*LOOKS.values(), (GREEN, "D", "-."), ("0.35", "^", ":")]
    for i, (name, (color, marker, line)) in enumerate(zip(names, looks, strict=False)):
        one = networks.isel(network=i, beta=slice(1, None))
        beta = one.beta_value.values
        error = QUANTILE * measured.attrs["n"] * beta * one.mean_loss_se.values
        axes.fill_between(beta, one.llc_at_beta - error, one.llc_at_beta + error, color=color, alpha=0.25, lw=0)
        value, se, quadrature = (float(one[f"log_marginal_likelihood{end}"]) for end in ("", "_se", "_quadrature"))
        label = f"{name}\nlog Z = {value:,.0f} $\\pm$ {QUANTILE * se:.2g}\nquadrature {quadrature:.2g}"
        axes.plot(beta, one.llc_at_beta, ls=line, marker=marker, ms=3.4, color=color, label=label)
    axes.set_xscale("log")
    axes.set_xlabel(r"Inverse temperature $\beta$")
    axes.set_ylabel(r"$n\beta\,(\langle L\rangle_\beta - L(w^*))$")
    legend_right(axes)
    return figure


def _crossing(
    axes: Axes, crossing: tuple[float, float, float], color: str, name: str, line: str, x: np.ndarray
) -> None:
    value, low, high = crossing
    if np.isfinite(value):
        axes.axvspan(max(low, x.min()), min(high, x.max()), color=color, alpha=0.13, lw=0)
        axes.axvline(value, color=color, ls=line, lw=1.2, label=f"crossing {name}")
