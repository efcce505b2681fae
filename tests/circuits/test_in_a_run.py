"""The circuit measurements of a run: shards, milestones, and what the page shows."""

from pathlib import Path

import numpy as np
import xarray as xr

import slt_grok
from slt_grok import circuits
from slt_grok.circuits import maps
from slt_grok.measurement import Result
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run, measure_run
from tests.studies.small import planted_run

PAGES = True


def test_circuits_their_null_and_their_maps(tmp_path: Path) -> None:
    path = planted_run(tmp_path / "run")
    page = measure_run(Run(path), ["circuits", "circuit_null", "circuit_maps"]).read_text()
    networks, data = slt_grok.trajectory(path), Run(path).data
    keys = circuits.key_frequencies(networks)
    assert keys.frequency.values[keys.values[0]].tolist() == [2]
    at_milestones = networks.isel(step=[2, 3, 4])  # memorized at 2, generalized at 5, the end
    expected = {
        "circuits": circuits.measure(networks, keys),
        "circuit_null": circuits.null(networks.isel(step=-1)),
        "circuit_maps": maps.measure(at_milestones, keys),
    }
    for label, wanted in expected.items():
        found = RunDirectory(path).read_measurement(label)
        assert set(found) == set(wanted)
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-9, err_msg=f"{label}.{name}")
    assert "circuit_maps" not in str(Result.find("circuit_maps")().columns(data["circuit_maps"]))
    columns = Result.find("circuits")().columns(data["circuits"].sel(seed=3))
    assert columns["final.circuits.loss.test"] == float(data["circuits"].loss.sel(seed=3, split="test", step=9))
    assert "The circuit at the last checkpoint and its null" in page
    assert "Not measured: " in page
    for name in ("spectrum", "embedding_circles", "activation_grids", "logit_spectrum", "clock_pizza_plane"):
        assert list((path / "figures").glob(f"{name}*.svg")), name


def test_no_key_frequency_is_a_note() -> None:
    dataset = xr.Dataset({"circuit_frequency": (("seed", "frequency"), np.zeros((1, 6), dtype=bool))})
    (note,) = Result.find("circuits")().notes({"circuits": dataset})
    assert note.startswith("No frequency is a key frequency")
