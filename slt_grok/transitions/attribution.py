"""The LLC's drop split over matrices, attention heads and key frequencies, with what does not add up.

From refined LLCs (Wang et al. 2410.02984, section 3) at the checkpoint where the LLC of all weights is largest and at
the last one. With d(x) the LLC of a component at the former minus that at the latter, three splittings:

    matrix       d(all weights) = sum of d(matrix) + remainder
    head         d(all heads together) = sum of d(head) + remainder
    frequency    d(all tables over Z_p) = sum of d(key frequency) + d(other frequencies and the constant) + remainder

A component's LLC moves its own weights with all others held. On a quadratic loss the parts of an orthogonal splitting
have at least the LLC of the whole, so that a remainder is what the interaction of the parts gains or loses over the
drop: minus the drop of `llc_interaction` of `slt_grok.llc.refined`. Shares are of d(all weights), in all three. This
way of splitting a drop is this package's.
"""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.transitions.measures import with_seed

SPLITTINGS = {  # splitting -> (groups of its parts, group of its whole)
    "matrix": (("matrix",), "whole"),
    "head": (("head",), "attention"),
    "frequency": (("frequency", "rest"), "tables"),
}
REMAINDER, WHOLE, PART = "remainder", "whole", "part"

ATTRS = {
    "drop": ("drop of the LLC", "llc at drop_from minus llc at drop_to; the remainder's: the whole's minus the parts'"),
    "drop_se": ("standard error of the drop", "llc_se of both ends and all that is summed, in squares"),
    "drop_low": ("lower end of the 95% interval of the drop", "from llc_low and llc_high, distances in squares"),
    "drop_high": ("upper end of the 95% interval of the drop", "from llc_low and llc_high, distances in squares"),
    "share": ("share of the drop of all weights", "drop / drop of all weights"),
    "share_se": ("standard error of the share", "to first order in the errors of both drops"),
}  # fmt: skip


def attribute(refined: xr.Dataset) -> xr.Dataset:
    """Split the drop of the LLC of all weights.

    Parameters
    ----------
    refined : xarray.Dataset
        `llc`, `llc_se`, `llc_low`, `llc_high`, `llc_status` over (step, seed, component) with the coordinate `group`,
        as `slt_grok.llc.refined.measure` gives them; estimates with a status `diverged` are left out as NaN.

    Returns
    -------
    xarray.Dataset
        Over (seed, row) `drop`, `drop_se`, `drop_low`, `drop_high`, `share`, `share_se` (in LLC, in shares of 1), and
        over seed `drop_from` and `drop_to`, in training steps. The coordinates of `row` are `splitting`, `component`
        and `kind` (`part`, `whole`, `remainder`). The intervals combine those of the terms (Zou and Donner 2008,
        doi:10.1002/sim.3095). A remainder is NaN where the whole or any part is; a share is where all weights do not
        drop.

    Raises
    ------
    SltGrokError
        A dataset without `step`, or without the LLC of all weights, or of a single checkpoint.
    """
    data = with_seed(refined, "refined")
    groups = data["group"].values.astype(str)
    if "whole" not in groups or data.sizes["step"] < 2:
        raise SltGrokError("refined: expected the LLC of all weights at two checkpoints at least")
    seen = (data.llc_status != "diverged") & np.isfinite(data.llc)
    measured = (data.llc_status != "").any("step").transpose("seed", "component").values
    data = data[["llc", "llc_se", "llc_low", "llc_high"]].where(seen).transpose("step", "seed", "component")
    whole = data.llc.values[:, :, groups == "whole"][..., 0]
    places = np.where(np.isfinite(whole), whole, -np.inf).argmax(0)
    first = data.isel(step=xr.DataArray(places, dims="seed")).transpose("seed", "component")
    last = data.isel(step=-1).transpose("seed", "component")
    value, error = (first.llc - last.llc).values, np.hypot(first.llc_se, last.llc_se).values
    below = np.hypot(first.llc - first.llc_low, last.llc_high - last.llc).values
    above = np.hypot(first.llc_high - first.llc, last.llc - last.llc_low).values
    (everything,) = np.flatnonzero(groups == "whole")
    total = np.where(value[:, everything] > 0, value[:, everything], np.nan)
    total_se = error[:, everything]

    rows, found = [], []
    for splitting, (inside, outside) in SPLITTINGS.items():
        parts, joint = np.flatnonzero(np.isin(groups, inside)), np.flatnonzero(groups == outside)
        if not len(parts):
            continue
        names = data.component.values
        rows += [(splitting, str(names[i]), PART) for i in parts]
        found += [_row(value[:, i], error[:, i], below[:, i], above[:, i], total, total_se) for i in parts]
        if len(joint) != 1:
            continue  # not measured jointly: there is no whole to compare with
        of_joint = joint[0]
        rows.append((splitting, str(names[of_joint]), WHOLE))
        itself = of_joint == everything
        row = _row(value[:, of_joint], error[:, of_joint], below[:, of_joint], above[:, of_joint], total, total_se)
        found.append((*row[:-1], np.where(np.isfinite(total), 0.0, np.nan)) if itself else row)
        own = measured[:, parts]  # another seed's frequencies are not this seed's parts
        summed = np.where(own, value[:, parts], 0).sum(1)
        squares = [np.where(own, each[:, parts] ** 2, 0).sum(1) for each in (error, below, above)]
        left = value[:, of_joint] - summed
        left_low, left_high = (
            np.sqrt(here[:, of_joint] ** 2 + there) for here, there in ((below, squares[2]), (above, squares[1]))
        )
        left_se = np.sqrt(error[:, of_joint] ** 2 + squares[0])
        row = _row(left, left_se, left_low, left_high, total, total_se)
        if itself:  # 1 - sum / total: the whole is in both
            row = (*row[:-1], np.sqrt(squares[0] + (summed / total * total_se) ** 2) / total)
        rows.append((splitting, REMAINDER, REMAINDER))
        found.append(row)
    columns = dict(zip(ATTRS, np.moveaxis(np.array(found), 0, -1), strict=True))
    variables: dict[str, Any] = {
        name: (("seed", "row"), columns[name], {"long_name": ATTRS[name][0], "definition": ATTRS[name][1]})
        for name in ATTRS
    }
    steps, attrs = data.step.values, {"units": "training steps", "source": "this package"}
    variables["drop_from"] = (
        ("seed",), steps[places], attrs | {"long_name": "step of the largest LLC of all weights"}
    )  # fmt: skip
    variables["drop_to"] = (("seed",), np.full(len(places), steps[-1]), attrs | {"long_name": "last step"})
    coords = {
        "seed": data.seed.values,
        "row": np.arange(len(rows)),
        **{name: ("row", list(values)) for name, values in zip(COORDS, zip(*rows, strict=True), strict=True)},
    }
    return xr.Dataset(variables, coords=coords, attrs={k: v for k, v in refined.attrs.items() if k in KEPT})


COORDS = ("splitting", "component", "kind")
KEPT = ("sampler", "n_beta", "gamma")


def _row(
    value: np.ndarray, error: np.ndarray, below: np.ndarray, above: np.ndarray, total: np.ndarray, total_se: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the variables of `ATTRS` of one row, each (seed,), for a drop that is independent of the total's."""
    share = value / total
    return value, error, value - below, value + above, share, np.sqrt(error**2 + (share * total_se) ** 2) / abs(total)
