"""Do architectures differ in the geometry and topology of their neurons? With the published values of 2512.25060.

Usage: for each of sum, rate0, rate1 and concatenation
  slt-grok run configs/topology_ARCHITECTURE.yaml
  slt-grok measure runs/topology_ARCHITECTURE --only topology
then
  python analyses/topology.py runs/topology_sum runs/topology_rate0 runs/topology_rate1 runs/topology_concatenation

Of every run the last checkpoint is taken; runs of one architecture are pooled. Intervals are bootstrapped over networks
(95%, percentile): neurons and clusters of one network are not independent. With five networks such an interval covers
less than it says, so that the extremes are given too. Writes results/topology.json and a figure.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from runs_below import RESULTS, config_of, picture
from scipy.stats import bootstrap

from slt_grok.circuits.geometry import CLOUDS, SITES, cka, ideal_clouds
from slt_grok.circuits.topology import Persistence
from slt_grok.errors import SltGrokError
from slt_grok.plots.mechanisms import SITES as SITE_NAMES
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, VERMILION
from slt_grok.plots.style import WIDTH, panel_letters, styled
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment

PUBLISHED = {  # CKA at the first layer, 2512.25060
    "sum": {"disc": 0.998, "torus": 0.706},
    "rate 0": {"disc": 0.988, "torus": 0.699},
    "rate 1": {"disc": 0.974, "torus": 0.689},
    "concatenation": {"disc": 0.707, "torus": 0.994},
}
SHAPES: dict[tuple[int, ...], str] = {
    (1, 0, 0): "disc",
    (1, 1, 0): "circle",
    (1, 2, 1): "torus",
}  # Betti numbers 0, 1, 2
COLORS = {"disc": BLUE, "torus": ORANGE, "clock": GREEN, "circle": GREEN, "other": GRAY}
RESAMPLES = 9999


def architecture(model: dict[str, Any], name: str) -> str:
    """Return what a run's network is called here; other networks than the four keep the run's name."""
    if model["kind"] == "mlp":
        return model["combine"]
    if model["kind"] == "transformer" and model["attention_rate"] in (0, 1):
        return f"rate {model['attention_rate']:g}"
    return name


def read(path: Path) -> tuple[str, xr.Dataset, xr.Dataset]:
    """Architecture, circuits and topology of a run's last checkpoint."""
    run = RunDirectory(path)
    config, found = config_of(run), []
    for label, variable in (("circuits", "cka"), ("topology", "betti")):
        if label not in run.labels or variable not in (data := run.read_measurement(label)):
            raise SltGrokError(f"{path}: expected {variable}; make it by slt-grok measure {path} --only {label}")
        found.append(data.isel(step=-1))
    return architecture(config["model"], config["name"]), *found


def per_network(circuits: xr.Dataset, topology: xr.Dataset) -> list[dict[str, Any]]:
    """Return the numbers of each seed; shares of Betti numbers are of the neurons in clusters."""
    found = []
    for seed in circuits.seed.values:
        one, clusters = (
            circuits.sel(seed=seed),
            topology.sel(seed=seed).dropna("frequency", how="all", subset=["betti"]),
        )
        size = one.neuron_cluster_size.sel(frequency=clusters.frequency)
        row: dict[str, Any] = {
            "seed": int(seed),
            "test_accuracy": float(one.accuracy.sel(split="test")),
            "clusters": clusters.sizes["frequency"],
            "neurons_in_clusters": int(size.sum()),
            "median_cluster": float(size.median()) if len(size) else np.nan,
            "torus_distance": float(one.torus_distance),
            "rank_2_share": float(one.rank_share.sel(rank=2)),
            "rank_4_share": float(one.rank_share.sel(rank=4)),
        }
        for site in SITES:
            for cloud in CLOUDS:
                row[f"cka {site} {cloud}"] = float(one.cka.sel(site=site, cloud=cloud))
            shapes = [SHAPES.get(tuple(map(int, numbers)), "other") for numbers in clusters.betti.sel(site=site).values]
            for shape in (*SHAPES.values(), "other"):
                counted = float(size.values[[other == shape for other in shapes]].sum())
                row[f"betti {site} {shape}"] = counted / float(size.sum()) if len(size) else np.nan
            gap = clusters.persistence_gap.sel(site=site, degree=[1, 2])
            row[f"smallest_gap {site}"] = float(gap.min()) if len(size) else np.nan
        found.append(row)
    return found


