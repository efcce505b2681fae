"""Memorization, circuit formation and cleanup by two stated rules, beside the published ones.

Nanda et al. 2301.05217, section 5, tell the phases apart by eye: while the network memorizes, excluded loss falls with
train loss; while the circuit forms, excluded loss rises and restricted loss begins to fall with test loss still high;
in cleanup test loss falls. As rules:

- `accuracy`: the ends of `slt_grok.transitions.events`, from accuracies alone.
- `progress_measures`: memorization ends at the onset (10%) of the rise of excluded loss, circuit formation at the onset
  of the fall of test loss, cleanup at the end (90%) of that fall.

Published, p = 113: 1,400, 9,400 and 14,000 for the mainline run; another training (steps per epoch, fraction, weight
decay) has other ones, so that order and ratios compare, not steps.
"""

import numpy as np
import xarray as xr

from slt_grok.transitions.events import PHASES

PUBLISHED = (1_400, 9_400, 14_000)
RULES = ("accuracy", "progress_measures")
ENDS = (("excluded_loss", "onset"), ("test_loss", "onset"), ("test_loss", "end"))
SOURCE = "Nanda et al. 2301.05217, section 5; the rules are this package's"


def phases(transitions: xr.Dataset, events: xr.Dataset, estimator: str = "sigmoid") -> xr.Dataset:
    """Last step of each phase by each rule.

    Parameters
    ----------
    transitions : xarray.Dataset
        From `measure`.
    events : xarray.Dataset
        From `by_estimator`, of the same seeds.
    estimator : str, optional
        Whose events the rule by progress measures takes.

    Returns
    -------
    xarray.Dataset
        `phase_step` over (rule, phase_boundary, seed), with `phase_step_low` and `phase_step_high` (95%; NaN for
        `accuracy`, whose steps are recorded ones), `published_phase_step` over phase_boundary, and `phase_order` over
        (rule, seed): are the three ends there and in order. NaN: there is no such end.
    """
    own = events.sel(estimator=estimator)
    shape = (3, len(PHASES), transitions.sizes["seed"])
    by_measures = np.full(shape, np.nan)  # step, low, high
    for i, (measure, when) in enumerate(ENDS):
        if measure in own.measure:
            one = own.sel(measure=measure, seed=transitions.seed)
            by_measures[:, i] = [one[f"transition_{when}{suffix}"].values for suffix in ("", "_low", "_high")]
    by_accuracy = transitions.phase_step.transpose("phase_boundary", "seed").values
    steps = np.stack([by_accuracy, by_measures[0]])
    unknown = np.full_like(by_accuracy, np.nan)
    dims = ("rule", "phase_boundary", "seed")
    attrs = {"units": "training steps", "source": SOURCE}
    return xr.Dataset(
        {
            "phase_step": (dims, steps, {"long_name": "last step of each phase"} | attrs),
            "phase_step_low": (dims, np.stack([unknown, by_measures[1]]), {"long_name": "lower end of 95%"} | attrs),
            "phase_step_high": (dims, np.stack([unknown, by_measures[2]]), {"long_name": "upper end of 95%"} | attrs),
            "published_phase_step": (
                "phase_boundary",
                np.array(PUBLISHED),
                {"long_name": "last step of each phase in the published mainline run, p = 113, by eye"} | attrs,
            ),
            "phase_order": (
                ("rule", "seed"),
                (np.diff(steps, axis=1) >= 0).all(1),
                {"long_name": "all three ends are there, in order", "source": SOURCE},
            ),
        },
        {"rule": list(RULES), "phase_boundary": list(PHASES), "seed": transitions.seed.values},
    )
