"""Clock, pizza or between: where runs stand among the published ones of Zhong et al. 2306.17844.

Usage: python analyses/clock_pizza_plane.py [--published TABLE.csv.gz] RUN ...
A RUN is a directory with circuits measured. TABLE is the table of runs released with the paper (github
fjzzq2002/pizza, result). Writes clock_pizza_plane.json and its figure into results/, or into --out FOLDER.

Of every seed of a run the last checkpoint is placed among the published one-layer runs with circular embeddings: the
attention rates of its `NEIGHBORS` nearest ones (distances in the plane, each axis in standard deviations of the
published runs), how many published runs have their neighbors farther away than it has, and what share of the runs of
nearly no attention and of nearly full attention it exceeds in each measure. No published run has rate 0 or 1 exactly.
Published runs are of p = 59 and two tokens: for another setting the plane is a comparison across settings. Their
gradient symmetricity is from 100 triples each, with a standard error of up to 0.04.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from published_runs import CIRCULAR, read_published_runs
from rich.console import Console
from rich.table import Table
from runs_below import RESULTS, config_of, picture
from scipy.spatial import KDTree
from scipy.stats import percentileofscore

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.plots.mechanisms import DISTANCE_IRRELEVANCE, GRADIENT_SYMMETRICITY
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment

MEASURES = ("gradient_symmetricity", "distance_irrelevance_top_wrong")
NEIGHBORS = 50
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ENDS = {"rate below 0.1": (0.0, 0.1), "rate above 0.9": (0.9, 1.0)}


def read(path: Path) -> tuple[str, xr.Dataset, dict[str, Any]]:
    """Name, circuits and setting of a run."""
    run = RunDirectory(path)
    config = config_of(run)
    if "circuits" not in run.labels or MEASURES[0] not in (circuits := run.read_measurement("circuits")):
        raise SltGrokError(f"{path}: expected {MEASURES[0]}; make it by slt-grok measure {path} --only circuits")
    return config["name"], circuits, {"task": config["task"], "model": config["model"]}


def side(symmetricity: float, irrelevance: float) -> str:
    """Which side of the published boundaries a network is on."""
    symmetric, depends = symmetricity > GRADIENT_SYMMETRICITY, irrelevance < DISTANCE_IRRELEVANCE
    return {(True, True): "pizza", (False, False): "clock"}.get((symmetric, depends), "between")


class Cloud:
    """The published runs with circular embeddings as points of the plane."""

    def __init__(self, published: xr.Dataset) -> None:
        self.runs = published.isel(run=published.circularity.values >= CIRCULAR)
        if self.runs.sizes["run"] <= NEIGHBORS:
            raise SltGrokError(
                f"expected more than {NEIGHBORS} published runs with circular embeddings, got {self.runs.sizes['run']}"
            )
        points = np.stack([self.runs[name] for name in MEASURES], -1)
        self.scale = points.std(0)
        self.tree = KDTree(points / self.scale)
        # of each published run the distance of its farthest neighbor, itself not counted
        self.reach = self.tree.query(points / self.scale, NEIGHBORS + 1)[0][:, -1]

    def neighborhood(self, point: list[float]) -> dict[str, Any]:
        """Where a point of the plane stands, see the module's docstring."""
        distance, index = self.tree.query(np.array(point) / self.scale, NEIGHBORS)
        rates = self.runs.attention_rate.values[index]
        found: dict[str, Any] = {
            "attention_rate_of_neighbors": dict(zip(map(str, QUANTILES), np.quantile(rates, QUANTILES), strict=True)),
            "distance_of_farthest_neighbor": float(distance[-1]),
            "published_with_farther_neighbors": float(np.mean(self.reach > distance[-1])),
        }
        for end, (low, high) in ENDS.items():
            rate = self.runs.attention_rate.values
            among = self.runs.isel(run=(rate >= low) & (rate <= high))
            found[end] = {"runs": among.sizes["run"]}
            for name, value in zip(MEASURES, point, strict=True):
                found[end][f"percentile_{name}"] = float(percentileofscore(among[name].values, value, kind="mean"))
        return found


def standings(circuits: xr.Dataset, cloud: Cloud | None) -> list[dict[str, Any]]:
    """Return the last checkpoint of each seed."""
    found = []
    for seed in circuits.seed.values.tolist():
        one = circuits.sel(seed=seed).isel(step=-1)
        point = [float(one[name]) for name in MEASURES]
        row: dict[str, Any] = {"seed": seed, "step": int(one.step), **dict(zip(MEASURES, point, strict=True))}
        row["gradient_symmetricity_se"] = float(one.gradient_symmetricity_se)
        row["circularity"] = float(one.circularity)
        row["test_accuracy"] = float(one.accuracy.sel(split="test"))
        if np.isfinite(point).all():
            row["side"] = side(*point)
            row |= cloud.neighborhood(point) if cloud else {}
        found.append(row)
    return found


def table(rows: dict[str, list[dict[str, Any]]]) -> Table:
    """One line a network."""
    found = Table(title=f"Last checkpoints, and the {NEIGHBORS} nearest published runs with circular embeddings")
    for column in (
        "run",
        "seed",
        "gradient symmetricity",
        "distance irrelevance",
        "side",
        "their attention rates (5 to 95%)",
        "published farther from theirs",
    ):
        found.add_column(column)
    for name, networks in rows.items():
        for row in networks:
            rates = row.get("attention_rate_of_neighbors")
            far = row.get("published_with_farther_neighbors")
            found.add_row(
                name,
                str(row["seed"]),
                f"{row[MEASURES[0]]:.4f} ± {row['gradient_symmetricity_se']:.4f}",
                f"{row[MEASURES[1]]:.3f}",
                row.get("side", "not defined"),
                f"{rates['0.5']:.2f} ({rates['0.05']:.2f} to {rates['0.95']:.2f})" if rates else "–",
                f"{100 * far:.1f}%" if far is not None else "–",
            )
    return found


def main() -> None:
    """Read, place, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--published", type=Path, metavar="TABLE")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    given = parser.parse_args()
    published = read_published_runs(given.published) if given.published else None
    cloud = Cloud(published) if published is not None else None
    data, rows, settings = {}, {}, {}
    for path in given.runs:
        name, circuits, setting = read(path)
        if name in data:
            raise SltGrokError(f"{path}: expected runs of different names, {name} is there twice")
        data[name], rows[name], settings[name] = circuits, standings(circuits, cloud), setting
    Console(width=140).print(table(rows))
    table_of = f"--published {given.published.name} " if given.published else ""
    content = {
        "command": f"python analyses/clock_pizza_plane.py {table_of}{' '.join(map(str, given.runs))}",
        "networks": rows,
        "settings": settings,
        "published": None
        if published is None or cloud is None
        else {
            "one_layer_runs": published.sizes["run"],
            "circular": cloud.runs.sizes["run"],
            "attention_rate": dict(
                zip(map(str, QUANTILES), np.quantile(cloud.runs.attention_rate, QUANTILES), strict=True)
            ),
            "neighbors": NEIGHBORS,
            "unit_of_distance": dict(zip(MEASURES, cloud.scale.tolist(), strict=True)),
        },
        "environment": environment(),
    }
    write_json(given.out / "clock_pizza_plane.json", content)
    figure = plots.clock_pizza_plane(data, cloud.runs if cloud else None)
    print(picture(figure, given.out, "clock_pizza_plane"))


if __name__ == "__main__":
    try:
        main()
    except SltGrokError as error:
        sys.exit(str(error))
