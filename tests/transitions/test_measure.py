import json

import numpy as np
import pytest
import xarray as xr

from slt_grok import transitions
from slt_grok.errors import SltGrokError
from slt_grok.transitions.transitions import scale_note

STEPS = np.array([0, 20, 50, 100, 200, 400, 700, 1000, 1500, 2000, 3000, 5000])
DENSE = np.unique(np.r_[0, np.geomspace(1, 5000, 200).astype(int)])
SPLITS = ["train", "test", "all"]


def logistic(steps, middle, width=0.15):
    return 1 / (1 + np.exp(-(np.log1p(steps) - np.log1p(middle)) / width))


def run(seeds=(0,), grok=True, test_set=True) -> dict[str, xr.Dataset]:
    """A network that memorizes at 100, whose LLC peaks at 200 and drops at 900, and that generalizes at 1500."""
    general = logistic(DENSE, 1500) * grok

    def over(values, *dims, **coords):
        array = np.repeat(np.asarray(values)[:, None], len(seeds), 1)
        return xr.DataArray(array, dims=("step", "seed", *dims), coords={"seed": list(seeds), **coords})

    nothing = np.full(len(DENSE), np.nan)
    training = xr.Dataset(
        {
            "train_accuracy": over(logistic(DENSE, 100)),
            "test_accuracy": over(0.01 + 0.99 * general if test_set else nothing),
            "train_loss": over(10 ** (0.6 - 7 * logistic(DENSE, 130))),
            "test_loss": over(10 ** (0.6 + logistic(DENSE, 130) - 7 * general) if test_set else nothing),
        },
        coords={"step": DENSE},
    )
    value = 10 + 150 * logistic(STEPS, 80) - 120 * logistic(STEPS, 900) * grok
    llc = xr.Dataset(
        {"llc": over(value), "llc_se": over(0.01 * value), "llc_status": over(np.full(len(STEPS), "effective"))},
        coords={"step": STEPS},
    )
    keys = np.array([False, True, False, True]) & grok
    formed = logistic(STEPS, 800)[:, None] * np.array([1.0, 1.0 if test_set else np.nan, 1.0])
    restricted = 10 ** (0.6 - 6 * formed + np.array([0.0, 0.0, 1.0]))
    excluded = 10 ** (0.6 - 3 * logistic(STEPS, 90) + 4 * logistic(STEPS, 1600))[:, None] * np.ones(3)
    circuits = xr.Dataset(
        {
            "restricted_loss_sum": over(restricted, "split", split=SPLITS),
            "excluded_loss": over(excluded * [1, 100, 1], "split", split=SPLITS),
            "neuron_share": over(0.9 * logistic(STEPS, 700) * grok),
            "gini_embedding": over(0.2 + 0.6 * logistic(STEPS, 700) * grok),
            "key_frequency": over(np.repeat(keys[None], len(STEPS), 0), "frequency", frequency=[1, 2, 3, 4]),
            "circuit_frequency": (("seed", "frequency"), np.repeat(keys[None], len(seeds), 0)),
        },
        coords={"step": STEPS},
    )
    norm = (38 - 14 * logistic(STEPS, 1500) * grok)[:, None] * np.array([0.5, 1])
    landscape = xr.Dataset({"weight_norm": over(norm, "component", component=["W_E", "total"])}, coords={"step": STEPS})
    return {"training": training, "llc": llc, "circuits": circuits, "landscape": landscape}


def summary_of(data: dict[str, xr.Dataset], **settings) -> dict:
    summary = transitions.summarize({**data, "transitions": transitions.measure(data, **settings)})
    return json.loads(json.dumps(summary, allow_nan=False))


def test_names_and_dimensions():
    found = transitions.measure(run((0, 4)))
    names = [f"transition_{when}{end}" for when in ("onset", "middle", "end") for end in ("", "_low", "_high")]
    assert all(found[name].dims == ("measure", "seed") for name in names)
    assert found.phase_step.dims == ("phase_boundary", "seed")
    assert found.seed.values.tolist() == [0, 4]
    assert found.phase_boundary.values.tolist() == ["memorization", "circuit_formation", "cleanup"]
    assert found.measure.values.tolist() == [
        "train_accuracy", "test_accuracy", "train_loss", "test_loss", "llc", "restricted_loss_sum", "excluded_loss",
        "neuron_share", "gini_embedding", "weight_norm",
    ]  # fmt: skip
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in found.data_vars.values())
    assert set(transitions.measure({"training": run()["training"]}).measure.values) == {
        "train_accuracy", "test_accuracy", "train_loss", "test_loss",
    }  # fmt: skip


def half_way(middle, decades):
    """Where a loss 10^(-decades s) is half way on a linear scale, s logistic with this middle; a rise if negative."""
    share = np.log10((1 + 10.0**-decades) / 2) / -decades
    return np.expm1(np.log1p(middle) + 0.15 * np.log(share / (1 - share)))


