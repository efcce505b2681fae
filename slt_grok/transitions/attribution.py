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
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.llc.variables import of_the_network
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
    data = with_seed(refined, "refined").transpose("step", "seed", "component", ...)
    groups, names = data["group"].values.astype(str), data.component.values.astype(str)
    if "whole" not in groups or data.sizes["step"] < 2:
        raise SltGrokError("refined: expected the LLC of all weights at at least two checkpoints")
    measured = (data.llc_status != "").any("step").values
    data = data[["llc", "llc_se", "llc_low", "llc_high"]].where(of_the_network(data) & np.isfinite(data.llc))
    (everything,) = np.flatnonzero(groups == "whole")
    whole = data.llc.values[:, :, everything]
    peaks = np.where(np.isfinite(whole), whole, -np.inf).argmax(0)
    first, last = data.isel(step=xr.DataArray(peaks, dims="seed")), data.isel(step=-1)
    # value, standard error, and distances to the lower and upper end of the interval: (4, seed, component)
    drops = np.array(
        [
            first.llc - last.llc,
            np.hypot(first.llc_se, last.llc_se),
            np.hypot(first.llc - first.llc_low, last.llc_high - last.llc),
            np.hypot(first.llc_high - first.llc, last.llc - last.llc_low),
        ]
    )
    value, error = drops[:2, :, everything]
    total, total_se = np.where(value > 0, value, np.nan), error

    rows, terms, fraction_errors = [], [], []

    def add(splitting: str, component: str, kind: str, term: np.ndarray, fraction_se: np.ndarray | None = None) -> None:
        """Add a row with its drop (4, seed), which by default is independent of the total drop."""
        if fraction_se is None:
            fraction_se = np.sqrt(term[1] ** 2 + (term[0] / total * total_se) ** 2) / total
        rows.append((splitting, component, kind))
        terms.append(term)
        fraction_errors.append(fraction_se)

    for splitting, (inside, outside) in SPLITTINGS.items():
        parts, joint = np.flatnonzero(np.isin(groups, inside)), np.flatnonzero(groups == outside)
        for i in parts:
            add(splitting, names[i], "part", drops[:, :, i])
        if not len(parts) or len(joint) != 1:
            continue  # not measured jointly: there is no whole to compare with
        joint_drop = drops[:, :, joint[0]]
        summands = np.where(measured[:, parts], drops[:, :, parts], 0)  # omit frequencies of other seeds
        summed, (error, below, above) = summands[0].sum(1), (summands[1:] ** 2).sum(2)
        remainder = np.array([joint_drop[0] - summed, *np.sqrt(joint_drop[1:] ** 2 + [error, above, below])])
        whole_se = remainder_se = None
        if joint[0] == everything:  # the fractions are 1 and 1 - summed / total
            whole_se, remainder_se = 0 * total, np.sqrt(error + (summed / total * total_se) ** 2) / total
        add(splitting, names[joint[0]], "whole", joint_drop, whole_se)
        add(splitting, "remainder", "remainder", remainder, remainder_se)
    value, error, below, above = np.array(terms).transpose(1, 2, 0)
    columns = {
        "drop": value,
        "drop_se": error,
        "drop_low": value - below,
        "drop_high": value + above,
        "share": value / total[:, None],
        "share_se": np.transpose(fraction_errors),
        "drop_from": data.step.values[peaks],
        "drop_to": np.full(len(peaks), data.step.values[-1]),
    }
    coords = {"seed": data.seed.values, "row": np.arange(len(rows))}
    for name, labels in zip(("splitting", "component", "kind"), zip(*rows, strict=True), strict=True):
        coords[name] = ("row", list(labels))
    settings = {name: refined.attrs[name] for name in ("sampler", "n_beta", "gamma") if name in refined.attrs}
    return declared(VARIABLES, columns, coords, **settings)
