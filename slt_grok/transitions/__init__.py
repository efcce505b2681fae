"""What changes when, in which order: transitions of accuracies, losses, LLC, circuit and landscape measures.

Of one run: `measure` finds them by the rules of `change` and `events`; `summarize` says what a script wants.
Over seeds: `by_estimator` sets fitted shapes, those rules and change-point detection side by side, with draws; `phases`
makes the phases of them; `lead_lag` asks what comes first; `associate` and `predict_llc` what goes with the LLC.
"""

import numpy as np
import xarray as xr

from slt_grok.transitions.association import associate
from slt_grok.transitions.change import FRACTIONS, Crossing, find_change
from slt_grok.transitions.estimators import by_estimator
from slt_grok.transitions.events import PHASES, first_step_at, phase_ends
from slt_grok.transitions.lead_lag import lag_table, lead_lag
from slt_grok.transitions.measures import RULES, curve, gathered, measured_in
from slt_grok.transitions.phases import phases
from slt_grok.transitions.prediction import predict_llc
from slt_grok.transitions.summary import summarize
from slt_grok.transitions.treatments import drops

__all__ = [
    "associate",
    "by_estimator",
    "drops",
    "lag_table",
    "lead_lag",
    "measure",
    "phases",
    "predict_llc",
    "summarize",
]

RULE = "the rules in the docstring of slt_grok.transitions.change"
SOURCE = "arXiv:2301.05217, section 5, names the phases; the rules are this package's"


def measure(
    training: xr.Dataset,
    llc: xr.Dataset | None = None,
    circuits: xr.Dataset | None = None,
    landscape: xr.Dataset | None = None,
    *,
    train_threshold: float = 0.99,
    test_threshold: float = 0.95,
    bootstrap: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Onset, middle and end of every measure's change with intervals, and the ends of the phases.

    Parameters
    ----------
    training : xarray.Dataset
        Dataset over (step, seed, ...) or (step, ...).
    llc, circuits, landscape : xarray.Dataset or None, optional
        Datasets over (step, seed, ...) or (step, ...), each with its own steps; the seeds are those of `training`.
    train_threshold, test_threshold : float, optional
        Accuracies at which a network has memorized and generalized.
    bootstrap : int, optional
        Redrawn curves for a measure with standard errors.
    seed : int, optional
        Of the redrawn curves.

    Returns
    -------
    xarray.Dataset
        `transition_onset`, `transition_middle`, `transition_end`, each also `_low` and `_high`, over (measure, seed),
        in training steps; `memorization_step` and `generalization_step` over (seed); `phase_step` over (phase_boundary,
        seed), the last step of each phase. NaN: there is no such transition.

    Raises
    ------
    SltGrokError
        A dataset without `step`, without accuracies or without one of the seeds.
    """
    datasets = gathered(training=training, llc=llc, circuits=circuits, landscape=landscape)
    names = measured_in(datasets)
    seeds = datasets["training"].seed.values
    found: dict[tuple[str, int], dict[str, Crossing]] = {}
    for name in names:
        for network in seeds:
            one = curve(datasets, name, network)
            stream = np.random.SeedSequence([seed, list(RULES).index(name), int(network)])
            found[name, network] = find_change(one.steps, one.values, RULES[name][1], one.se, bootstrap, stream)

    def table(when: str, part: str) -> np.ndarray:
        return np.array([[getattr(found[name, s][when], part) for s in seeds] for name in names])

    variables = {}
    for when, fraction in FRACTIONS.items():
        for part, suffix, text in (("step", "", ""), ("low", "_low", ", lower end"), ("high", "_high", ", upper end")):
            variables[f"transition_{when}{suffix}"] = (
                ("measure", "seed"),
                table(when, part),
                {
                    "long_name": f"{when} of the change{text}",
                    "units": "training steps",
                    "definition": f"step at {fraction:.0%} of the way from start to end level, by {RULE}",
                    "source": SOURCE,
                },
            )
    memorized = [first_step_at(curve(datasets, "train_accuracy", s), train_threshold) for s in seeds]
    generalized = [first_step_at(curve(datasets, "test_accuracy", s), test_threshold) for s in seeds]
    for name, steps, split, threshold in (
        ("memorization_step", memorized, "train", train_threshold),
        ("generalization_step", generalized, "test", test_threshold),
    ):
        definition = f"first recorded step with {split} accuracy at or above {threshold:g}"
        attrs = {"long_name": name.replace("_", " "), "units": "training steps", "definition": definition}
        variables[name] = (("seed",), np.array(steps), attrs | {"source": SOURCE})
    ends = [
        phase_ends(curve(datasets, "test_accuracy", s), *steps)
        for s, *steps in zip(seeds, memorized, generalized, strict=True)
    ]
    variables["phase_step"] = (
        ("phase_boundary", "seed"),
        np.array(ends).T,
        {
            "long_name": "last step of each phase",
            "units": "training steps",
            "definition": "memorization_step; test accuracy 10% of the way from there to its end; generalization_step",
            "source": SOURCE,
        },
    )
    coords = {"measure": np.array(names), "seed": seeds, "phase_boundary": list(PHASES)}
    settings = {"train_threshold": train_threshold, "test_threshold": test_threshold, "bootstrap": bootstrap}
    return xr.Dataset(variables, coords=coords, attrs=settings | {"bootstrap_seed": seed})