def over_networks(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean, interval and extremes of every number over the networks."""
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows], dtype=float)
        values = values[np.isfinite(values)]
        if name == "seed" or not len(values):
            continue
        low = high = np.nan
        if len(values) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # all networks alike: the interval is a point
                interval = bootstrap(
                    (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
                ).confidence_interval
            low, high = interval.low, interval.high
        extremes = {"min": values.min(), "max": values.max()}
        found[name] = {"mean": values.mean(), "low": low, "high": high, **extremes, "networks": len(values)}
    return found


def ideal(p: int) -> dict[str, Any]:
    """CKA of the ideal clouds with each other, and their Betti numbers."""
    clouds = ideal_clouds(p, 1)
    found: dict[str, Any] = {}
    for name, cloud in clouds.items():
        persistence = Persistence.of(cloud.numpy())
        assert persistence is not None
        similar = dict(zip(CLOUDS, cka(cloud, list(clouds.values())).tolist(), strict=True))
        found[name] = {"cka": similar, "betti": persistence.betti(), "persistence_gap": persistence.gaps()}
    return found


@styled
def draw(summary: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> Figure:
    """CKA at every site, with the published values at the first; torus distance; Betti numbers."""
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    upper, lower = np.ravel(np.array(figure.subfigures(2, 1)))
    panels = [*np.ravel(upper.subplots(1, len(SITES), sharey=True))]
    for site, axes in zip(SITES, panels, strict=True):
        _draw_cka(axes, site, summary, rows)
    panels[0].set_ylabel("CKA")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    bars, distance = lower.subplots(1, 2, width_ratios=[2.2, 1])
    _draw_betti(bars, summary)
    _draw_distance(distance, summary, rows)
    panel_letters([panels[0], bars, distance], offset=(-38, 8))
    return figure


def _draw_cka(axes: Axes, site: str, summary: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> None:
    axes.axhline(2**-0.5, color="0.7", lw=0.7, zorder=0)  # disc and torus with each other
    for place, (name, found) in enumerate(summary.items()):
        for shift, cloud in zip((-0.22, 0, 0.22), CLOUDS, strict=True):
            key, color = f"cka {site} {cloud}", COLORS[cloud]
            if key not in found:
                continue
            label = cloud if place == 0 else None
            values = [row[key] for row in rows[name]]
            axes.plot(np.full(len(values), place + shift), values, ".", color=color, ms=3, alpha=0.5)
            axes.plot([place + shift] * 2, [found[key]["low"], found[key]["high"]], color=color, lw=2.2, alpha=0.6)
            axes.plot(place + shift, found[key]["mean"], "_", color=color, ms=9, mew=1.6, label=label)
            published = PUBLISHED.get(name, {}).get(cloud) if site == "neurons_pre" else None
            if published is not None:
                axes.plot(place + shift, published, "x", color="k", ms=4.5, mew=1, zorder=4)
    axes.plot([], [], "x", color="k", ms=4.5, mew=1, label="2512.25060")
    axes.plot([], [], color="0.7", lw=0.7, label="disc and torus\nwith each other")
    axes.set(title=SITE_NAMES[site], ylim=(-0.04, 1.06))
    _architectures(axes, list(summary))


def _draw_betti(axes: Axes, summary: dict[str, Any]) -> None:
    width = 0.8 / len(SITES)
    for place, found in enumerate(summary.values()):
        for index, site in enumerate(SITES):
            left, bottom = place - 0.4 + width * (index + 0.5), 0.0
            for shape in (*SHAPES.values(), "other"):
                share = 100 * found.get(f"betti {site} {shape}", {"mean": 0.0})["mean"]
                axes.bar(left, share, width * 0.9, bottom=bottom, color=COLORS[shape], lw=0)
                bottom += share
            axes.text(left, 102, ("pre", "post", "read", "logits")[index], rotation=90, ha="center", fontsize=6)
    for numbers, shape in SHAPES.items():
        axes.bar(0, 0, color=COLORS[shape], label=f"{numbers}, as a {shape}")
    axes.bar(0, 0, color=COLORS["other"], label="other")
    axes.set(ylabel="Neurons in clusters of\nthese Betti numbers (%)", ylim=(0, 122), yticks=[0, 25, 50, 75, 100])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.spines[["top", "right"]].set_visible(False)
    _architectures(axes, list(summary))


def _draw_distance(axes: Axes, summary: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> None:
    for place, (name, found) in enumerate(summary.items()):
        values = [row["torus_distance"] for row in rows[name]]
        axes.plot(np.full(len(values), place), values, ".", color=BLUE, ms=4, alpha=0.5)
        if "torus_distance" in found:
            axes.plot(
                [place] * 2, [found["torus_distance"][end] for end in ("low", "high")], color=BLUE, lw=2.2, alpha=0.6
            )
            axes.plot(place, found["torus_distance"]["mean"], "_", color=BLUE, ms=10, mew=1.6)
    p = next(iter(rows.values()))[0]["modulus"]
    axes.axhline((p**2 - 1) / (4 * p), color=VERMILION, lw=1)
    axes.text(0, (p**2 - 1) / (4 * p), "uniform phases", color=VERMILION, va="bottom", fontsize=7)
    axes.set(ylabel="Torus distance (tokens)")
    axes.set_ylim(bottom=-0.4)
    axes.spines[["top", "right"]].set_visible(False)
    _architectures(axes, list(summary))


def _architectures(axes: Axes, names: list[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)


def table(summary: dict[str, Any]) -> Table:
    """CKA and torus distance with intervals, next to the published values."""
    found = Table(title="Mean over networks (95% interval) [published]")
    columns = [f"cka neurons_pre {cloud}" for cloud in CLOUDS]
    columns += ["cka neurons_post_read clock", "cka logits clock", "torus_distance", "rank_2_share"]
    for column in ("architecture", "networks", *columns):
        found.add_column(column.replace("neurons_", "").replace("_", " "))
    for name, numbers in summary.items():
        cells = []
        for column in columns:
            if column not in numbers:
                cells.append("none")
                continue
            value, digits = numbers[column], 2 if column == "torus_distance" else 3
            published = PUBLISHED.get(name, {}).get(column.split()[-1]) if "pre" in column else None
            text = f"{value['mean']:.{digits}f} ({value['low']:.{digits}f}, {value['high']:.{digits}f})"
            cells.append(text + (rf" \[{published}]" if published is not None else ""))
        found.add_row(name, str(numbers["clusters"]["networks"]), *cells)
    return found


def main(paths: list[Path]) -> None:
    """Read, summarize, draw, write."""
    rows: dict[str, list[dict[str, Any]]] = {}
    settings = []
    for path in paths:
        name, circuits, topology = read(path)
        settings.append({key: topology.attrs[key] for key in ("landmarks", "threshold")})
        p = circuits.attrs["classes"]
        rows.setdefault(name, []).extend({"modulus": p, **row} for row in per_network(circuits, topology))
    summary = {name: over_networks(networks) for name, networks in rows.items()}
    clouds = ideal(next(iter(rows.values()))[0]["modulus"])
    console = Console(width=200)
    console.print(table(summary))
    for name, found in clouds.items():
        console.print(f"ideal {name}: Betti {found['betti']}, CKA {found['cka']}", highlight=False)
    content = {
        "command": f"python analyses/topology.py {' '.join(map(str, paths))}",
        "published": PUBLISHED,
        "ideal_clouds": clouds,
        "over_networks": summary,
        "networks": rows,
        "settings": dict(zip(map(str, paths), settings, strict=True)),
        "environment": environment(),
    }
    write_json(RESULTS / "topology.json", content)
    print(picture(draw(summary, rows), RESULTS, "topology"))


if __name__ == "__main__":
    try:
        main([Path(path) for path in sys.argv[1:]])
    except SltGrokError as error:
        sys.exit(str(error))
