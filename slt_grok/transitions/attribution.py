"""The drop of the LLC attributed to matrices, attention heads and key frequencies, with the remainder.

Based on refined LLCs (Wang et al. 2410.02984, section 3) at the checkpoint where the LLC of all weights is largest and
at the last one. With d(x) the LLC of a component at the former minus that at the latter, there are three splittings:

    matrix       d(all weights) = sum of d(matrix) + remainder
    head         d(all heads together) = sum of d(head) + remainder
    frequency    d(all tables over Z_p) = sum of d(key frequency) + d(other frequencies and the constant) + remainder

A component's LLC moves only its own weights. On a quadratic loss, the parts of an orthogonal splitting have at least
the LLC of the whole, so the remainder is the change of the interaction of the parts over the drop: minus the drop of
`llc_interaction` in `refined`. All fractions are relative to d(all weights). Attributing a drop in this way is specific
to this package.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.measurement import Data, Derived, Drawing, Variable
from slt_grok.transitions.measures import declared, with_seed

SPLITTINGS = {  # splitting -> (groups of its parts, group of its whole)
    "matrix": (("matrix",), "whole"),
    "head": (("head",), "attention"),
    "frequency": (("frequency", "rest"), "tables"),
}
ROW, STEPS = ("seed", "row"), "training steps"
VARIABLES = {
    "drop": Variable(
        ROW, "drop of the LLC", "llc at drop_from minus llc at drop_to; for the remainder, whole minus parts"
    ),
    "drop_se": Variable(
        ROW, "standard error of the drop", "llc_se of both ends and of all summands, added in quadrature"
    ),
    "drop_low": Variable(
        ROW, "drop of the LLC, lower end of its 95% interval", "from llc_low and llc_high, added in quadrature"
    ),
    "drop_high": Variable(
        ROW, "drop of the LLC, upper end of its 95% interval", "from llc_low and llc_high, added in quadrature"
    ),
    "share": Variable(ROW, "fraction of the drop of all weights", "drop / drop of all weights"),
    "share_se": Variable(ROW, "standard error of the fraction", "first-order propagation of the errors of both drops"),
    "drop_from": Variable(("seed",), "step of the largest LLC of all weights", "start of the drop", units=STEPS),
    "drop_to": Variable(("seed",), "last step", "end of the drop", units=STEPS),
}


class Attribution(Derived):
    """The drop of the LLC attributed to parts of the network."""

    name = "attribution"
    title = "Parts of the LLC's drop"
    position = 37  # after the refined LLCs
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the splittings from refined LLCs of at least two checkpoints."""
        refined = data.get("refined")
        return attribute(refined) if refined is not None and refined.sizes.get("step", 0) > 1 else None

    def figures(self) -> Sequence[Drawing]:
        """Draw the splittings."""
        from slt_grok import plots

        caption = (
            "How the drop of the LLC divides among matrices, attention heads and frequencies, each moved alone, in "
            "percent of the drop of all weights, with 95% intervals. Hatched: the remainder not explained by the parts."
        )
        return [Drawing("attribution", plots.attribution, caption)]


class Terms(NamedTuple):
    """A drop with its standard error and the distances to both ends of its interval, each (seed, ...)."""

    value: np.ndarray
    error: np.ndarray
    below: np.ndarray
    above: np.ndarray

    def at(self, place: Any) -> "Terms":
        """Select some components."""
        return Terms(*(each[:, place] for each in self))


