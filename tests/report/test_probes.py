"""Sentences of the probes that are made when asked for, from datasets whose content is known."""

import numpy as np
import xarray as xr

from slt_grok.report import probes
from slt_grok.report.probes import sentences

STEPS = [100, 500, 1000]


def curvature(unit: tuple[float, ...] = (100.0, 80.0, 40.0)) -> xr.Dataset:
    """Traces 10, 1, 0.1 at the loss's own scale, of which W_U holds half; the test set's is ten times as large."""
    dims = ("step", "seed", "matrix", "logit_scale", "split", "group")
    own = np.array([10.0, 1.0, 0.1])
    trace = np.empty((3, 1, 2, 2, 2, 3))
    for scale, values in enumerate((own, np.array(unit))):
        for split, times in enumerate((1, 10)):
            for group, share in enumerate((1, 0.5, 0.2)):
                trace[:, 0, :, scale, split, group] = (values * times * share)[:, None]
    trace[2, 0, 1, 0, 0, 0] = 0.2  # the Gauss-Newton matrix at the end
    coords = {
        "step": STEPS,
        "seed": [0],
        "matrix": ["hessian", "gauss_newton"],
        "logit_scale": ["own", "unit"],
        "split": ["train", "test"],
        "group": ["total", "W_U", "W_E"],
    }
    return xr.Dataset({"curvature_trace": (dims, trace), "curvature_trace_se": (dims, trace / 20)}, coords)


def connectivity(seeds: int = 1) -> xr.Dataset:
    coords = {"step": STEPS, "step_other": STEPS, "seed": np.arange(seeds), "split": ["train", "test"]}
    between = np.zeros((3, seeds, 3, 2))
    between[0, :, 2] = between[2, :, 0] = [0.7, 0.01]
    line = np.full((3, seeds, 2), np.nan)
    line[0] = [0.7, 0]
    return xr.Dataset(
        {
            "barrier_between": (("step", "seed", "step_other", "split"), between),
            "barrier_between_se": (("step", "seed", "step_other", "split"), between * 0 + 0.02),
            "line_barrier": (("step", "seed", "split"), line),
            "line_barrier_se": (("step", "seed", "split"), line * 0),
            "curve_barrier": (("step", "seed", "split"), line / 100),
            "curve_barrier_se": (("step", "seed", "split"), line * 0),
        },
        coords,
    )


def test_curvature() -> None:
    own, unit, test, parts, gauss = probes.curvature(curvature().isel(seed=0))
    assert "10.00\u00a0±\u00a00.50 at step 100, 1.000\u00a0±\u00a00.050 at step 500 and" in own
    assert unit.endswith("40.0\u00a0±\u00a02.0 at step 1,000: a fall of 60.0\u00a0±\u00a05.4.")
    assert "On the test set" in test
    assert "100.0\u00a0±\u00a05.0 at step 100" in test
    assert "most is in W_U 50.0\u00a0±\u00a03.5% and W_E 20.0\u00a0±\u00a01.4%" in parts
    assert "apart from the Hessian's" in gauss


def test_a_change_within_its_error_is_none() -> None:
    text = probes.curvature(curvature(unit=(100.0, 80.0, 90.0)).isel(seed=0))[1]
    assert text.endswith("no change beyond 3 standard errors.")


def test_connectivity() -> None:
    largest, path = probes.connectivity(connectivity().isel(seed=0))
    assert "0.700\u00a0±\u00a00.020 nats on the train set (steps 100 and 1,000) and none on the test set" in largest
    assert path == (
        "From step 100 to step 1,000 there is on the train set a barrier of 0.7 nats along the straight line and a "
        "barrier of 0.007 nats along the trained curve; on the test set no barrier along either the straight line or "
        "the trained curve."
    )
    assert [text[:7] for text in sentences({"connectivity": connectivity(2)})] == ["Seed 0:", "Seed 1:"]


def test_barriers_between_seeds() -> None:
    dims = ("step", "seed", "seed_other", "split")
    values = np.zeros((3, 3, 3, 2))
    for place, value in (((0, 1), 1.0), ((0, 2), 2.0), ((1, 2), 4.0)):
        values[:, place[0], place[1]] = values[:, place[1], place[0]] = value
    coords = {"step": STEPS, "seed": range(3), "seed_other": range(3), "split": ["train", "test"]}
    data = xr.Dataset({"barrier_between": (dims, values), "barrier_aligned": (dims, values / 4)}, coords)
    train, test = probes.between_seeds(data.where(data.split == "train", 0))
    assert "train set is 2 nats (median; 1 to 4) over 3 pairs, and 0.5 nats (median; 0.25 to 1)" in train
    assert train.endswith("25% of it.")
    assert test.endswith("after the units are matched.")
    assert not sentences({"connectivity@seeds": data * np.nan})


def test_shape() -> None:
    coords = {"step": STEPS, "seed": [0], "component": [1, 2], "split": ["train", "test"]}
    plane = xr.Dataset(
        {
            "explained_share": (("seed", "component"), [[0.9, 0.08]]),
            "explained_share_random_walk": (("seed", "component"), [[0.61, 0.15]]),
            "path": (("step", "seed", "component"), [[[-3.0, 4.0]], [[-1.0, 0.0]], [[0.0, 0.0]]]),
            "path_distance": (("step", "seed"), [[1.0], [2.0], [0.0]]),
        },
        coords,
    )
    x = np.linspace(-1, 1, 5)
    bowl = x[:, None] ** 2 + x**2  # on the circle of 1/2: the 12 places around it, from 0.25 to 0.5
    losses = np.array([1.0, 2.0, 3.0])[:, None, None, None, None] * bowl[..., None] * np.ones(2)
    dims = ("step", "seed", "x", "y", "split")
    random = xr.Dataset({"plane_loss": (dims, losses)}, {**coords, "x": x, "y": x})
    path, circle = sentences({"shape": plane, "shape@random": random})
    assert "hold 90% and 8% of the variance of the path" in path
    assert "61% and 15%" in path
    assert "up to 2 from their plane, in which the path reaches 5 from its end" in path
    assert "0.375 nats (0.25 to 0.5 around it) at step 100" in circle
    assert "1.12 nats (0.75 to 1.5 around it) at step 1,000" in circle
    assert len(sentences({"shape": plane, "shape@random": random * np.nan})) == 1


def test_what_was_not_measured_is_not_spoken_of() -> None:
    assert not sentences({})
    assert not sentences({"curvature": curvature() * np.nan, "connectivity": connectivity() * np.nan})
    without = connectivity().drop_vars(["line_barrier", "curve_barrier"]).isel(seed=0)
    assert len(probes.connectivity(without)) == 1