LINEAR = {
    "train_accuracy": 100, "test_accuracy": 1500, "llc": 900, "neuron_share": 700, "gini_embedding": 700,
    "weight_norm": 1500, "train_loss": half_way(130, 7), "test_loss": half_way(1500, 7),
    "restricted_loss_sum": half_way(800, 6), "excluded_loss": half_way(1600, -4),
}  # fmt: skip
LOGARITHMIC = {"train_loss": 130, "test_loss": 1500, "restricted_loss_sum": 800, "excluded_loss": 1600}


def test_the_planted_steps_are_found_on_both_scales():
    middle = transitions.measure(run()).isel(seed=0)
    for planted, suffix in ((LINEAR, ""), (LOGARITHMIC, "_log")):
        for name, step in planted.items():
            low, at, high, onset, end = (
                middle[f"transition_{part}"].sel(measure=name).item()
                for part in (
                    f"middle{suffix}_low", f"middle{suffix}", f"middle{suffix}_high", f"onset{suffix}", f"end{suffix}",
                )
            )  # fmt: skip
            assert low <= step <= high, name
            assert onset < at < end, name


def test_summary_of_a_network_that_groks():
    data = run()
    summary = summary_of(data, test_threshold=0.9)
    dense = logistic(DENSE, 100)
    assert summary["memorization_step"] == DENSE[np.flatnonzero(dense >= 0.99)[0]]
    test = 0.01 + 0.99 * logistic(DENSE, 1500)
    assert summary["generalization_step"] == DENSE[np.flatnonzero(test >= 0.9)[0]]
    llc = data["llc"].llc.values[:, 0]
    assert summary["llc_peak"] == llc.max()
    assert summary["llc_peak_step"] == STEPS[llc.argmax()]
    assert summary["llc_final"] == llc[-1]
    assert summary["llc_drop"] == llc.max() - llc[-1]
    assert summary["llc_drop_se"] == pytest.approx(0.01 * (llc.max() ** 2 + llc[-1] ** 2) ** 0.5)
    assert summary["llc_statuses"] == {"effective": 12}
    assert summary["key_frequencies"] == [2, 4]
    circuits = data["circuits"].isel(step=-1, seed=0)
    assert summary["restricted_loss_final"] == circuits.restricted_loss_sum.sel(split="test")
    assert summary["excluded_loss_final"] == circuits.excluded_loss.sel(split="train")
    assert summary["neuron_share_final"] == circuits.neuron_share
    assert summary["train_accuracy_final"] == dense[-1]
    phases = list(summary["phases"].values())
    assert phases[0][0] == 0
    assert [end for _, end in phases[:-1]] == [start for start, _ in phases[1:]]
    assert phases[2][1] == summary["generalization_step"]
    order = [event["measure"] for event in summary["order_of_events"]]
    steps = [event["step"] for event in summary["order_of_events"]]
    assert steps == sorted(steps)
    assert set(order[:2]) == {"train_accuracy", "train_loss"}
    (half,) = (event for event in summary["order_of_events"] if event["measure"] == "llc")
    assert [summary[f"llc_half_way_{part}"] for part in ("step", "low", "high")] == [
        half[part] for part in ("step", "low", "high")
    ]
    assert summary["llc_final_step"] == STEPS[-1]
    assert order.index("neuron_share") < order.index("llc") < order.index("test_accuracy")
    assert summary["flags"] == []


def test_a_network_that_never_generalizes():
    summary = summary_of(run(grok=False))
    assert summary["generalization_step"] is None
    assert summary["memorization_step"] is not None
    assert summary["phases"]["circuit_formation"] is summary["phases"]["cleanup"] is None
    assert summary["key_frequencies"] == []
    assert summary["restricted_loss_final"] is summary["excluded_loss_final"] is None
    assert {event["measure"] for event in summary["order_of_events"]} == {"train_accuracy", "train_loss"}
    assert len(summary["flags"]) == 3


def test_without_a_test_set():
    data = run(test_set=False)
    summary = summary_of(data)
    assert summary["test_loss_final"] is None
    assert summary["restricted_loss_final"] == data["circuits"].restricted_loss_sum.sel(split="all").values[-1, 0]
    assert "no test set" in summary["flags"][0]


def test_diverged_and_missing_estimates_are_left_out():
    data = run()
    expected = transitions.measure({**data, "llc": data["llc"].isel(step=[*range(4), *range(6, 12)])})
    spoiled = data["llc"].copy(deep=True)
    spoiled["llc_status"] = spoiled.llc_status.astype(object)
    spoiled.llc[4], spoiled.llc_status[4] = 1e6, "diverged"
    spoiled.llc[5] = np.nan
    found = transitions.measure({**data, "llc": spoiled})
    xr.testing.assert_identical(found, expected)
    summary = transitions.summarize({**data, "llc": spoiled, "transitions": found})
    assert summary["llc_peak"] == np.delete(data["llc"].llc.values[:, 0], [4, 5]).max()
    assert summary["llc_statuses"] == {"effective": 11, "diverged": 1}
    assert summary["flags"] == ['1 of 12 LLC estimates has the status "diverged" and is omitted']


