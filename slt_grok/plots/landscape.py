"""The landscape along training beside the LLC: one panel a measure, on one step axis."""

import xarray as xr
from matplotlib.figure import Figure

from slt_grok.plots.curves import curves, over_training
from slt_grok.plots.style import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, VERMILION, WIDTH, one_seed, styled


@styled
def landscape(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """LLC, norm and ranks, curvature at both logit scales, effective dimension, sharpness and volume of one seed.

    Parameters
    ----------
    landscape : xarray.Dataset
        Of `slt_grok.landscape.measure`.
    llc : xarray.Dataset or None, optional
        Its panel is left out where there is none.
    seed : int or None, optional
        Which one; the only one where None.

    Raises
    ------
    SltGrokError
        No such seed, or several and none named.
    """
    one = one_seed(landscape, seed)
    figure = Figure(figsize=(WIDTH, 7.0), layout="constrained")
    panels = figure.subplots(4, 2, sharex=True).flatten()
    if llc is not None:
        value = one_seed(llc, seed)
        curves(panels[0], "LLC", {"LLC": (value.llc, value.llc_se, BLUE)})
    else:
        panels[0].set_axis_off()
    curves(panels[1], "Weight norm", {"all weights": (one.weight_norm.sel(component="total"), None, GRAY)})
    ranks = one.effective_rank.mean("weight_matrix"), one.stable_rank.mean("weight_matrix")
    curves(
        panels[2],
        "Rank, mean\nof the matrices",
        {"effective": (ranks[0], None, BLUE), "stable": (ranks[1], None, ORANGE)},
    )
    hessian = {
        "trace": (one.hessian_trace, one.hessian_trace_se, PURPLE),
        "top eigenvalue": (one.hessian_eigenvalue.isel(eigenvalue=0), None, BROWN),
    }
    curves(panels[3], "Hessian\n(nats / weight²)", hessian, logarithmic=True)
    at_unit = one.gauss_newton_trace_unit_scale, one.gauss_newton_trace_unit_scale_se, PURPLE
    curves(panels[4], "Gauss-Newton trace,\nunit logit scale", {"trace": at_unit}, logarithmic=True)
    dimension = {
        f"{name}, c = {c:g}": (
            one[f"effective_dimension{at}"].sel(c=c),
            one[f"effective_dimension{at}_se"].sel(c=c),
            color,
        )
        for (at, name), colors in zip(
            (("", "own scale"), ("_unit_scale", "unit scale")), ((BLUE, GREEN), (ORANGE, VERMILION)), strict=True
        )
        for c, color in zip(one.c.values.tolist(), colors, strict=False)
    }
    curves(panels[5], "Effective\ndimension", dimension, logarithmic=True)
    radius = one.radius.values[0]
    sharp = {
        f"{mode}, ρ = {radius:g}": (one.sharpness.sel(mode=mode, radius=radius), None, color)
        for mode, color in (("plain", VERMILION), ("adaptive", GREEN))
    }
    curves(panels[6], "Sharpness\n(nats)", sharp, logarithmic=True)
    volume = {
        f"ε = {epsilon:g} nats": (
            one.radial_log_volume_bound.sel(epsilon=epsilon),
            one.radial_log_volume_bound_se.sel(epsilon=epsilon),
            color,
        )
        for epsilon, color in zip(one.epsilon.values.tolist(), (BLUE, ORANGE), strict=False)
    }
    curves(panels[7], "Log-volume,\nlower bound (nats)", volume)
    over_training(figure, panels.tolist(), one.step.values)
    return figure
