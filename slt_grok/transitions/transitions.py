"""The transitions of a run: when each measure changes, and when its phases end.

Nanda et al. 2301.05217, section 5, distinguish the phases visually: during memorization, excluded loss falls with train
loss; during circuit formation, excluded loss rises and restricted loss begins to fall while test loss is still high; in
cleanup, test loss falls. Two rules formalize this:

- by accuracies; see `slt_grok.transitions.events`;
- by progress measures: memorization ends at the onset (10%) of the rise of excluded loss, circuit formation at the
  onset of the fall of test loss, cleanup at the end (90%) of that fall, all on a logarithmic scale as in the published
  figure.

The published values for p = 113 are 1,400, 9,400 and 14,000 for the mainline run; other training settings (steps per
epoch, fraction, weight decay) give others, so that only order and ratios can be compared, not steps.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from slt_grok.change import FRACTIONS
from slt_grok.format import capital, step
from slt_grok.measurement import Data, Derived, Table, Variable
from slt_grok.rules import GENERALIZED, MEMORIZED, OTHER_SCALE, SCALE, Scale
from slt_grok.transitions.events import PHASES, first_step_at, has_circuit, phase_ends
from slt_grok.transitions.measures import Curves, declared, measure_name, with_interval
from slt_grok.transitions.statuses import Verdict
from slt_grok.transitions.summary import summarize

SCALES: Mapping[Scale, str] = {SCALE: "", OTHER_SCALE: f"_{OTHER_SCALE}"}  # ending of the variables' names
BY_MEASURES = (("excluded_loss", "onset"), ("test_loss", "onset"), ("test_loss", "end"))
PUBLISHED = (1_400, 9_400, 14_000)
SOURCE = "Nanda et al. 2301.05217, section 5, names the phases; the rules are this package's"
BY_RULE = "step at {:.0%} of the way from start to end level, by the rules of slt_grok.change"
FIRST = "first recorded step with {} accuracy at or above its threshold"
PHASE_RULE = "memorization_step; test accuracy 10% of the way from there to its end; generalization_step"
_declare = partial(Variable, source=SOURCE, units="training steps")
VARIABLES = {
    "memorization_step": _declare(("seed",), "memorization step", FIRST.format("train")),
    "generalization_step": _declare(("seed",), "generalization step", FIRST.format("test")),
    "phase_step": _declare(("phase_boundary", "seed"), "last step of each phase", PHASE_RULE),
}
for _when, _fraction in FRACTIONS.items():
    _event = _declare(("measure", "seed"), f"{_when} of the change", BY_RULE.format(_fraction))
    VARIABLES |= with_interval(f"transition_{_when}", _event, "interval")
    _other = f"{_when} of the change on a logarithmic scale"
    VARIABLES |= with_interval(f"transition_{_when}_log", _event._replace(long_name=_other), "interval")


class Transitions(Derived):
    """Onset, middle and end of every measure's change, and the ends of the phases."""

    name = "transitions"
    title = "Transitions"
    position = 70
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the transitions with the thresholds of the configuration."""
        return measure(data, **dict(config.transitions)) if "training" in data else None

    def notes(self, data: Data) -> Sequence[str]:
        """State for each seed whether the order of the LLC and test accuracy depends on the scale."""
        found = data[self.name]
        seeds = [(f"Seed {seed}: on" if found.sizes["seed"] > 1 else "On", seed) for seed in found.seed.values.tolist()]
        return [note for start, seed in seeds if (note := scale_note(found.sel(seed=seed), start))]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the events in order, and the ends of the phases by both rules."""
        order = summarize(data)["order_of_events"]
        rows = [
            [
                capital(measure_name(event["measure"])),
                step(event["step"]),
                f"{step(event['low'])} to {step(event['high'])}",
                "" if later is None else "yes" if event["high"] < later["low"] else Verdict.NOT_RESOLVED,
                step(event["step_log"]),
            ]
            for event, later in zip_longest(order, order[1:])
        ]
        header = [
            "Measure",
            "Half way (step)",
            "Interval (steps)",
            "Next one is later",
            "Half way on a logarithmic scale (step)",
        ]
        several = "; medians over seeds, outermost intervals" if data[self.name].sizes["seed"] > 1 else ""
        tables = [Table(f"Order of events, all measures on a linear scale{several}", header, rows)] if rows else []
        return [*tables, *(_phase_table(phases(data[self.name])) if has_circuit(data[self.name]) else [])]