def test_the_statuses_of_peak_and_end():
    data = run((0, 1))
    llc = data["llc"]
    peak = llc.llc.values[:, 0].argmax()
    status, reason = llc.llc_status.astype(object), llc.llc_status.astype(object)
    status[peak, 0], reason[peak, 0] = "not a minimum", "a short descent from w* gains 31.5 in units of the LLC"
    status[-1, 1] = "not converged"
    summary = summary_of({**data, "llc": llc.assign(llc_status=status, llc_status_reason=reason)})
    first, second = summary["seeds"].values()
    assert (first["llc_peak_status"], first["llc_peak_descent"]) == ("not a minimum", 31.5)
    assert (first["llc_final_status"], first["llc_final_descent"]) == ("effective", None)
    assert (second["llc_peak_status"], second["llc_final_status"]) == ("effective", "not converged")
    assert summary["llc_peak_status"] == "effective, not a minimum"
    assert summary["llc_peak_descent"] is None
    assert first["flags"] == ['1 of 12 LLC estimates has the status "not a minimum" and is kept']


def test_a_diverged_last_estimate_is_not_the_end():
    llc = run()["llc"]
    status = llc.llc_status.astype(object)
    status[-1] = "diverged"
    summary = summary_of({**run(), "llc": llc.assign(llc_status=status)})
    assert (summary["llc_final_step"], summary["llc_final_status"]) == (STEPS[-2], "effective")


@pytest.mark.parametrize(
    ("llc", "test", "words"),
    [
        ([[400, 450], [840, 860]], [[800, 900], [140, 150]], ("before test accuracy", "after test accuracy")),
        ([[400, 450], [140, 160]], [[800, 900], [140, 150]], ("before test accuracy", "in no resolved order with")),
        ([[400, 450], [120, 130]], [[800, 900], [140, 150]], ()),
        ([[400, 450], [np.nan, np.nan]], [[800, 900], [140, 150]], ()),
    ],
)
def test_an_order_that_depends_on_the_scale_is_stated(llc, test, words):
    """Intervals on a linear and on a logarithmic scale."""
    intervals = np.array([llc, test], float)
    events = {
        f"transition_middle{ending}{suffix}": ("measure", values)
        for s, ending in enumerate(("", "_log"))
        for suffix, values in (
            ("", intervals[:, s].mean(-1)), ("_low", intervals[:, s, 0]), ("_high", intervals[:, s, 1]),
        )
    }  # fmt: skip
    note = scale_note(xr.Dataset(events, {"measure": ["llc", "test_accuracy"]}))
    assert bool(note) == bool(words)
    if words:
        linear, logarithmic = note.split(", on a logarithmic scale ")
        assert linear.startswith("On a linear scale the LLC is half way (step 425) before test accuracy (step 850)")
        assert all(word in part for word, part in zip(words, (linear, logarithmic), strict=True))


def test_several_seeds():
    data = run((0, 1, 2))
    shift = xr.DataArray([1.0, 2.0, 4.0], dims="seed")
    data["llc"]["llc"] = data["llc"].llc * shift
    data["training"]["test_accuracy"][:, 2] = 0.01
    summary = summary_of(data)
    single = summary_of(run())
    assert set(summary["seeds"]) == {"0", "1", "2"}
    assert summary["seeds"]["0"] == single
    assert summary["llc_peak"] == pytest.approx(2 * single["llc_peak"])
    assert summary["llc_statuses"] == {"effective": 36}
    assert summary["generalization_step"] is None  # one seed does not
    assert summary["phases"]["cleanup"] is None
    assert summary["phases"]["memorization"] == single["phases"]["memorization"]
    assert "test_accuracy" not in [event["measure"] for event in summary["order_of_events"]]
    assert summary["flags"] == [f"seed 2: {flag}" for flag in summary["seeds"]["2"]["flags"]]


def test_a_dataset_over_step_alone():
    data = run()
    alone = {label: dataset.isel(seed=0, drop=True) for label, dataset in data.items()}
    assert summary_of(alone) == summary_of(data)
    third = {label: dataset.isel(seed=1) for label, dataset in run((0, 3)).items()}
    assert transitions.measure(third).seed.values.tolist() == [3]


def test_a_single_checkpoint_has_no_transitions():
    data = {label: dataset.isel(step=[-1]) for label, dataset in run().items()}
    found = transitions.measure(data)
    assert np.isnan(found.transition_middle).all()
    summary = summary_of(data)
    assert summary["order_of_events"] == []
    assert summary["llc_drop"] == 0
    assert summary["memorization_step"] == 5000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: {"training": d["training"].isel(step=0)}, "training: expected a dataset over step"),
        (lambda d: {"training": d["training"].drop_vars("test_accuracy")}, "training: expected the variable"),
        (lambda d: {**d, "llc": d["llc"].assign_coords(seed=[7])}, "llc: expected the seeds"),
    ],
)
def test_datasets_that_do_not_fit(change, named):
    with pytest.raises(SltGrokError, match=named):
        transitions.measure(change(run()))