def attribute(refined: xr.Dataset) -> xr.Dataset:
    """Attribute the drop of the LLC of all weights to parts of the network.

    Parameters
    ----------
    refined : xarray.Dataset
        `llc`, `llc_se`, `llc_low`, `llc_high`, `llc_status` over (step, seed, component) with the coordinate `group`,
        as written by the measurement `refined`; estimates with the status `diverged` are treated as NaN.

    Returns
    -------
    xarray.Dataset
        Over (seed, row): `drop`, `drop_se`, `drop_low`, `drop_high` in units of the LLC and `share`, `share_se` as
        fractions; over seed: `drop_from` and `drop_to`, in training steps. The coordinates of `row` are `splitting`,
        `component` and `kind` (`part`, `whole`, `remainder`). Intervals combine those of the terms (Zou and Donner
        2008, doi:10.1002/sim.3095). A remainder is NaN if the whole or any part is; a fraction is NaN if the LLC of all
        weights does not drop.

    Raises
    ------
    SltGrokError
        The dataset lacks `step` or the LLC of all weights, or has a single checkpoint.
    """
    data = with_seed(refined, "refined")
    groups, names = data["group"].values.astype(str), data.component.values.astype(str)
    if "whole" not in groups or data.sizes["step"] < 2:
        raise SltGrokError("refined: expected the LLC of all weights at at least two checkpoints")
    seen = (data.llc_status != "diverged") & np.isfinite(data.llc)
    measured = (data.llc_status != "").any("step").transpose("seed", "component").values
    data = data[["llc", "llc_se", "llc_low", "llc_high"]].where(seen).transpose("step", "seed", "component")
    (everything,) = np.flatnonzero(groups == "whole")
    whole = data.llc.values[:, :, everything]
    places = np.where(np.isfinite(whole), whole, -np.inf).argmax(0)
    first = data.isel(step=xr.DataArray(places, dims="seed")).transpose("seed", "component")
    last = data.isel(step=-1).transpose("seed", "component")
    drops = Terms(
        (first.llc - last.llc).values,
        np.hypot(first.llc_se, last.llc_se).values,
        np.hypot(first.llc - first.llc_low, last.llc_high - last.llc).values,
        np.hypot(first.llc_high - first.llc, last.llc - last.llc_low).values,
    )
    total = np.where(drops.value[:, everything] > 0, drops.value[:, everything], np.nan)
    total_se = drops.error[:, everything]

    rows, found = [], []

    def add(splitting: str, component: str, kind: str, terms: Terms, share_se: np.ndarray | None = None) -> None:
        """Add a row; by default its drop is independent of the total drop."""
        value, error, below, above = terms
        share = value / total
        if share_se is None:
            share_se = np.sqrt(error**2 + (share * total_se) ** 2) / abs(total)
        rows.append((splitting, component, kind))
        found.append((value, error, value - below, value + above, share, share_se))

    for splitting, (inside, outside) in SPLITTINGS.items():
        parts, joint = np.flatnonzero(np.isin(groups, inside)), np.flatnonzero(groups == outside)
        for i in parts:
            add(splitting, names[i], "part", drops.at(i))
        if not len(parts) or len(joint) != 1:
            continue  # not measured jointly: there is no whole to compare with
        of_joint = drops.at(joint[0])
        itself = joint[0] == everything
        zero = np.where(np.isfinite(total), 0.0, np.nan) if itself else None
        add(splitting, names[joint[0]], "whole", of_joint, zero)
        own = measured[:, parts]  # omit frequencies of other seeds
        summed = np.where(own, drops.value[:, parts], 0).sum(1)
        error, below, above = (np.where(own, each[:, parts] ** 2, 0).sum(1) for each in drops[1:])
        rest = Terms(
            of_joint.value - summed,
            np.sqrt(of_joint.error**2 + error),
            np.sqrt(of_joint.below**2 + above),
            np.sqrt(of_joint.above**2 + below),
        )
        # 1 - sum / total if the whole is in both
        share_se = np.sqrt(error + (summed / total * total_se) ** 2) / total if itself else None
        add(splitting, "remainder", "remainder", rest, share_se)
    columns = dict(zip(VARIABLES, np.moveaxis(np.array(found), 0, -1), strict=False))
    steps = data.step.values
    columns |= {"drop_from": steps[places], "drop_to": np.full(len(places), steps[-1])}
    coords = {"seed": data.seed.values, "row": np.arange(len(rows))}
    for name, values in zip(("splitting", "component", "kind"), zip(*rows, strict=True), strict=True):
        coords[name] = ("row", list(values))
    kept = {name: refined.attrs[name] for name in ("sampler", "n_beta", "gamma") if name in refined.attrs}
    return declared(VARIABLES, columns, coords, **kept)
