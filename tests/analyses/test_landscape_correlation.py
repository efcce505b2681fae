"""The landscape and the LLC over several runs: groups that every run shares, and the whole script."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok.store import RunDirectory
from slt_grok.transitions.llc_correlation import llc_correlation

SCRIPT = Path(__file__).parents[2] / "analyses" / "landscape_correlation.py"
STEPS = 10 ** np.arange(7)
LLC = np.array([50.0, 49, 48, 12, 11, 10.5, 10])  # halfway between 100 and 1,000
EARLY = np.array([100.0, 1, 0.9, 0.8, 0.7, 0.6, 0.5])
LATE = np.array([100.0, 99, 98, 97, 96, 95, 1])


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def datasets(trace: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    landscape = {"hessian_trace": ("step", trace), "gradient_norm": ("step", LLC / 7)}
    return xr.Dataset(landscape, {"step": STEPS}), xr.Dataset({"llc": ("step", LLC)}, {"step": STEPS})


def test_a_group_of_every_run(script):
    early, late = (llc_correlation(*datasets(trace)) for trace in (EARLY, LATE))
    shared = script["in_every_run"]({"one": early, "other": late})
    assert shared["move_with_it"] == ["gradient norm"]
    assert shared["half_way_before_it"] == shared["half_way_after_it"] == shared["do_not"] == []
    assert script["in_every_run"]({"one": early})["half_way_before_it"] == ["Hessian trace"]
    assert script["numbers"](late)["half_way_after_it"] == ["Hessian trace"]


def run_script(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_script_writes_figure_and_numbers(finished, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "run")
    run.write_manifest(RunDirectory(finished).manifest)
    for label, dataset in zip(("landscape", "llc"), datasets(EARLY), strict=True):
        run.write_measurement(label, dataset, {})
    run_script(monkeypatch, "--out", tmp_path / "out", run.path)
    content = json.loads((tmp_path / "out" / "landscape_correlation.json").read_text())
    tiny = content["runs"]["tiny"]
    assert tiny["half_way_before_it"] == ["Hessian trace"]
    assert tiny["measures"]["Hessian trace"]["rank_correlation"] == pytest.approx(1)
    assert (tiny["measures"]["LLC"]["half_way_low"], tiny["measures"]["LLC"]["half_way_high"]) == (100, 1000)
    assert str(tmp_path) not in content["command"]
    assert (tmp_path / "out" / "landscape_correlation.png").stat().st_size > 10_000
    with pytest.raises(SystemExit, match="tiny is there twice"):
        run_script(monkeypatch, "--out", tmp_path, run.path, run.path)


def test_what_cannot_be_compared(finished, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="expected a run directory"):
        run_script(monkeypatch, "--out", tmp_path, tmp_path / "none")
    with pytest.raises(SystemExit, match="an LLC that changes over 4 checkpoints from its peak on"):
        run_script(monkeypatch, "--out", tmp_path, finished)
