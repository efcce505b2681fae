"""Where a network stands among published runs: a made-up cloud, the published one, and the whole script."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from published_runs import read_published_runs

from slt_grok.errors import SltGrokError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "analyses" / "clock_pizza_plane.py"
REFERENCE = ROOT / ".." / "shared" / "reference"
HEADER = "n_layers,diff_vocab,eqn_sign,attn_coeff,gradient_sim,distance_irrelevance,circularity"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def line(n: int = 201) -> np.ndarray:
    """Rates 0 to 1; symmetricity 1 - rate, irrelevance 0.2 + 0.6 rate: a line from pizza to clock."""
    rate = np.linspace(0, 1, n)
    return np.stack([rate, 1 - rate, 0.2 + 0.6 * rate, np.full(n, 0.999)], -1)


def runs(table: np.ndarray) -> xr.Dataset:
    names = ("attention_rate", "gradient_symmetricity", "distance_irrelevance_top_wrong", "circularity")
    return xr.Dataset({name: ("run", column) for name, column in zip(names, table.T, strict=True)})


def test_neighbors_on_a_line_are_those_of_about_the_same_rate(script):
    cloud = script["Cloud"](runs(line()))
    np.testing.assert_allclose(cloud.scale, [line()[:, 1].std(), 0.6 * line()[:, 1].std()])
    found = cloud.neighborhood([0.4, 0.56])  # rate 0.6
    rates = found["attention_rate_of_neighbors"]
    assert rates["0.5"] == pytest.approx(0.6, abs=0.003)
    # 50 neighbors of 201 over [0, 1]: an eighth to each side, of which 90% are kept
    assert rates["0.05"] == pytest.approx(0.6 - 0.9 * 0.1225, abs=0.004)
    assert rates["0.95"] == pytest.approx(0.6 + 0.9 * 0.1225, abs=0.004)
    assert found["rate below 0.1"] == {
        "runs": 21,
        "percentile_gradient_symmetricity": 0,
        "percentile_distance_irrelevance_top_wrong": 100,
    }
    assert found["rate above 0.9"]["percentile_gradient_symmetricity"] == 100
    # half a step beyond its end: the farthest neighbor is 49.5 steps away, and 50 for the two runs at the ends alone
    beyond = cloud.neighborhood([1.0025, 0.1985])["published_with_farther_neighbors"]
    assert beyond == pytest.approx(2 / 201)
    assert cloud.neighborhood([0.4, 1.5])["published_with_farther_neighbors"] == 0
    exact = cloud.neighborhood([0.95, 0.23])["rate below 0.1"]  # the eleventh of 21
    assert exact["percentile_gradient_symmetricity"] == pytest.approx(50)


def test_sides_of_the_published_boundaries(script):
    side = script["side"]
    assert side(0.99, 0.2) == "pizza"
    assert side(0.4, 0.8) == "clock"
    assert side(0.99, 0.8) == side(0.4, 0.2) == side(0.98, 0.2) == "between"


def test_few_published_runs(script):
    with pytest.raises(SltGrokError, match="more than 50 published runs with circular embeddings, got 50"):
        script["Cloud"](runs(line(50)))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the published table of runs is not here")
def test_the_published_model_a_stands_with_little_attention_and_model_b_with_much(script):
    cloud = script["Cloud"](read_published_runs(REFERENCE / "clock_pizza_1l_fixedwidth.csv.gz"))
    golden = json.loads((REFERENCE / "golden.json").read_text())
    rates = {}
    for network in ("p99zdpze5l", "l8k1hzciux"):
        values = golden[f"clock_pizza/{network}"]
        point = [values["gradient_symmetricity_6000"], values["distance_irrelevance_top_wrong"]]
        rates[network] = cloud.neighborhood(point)["attention_rate_of_neighbors"]
    assert rates["p99zdpze5l"]["0.95"] < 0.5
    assert rates["l8k1hzciux"]["0.05"] > 0.5


def run_script(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_script_writes_figure_and_numbers(finished, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    rows = "\n".join("1,0,0," + ",".join(map(str, row)) for row in line())
    table.write_text(f"{HEADER}\n{rows}\n")
    run_script(monkeypatch, "--published", table, "--out", tmp_path / "out", finished)
    content = json.loads((tmp_path / "out" / "clock_pizza_plane.json").read_text())
    (network,) = content["networks"]["tiny"]
    assert network["step"] == 20
    assert "0.5" in network["attention_rate_of_neighbors"]
    assert content["published"]["circular"] == 201
    assert str(tmp_path) not in content["command"].split("--published")[1].split()[0]
    assert (tmp_path / "out" / "clock_pizza_plane.png").stat().st_size > 10_000


def test_the_script_without_published_runs_and_without_a_run(finished, tmp_path, monkeypatch):
    run_script(monkeypatch, "--out", tmp_path, finished)
    content = json.loads((tmp_path / "clock_pizza_plane.json").read_text())
    assert content["published"] is None
    assert "attention_rate_of_neighbors" not in content["networks"]["tiny"][0]
    with pytest.raises(SystemExit, match="expected"):
        run_script(monkeypatch, "--out", tmp_path, tmp_path / "none")
    with pytest.raises(SystemExit, match="tiny is there twice"):
        run_script(monkeypatch, "--out", tmp_path, finished, finished)
    with pytest.raises(SystemExit, match="no such file"):
        run_script(monkeypatch, "--published", tmp_path / "none.csv", finished)
