"""How much of the LLC's drop is left when the scale of the weights is treated as the confound that it may be.

At fixed gamma the neighborhood has the same size around large and small weights; weights shrink while a network groks.
"""

import numpy as np
import xarray as xr

_SOURCE = "this package; gamma by the rules of slt_grok.llc.calibration"

ATTRS = {
    "drop": "llc at drop_from minus llc at the last checkpoint",
    "drop_se": "standard errors of both ends, in squares",
    "drop_share": "drop / llc at drop_from",
    "drop_left": "drop / drop under fixed_gamma",
    "drop_left_se": "from the standard errors of both drops",
}
NAMES = {
    "drop": "drop of the LLC",
    "drop_se": "standard error of the drop",
    "drop_share": "drop as a share of the LLC it starts from",
    "drop_left": "share of the drop at fixed gamma that is left",
    "drop_left_se": "standard error of the share that is left",
}


def drops(confound: xr.Dataset) -> xr.Dataset:
    """Return the drop under each treatment, between the same two checkpoints.

    Parameters
    ----------
    confound : xarray.Dataset
        `llc` and `llc_se` over (step, seed, treatment), with a treatment `fixed_gamma`.

    Returns
    -------
    xarray.Dataset
        `drop_from` (seed), the step of the largest LLC under `fixed_gamma`, and over (seed, treatment) `drop`,
        `drop_se`, `drop_share`, `drop_left` and `drop_left_se`. NaN where an end was not measured.
    """
    llc, se = (confound[name].transpose("step", "seed", "treatment") for name in ("llc", "llc_se"))
    fixed = llc.sel(treatment="fixed_gamma")
    at = fixed.fillna(-np.inf).values.argmax(0)
    start = xr.DataArray(at, dims="seed", coords={"seed": llc.seed})
    first, last = llc.isel(step=start).drop_vars("step"), llc.isel(step=-1).drop_vars("step")
    drop = first - last
    drop_se = (se.isel(step=start).drop_vars("step") ** 2 + se.isel(step=-1).drop_vars("step") ** 2) ** 0.5
    own, own_se = drop.sel(treatment="fixed_gamma", drop=True), drop_se.sel(treatment="fixed_gamma", drop=True)
    left = drop / own
    left_se = abs(left) * ((drop_se / drop) ** 2 + (own_se / own) ** 2) ** 0.5
    left_se = left_se.where(left.treatment != "fixed_gamma", 0.0)  # the same number twice
    found = {"drop": drop, "drop_se": drop_se, "drop_share": drop / first, "drop_left": left, "drop_left_se": left_se}
    result = xr.Dataset(
        {
            name: values.transpose("seed", "treatment").assign_attrs(
                long_name=NAMES[name], definition=ATTRS[name], source=_SOURCE
            )
            for name, values in found.items()
        }
    )
    attrs = {"long_name": "step that the drop starts from", "units": "training steps", "source": _SOURCE}
    return result.assign(
        drop_from=("seed", llc.step.values[at], attrs | {"definition": "step of the largest llc under fixed_gamma"})
    )
