"""The checkpoints at which a network has memorized and generalized."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import at_milestones, milestones

STEPS = np.array([0, 50, 150, 900, 1200, 5000])


def run(path, memorized, generalized) -> RunDirectory:
    """A run whose seeds reach full accuracy at these steps, never where NaN."""
    step = np.arange(0, 5001, 10)
    curves = {
        "train_accuracy": np.where(step[:, None] >= np.array(memorized), 1.0, 0.1),
        "test_accuracy": np.where(step[:, None] >= np.array(generalized), 1.0, 0.1),
    }
    curves |= {name.replace("accuracy", "loss"): 1.01 - values for name, values in curves.items()}
    directory = RunDirectory(path)
    config = {
        "name": "made-up",
        "task": {"modulus": 5},
        "model": {"kind": "mlp"},
        "training": None,
        "seeds": [*range(len(memorized))],
    }
    directory.write_manifest({"config": config, "stages": {}})
    data = {name: (("step", "seed"), values) for name, values in curves.items()}
    directory.write_measurement("training", xr.Dataset(data, {"step": step, "seed": range(len(memorized))}), {})
    return directory


@pytest.mark.parametrize(
    ("memorized", "generalized", "expected"),
    [
        ([100], [1000], [150, 1200, 5000]),
        ([150], [900], [150, 900, 5000]),
        ([100], [np.nan], [150, 5000]),
        ([100], [4000], [150, 5000]),
        ([np.nan], [np.nan], [5000]),
        ([20, 100, 800], [1000, 4000, np.nan], [150, 5000]),  # medians 100 and 2500
    ],
)
def test_the_first_checkpoints_from_the_milestones_on(tmp_path, memorized, generalized, expected):
    made = run(tmp_path, memorized, generalized)
    assert at_milestones(made, STEPS, range(len(memorized))) == expected
    np.testing.assert_array_equal(milestones(made, 0), [memorized[0], generalized[0]])


def test_without_training_curves_the_last_checkpoint(tmp_path):
    assert at_milestones(RunDirectory(tmp_path), STEPS, [0]) == [5000]