def measure(
    data: Data,
    *,
    train_threshold: float = MEMORIZED,
    test_threshold: float = GENERALIZED,
    bootstrap: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Detect onset, middle and end of every measure's change with intervals, and the ends of the phases.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        A run's datasets over (step, seed, ...) or (step, ...), each with its own steps; the seeds are those of
        `training`.
    train_threshold, test_threshold : float, optional
        Accuracies at which a network counts as having memorized or generalized.
    bootstrap : int, optional
        Number of redrawn curves for a measure with standard errors.
    seed : int, optional
        Seed of the redrawn curves.

    Returns
    -------
    xarray.Dataset
        `transition_onset`, `transition_middle`, `transition_end`, each also with `_low` and `_high`, over (measure,
        seed), in training steps, and the same on a logarithmic scale (`transition_onset_log`, ...);
        `memorization_step` and `generalization_step` over (seed); `phase_step` over (phase_boundary, seed), the last
        step of each phase. NaN without such a transition.

    Raises
    ------
    SltGrokError
        A dataset lacks `step`, accuracies or one of the seeds.
    """
    curves, values = Curves(data), {}
    for scale, ending in SCALES.items():
        changes = [
            list(curves.change(name, network, bootstrap, seed, scale).values())
            for name in curves.names
            for network in curves.seeds.tolist()
        ]
        changes = np.array(changes, dtype=float).reshape((len(curves.names), len(curves.seeds), len(FRACTIONS), 3))
        values |= {
            f"transition_{when}{ending}{suffix}": changes[:, :, k, part]
            for k, when in enumerate(FRACTIONS)
            for part, suffix in enumerate(("", "_low", "_high"))
        }
    tests = [curves.get("test_accuracy", network) for network in curves.seeds]
    memorized = [first_step_at(curves.get("train_accuracy", network), train_threshold) for network in curves.seeds]
    generalized = [first_step_at(test, test_threshold) for test in tests]
    ends = [phase_ends(*seed_curves) for seed_curves in zip(tests, memorized, generalized, strict=True)]
    values |= {
        "memorization_step": np.array(memorized),
        "generalization_step": np.array(generalized),
        "phase_step": np.array(ends).T,
    }
    coords = {"measure": np.array(curves.names), "seed": curves.seeds, "phase_boundary": list(PHASES)}
    thresholds = {"train_threshold": train_threshold, "test_threshold": test_threshold}
    return declared(VARIABLES, values, coords, **thresholds, bootstrap=bootstrap, bootstrap_seed=seed)


def phases(transitions: xr.Dataset) -> xr.Dataset:
    """Compute the last step of each phase by each rule.

    Parameters
    ----------
    transitions : xarray.Dataset
        The result of `measure`.

    Returns
    -------
    xarray.Dataset
        `phase_step` over (rule, phase_boundary, seed), with `phase_step_low` and `phase_step_high` (NaN for
        `accuracy`, whose steps are recorded ones). NaN without such an end.
    """
    by_accuracy = transitions.phase_step.transpose("phase_boundary", "seed").values
    steps = np.full((3, 2, *by_accuracy.shape), np.nan)  # (step, low, high), rule, ...
    steps[0, 0] = by_accuracy
    for i, (name, when) in enumerate(BY_MEASURES):
        if name in transitions.measure:
            event = transitions.sel(measure=name)
            steps[:, 1, i] = [event[f"transition_{when}_log{end}"] for end in ("", "_low", "_high")]
    return xr.Dataset(
        {
            f"phase_step{end}": (("rule", "phase_boundary", "seed"), part)
            for end, part in zip(("", "_low", "_high"), steps, strict=True)
        },
        {"rule": ["accuracy", "progress_measures"], "phase_boundary": list(PHASES), "seed": transitions.seed.values},
    )


def scale_note(transitions: xr.Dataset, start: str = "On") -> str:
    """State how the order of the LLC and test accuracy differs between the two scales; empty if it does not.

    Parameters
    ----------
    transitions : xarray.Dataset
        The result of `measure` for one seed.
    start : str, optional
        Start of the sentence.
    """
    if not {"llc", "test_accuracy"} <= set(transitions.measure.values.tolist()):
        return ""
    orders, places = [], []
    for scale, ending in SCALES.items():
        middle, low, high = (transitions[f"transition_middle{ending}{part}"] for part in ("", "_low", "_high"))
        llc, test = ({"measure": name} for name in ("llc", "test_accuracy"))
        if not np.isfinite(middle.sel(measure=["llc", "test_accuracy"])).all():
            return ""
        before, after = high.sel(llc) < low.sel(test), low.sel(llc) > high.sel(test)
        orders.append("before" if before else "after" if after else "in no resolved order with")
        steps = f"step {step(middle.sel(llc).item())}", f"step {step(middle.sel(test).item())}"
        name = "logarithmic" if scale == "log" else scale
        places.append(f"a {name} scale the LLC is half way ({steps[0]}) {orders[-1]} test accuracy ({steps[1]})")
    if orders[0] == orders[1]:
        return ""
    return f"{start} {places[0]}, on {places[1]}: their order depends on the scale. The figure shows the {SCALE} one."


def _phase_table(steps: xr.Dataset) -> list[Table]:
    """Tabulate the last step of each phase by both rules and as published, with median and range over several seeds."""

    def cell(rule: str, phase: str) -> str:
        ends = steps.sel(rule=rule, phase_boundary=phase).dropna("seed", subset=["phase_step"])
        known = ends.phase_step.values
        if not len(known):
            return "–"
        if steps.sizes["seed"] > 1:
            return f"{step(np.median(known))} ({step(known.min())} to {step(known.max())}, {len(known)} seeds)"
        low, high = ends.phase_step_low.item(), ends.phase_step_high.item()
        return step(known[0]) + (f" ({step(low)} to {step(high)})" if np.isfinite(low) else "")

    rows = [
        [capital(name.replace("_", " ")), cell("accuracy", name), cell("progress_measures", name), step(published)]
        for name, published in zip(PHASES, PUBLISHED, strict=True)
    ]
    if all(row[1] == row[2] == "–" for row in rows):
        return []
    caption = (
        "Last step of each phase: by accuracies; by progress measures (excluded loss starts to rise, test loss starts "
        "to fall, test loss has fallen, on a logarithmic scale), with intervals; and as read by eye in "
        "arXiv:2301.05217, section 5, for different training settings at p = 113, so that only order and ratios can be "
        "compared, not steps"
    )
    return [Table(caption, ["Phase", "By accuracies", "By progress measures", "Published run"], rows, folded=True)]
