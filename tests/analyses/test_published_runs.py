"""The published table of runs, made up and real."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from published_runs import CIRCULAR, read_published_runs

from slt_grok.errors import SltGrokError

TABLE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "clock_pizza_1l_fixedwidth.csv.gz"
HEADER = "runid,n_layers,diff_vocab,eqn_sign,attn_coeff,gradient_sim,distance_irrelevance,circularity"
ROWS = """a,1,0,0,0.25,0.99,0.2,0.999
b,2,0,0,0.25,0.99,0.2,0.999
c,1,1,0,0.25,0.99,0.2,0.999
d,1,0,1,0.25,0.99,0.2,0.999
e,1,0,0,0.75,0.4,0.8,0.9
f,1,0,0,0.75,,0.8,0.9
g,1,0,0,0.75,0.4,,0.9
h,1,0,0,0.75,0.4,0.8,
"""


def write(path: Path, text: str) -> Path:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(text)
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_one_layer_runs_with_all_measures(tmp_path, name):
    runs = read_published_runs(write(tmp_path / name, f"{HEADER}\n{ROWS}"))
    np.testing.assert_array_equal(runs.attention_rate, [0.25, 0.75])
    np.testing.assert_array_equal(runs.gradient_symmetricity, [0.99, 0.4])
    np.testing.assert_array_equal(runs.distance_irrelevance_top_wrong, [0.2, 0.8])
    np.testing.assert_array_equal(runs.circularity, [0.999, 0.9])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("columns.csv", "n_layers,attn_coeff\n1,0.5\n", "it lacks gradient_sim, distance_irrelevance, circularity"),
        ("empty.csv", "", "it lacks attn_coeff"),
        ("words.csv", f"{HEADER}\na,1,0,0,much,0.9,0.2,1\n", "a number in each of attn_coeff"),
        ("short.csv", f"{HEADER}\na,1,0\n", "expected one-layer runs of addition with their measures, it has none"),
        ("others.csv", f"{HEADER}\nb,2,0,0,0.25,0.99,0.2,0.999\n", "expected one-layer runs"),
        ("rows.csv", f"{HEADER}\n", "expected one-layer runs"),
    ],
)
def test_another_table_is_one_sentence(tmp_path, name, text, message):
    with pytest.raises(SltGrokError, match=message) as error:
        read_published_runs(write(tmp_path / name, text))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(SltGrokError, match=r"none\.csv: no such file"):
        read_published_runs(tmp_path / "none.csv")
    (tmp_path / "plain.csv.gz").write_text(HEADER)
    with pytest.raises(SltGrokError, match=r"plain\.csv\.gz: expected a CSV file"):
        read_published_runs(tmp_path / "plain.csv.gz")
    whole = write(tmp_path / "whole.csv.gz", f"{HEADER}\n{ROWS}").read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SltGrokError, match=r"cut\.csv\.gz: expected a CSV file"):
        read_published_runs(tmp_path / "cut.csv.gz")


@pytest.mark.skipif(not TABLE.is_file(), reason="the published table of runs is not here")
def test_the_published_table_has_the_published_runs():
    """34.31% of the one-layer runs are circular; these go from pizza to clock as attention does."""
    runs = read_published_runs(TABLE)
    circular = runs.isel(run=runs.circularity.values >= CIRCULAR)
    assert (runs.sizes["run"], circular.sizes["run"]) == (2381, 817)
    assert round(100 * 817 / 2381, 2) == 34.31
    little, much = (
        circular.isel(run=chosen.values) for chosen in (circular.attention_rate < 0.1, circular.attention_rate > 0.9)
    )
    assert little.gradient_symmetricity.min() > 0.98
    assert much.gradient_symmetricity.max() < 0.98
    assert little.distance_irrelevance_top_wrong.median() < 0.6 < much.distance_irrelevance_top_wrong.median()
