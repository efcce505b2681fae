"""The mechanism: the clock and pizza plane, interventions in the circuit's planes, and clusters of neurons.

The plane follows Zhong et al. 2306.17844, section 5, whose one-layer networks of attention rate 0 to 1 range from pizza
(symmetric gradients, logits that depend on a - b) to clock; the interventions follow Nanda et al. 2301.05217, sections
4.4 and 5.1, with the tests and controls of `slt_grok.circuits.causal`. Neurons on the diagonal of the phase alignment
distribution have equal phases for both tokens, and their cluster is a disc; neurons with independent phases fill the
grid, and their cluster is a torus (2512.25060).
"""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots import style
from slt_grok.plots.lines import QUANTILE
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, VERMILION

# The boundaries of 2306.17844 between clock and pizza
GRADIENT_SYMMETRICITY = 0.98
DISTANCE_IRRELEVANCE = 0.6
RUNS = ((VERMILION, "o"), ("k", "s"), (PURPLE, "^"), (GREEN, "D"), (BROWN, "v"))  # color, marker; cycled

CIRCUIT = (BLUE, "o", 5.5)  # color, marker, size
CONTROLS = {  # distinct markers, so that color is redundant; and the name in the legend
    "all other frequencies": (ORANGE, "s", 4.5, "all others"),
    "random frequencies": (GRAY, "x", 4.5, "random, equally many"),
    "random frequencies of equal norm": (BROWN, "+", 6, "random, equal norm"),
    "untrained network": (PURPLE, "v", 4.5, "untrained"),
    "memorizing network": (VERMILION, "^", 4.5, "memorizing"),
}
MOVED = ("planes of another token", "planes rotated", "planes and accompanying rotated")


@style.styled
def clock_pizza_plane(runs: Mapping[str, xr.Dataset], published: xr.Dataset | None = None) -> Figure:
    """Draw each network's checkpoints as a path from a hollow first to a full last point, with 95% intervals.

    Parameters
    ----------
    runs : mapping
        The measurement `circuits` of each run by name; each seed is a path. Checkpoints at which one of the two
        measures is undefined are omitted.
    published : xarray.Dataset or None, optional
        Published runs with circular embeddings, drawn underneath in the color of their attention rate.
    """
    figure, ((axes,),) = style.frame(4.4 if published is not None else 3.6, width=5.8)
    axes.axvline(DISTANCE_IRRELEVANCE, color="0.6", lw=0.8, ls="--", zorder=0)
    axes.axhline(GRADIENT_SYMMETRICITY, color="0.6", lw=0.8, ls="--", zorder=0)
    if published is not None:
        place = published.distance_irrelevance_top_wrong, published.gradient_symmetricity
        look = {"cmap": "cividis", "vmin": 0, "vmax": 1, "s": 9, "lw": 0, "alpha": 0.6, "zorder": 1}
        cloud = axes.scatter(*place, c=published.attention_rate, **look)
        name = "Attention rate of the published runs"
        figure.colorbar(cloud, ax=axes, location="bottom", shrink=0.6, aspect=30, label=name)
    styles = cycle(RUNS)
    for name, run in runs.items():
        seeds = style.with_seed(run)
        for seed in seeds.seed.values.tolist():
            label = f"{name}, seed {seed}" if seeds.sizes["seed"] > 1 else name
            _path(axes, seeds.sel(seed=seed), label, *next(styles))
    axes.set(xlabel="Distance irrelevance (largest wrong logit)", ylabel="Gradient symmetricity")
    low = min(axes.get_ylim()[0], 0.15)
    axes.set(xlim=(0, 1.03), ylim=(low, 1.04))
    corner = {"fontsize": 8, "color": "0.35", "style": "italic"}
    axes.text(0.015, GRADIENT_SYMMETRICITY - 0.015, "pizza", va="top", **corner)
    axes.text(1.02, low + 0.02, "clock", ha="right", **corner)
    style.legend_right(axes)
    return figure


def _path(axes: Axes, run: xr.Dataset, label: str, color: str, marker: str) -> None:
    """Draw one network over training."""
    names = ["distance_irrelevance_top_wrong", "gradient_symmetricity", "gradient_symmetricity_se"]
    run = run[names].dropna("step", subset=names[:2])
    if not run.sizes["step"]:
        return
    x, y, error = (run[name].values for name in names)
    axes.errorbar(x, y, QUANTILE * error, color=color, lw=0.9, elinewidth=0.6, marker=".", ms=2.5, alpha=0.7, zorder=3)
    axes.plot(x[:1], y[:1], marker, ms=5, color=color, mfc="white", mew=1, zorder=4)
    label = f"{label}\n(step {run.step.values[0]:,} to {run.step.values[-1]:,})"
    axes.plot(x[-1:], y[-1:], marker, ms=6.5, color=color, mec="white", mew=0.8, zorder=5, label=label)


@style.styled
def causal(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw one row per test at the last step, and the effect of rotations over training below.

    Above: train loss after / before, and fraction of predictions moved. Below: the effect of rotating the planes of
    the circuit (with and without its doubled frequencies) and of rotating all others.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `causal`.
    """
    networks = style.select_seed(measured, seed)
    last = networks.isel(step=-1)
    if not last.circuit_frequency.any():
        return style.empty_figure("no frequency in the circuit at the last step, so there is nothing to intervene on")
    moved = last.test.isin(MOVED).values
    several = networks.sizes["step"] > 1
    heights = [(~moved).sum(), moved.sum() + 1, *([7.5] if several else [])]
    figure, grid = style.frame(5.6 if several else 3.4, len(heights), height_ratios=heights)
    panels = grid[:, 0].tolist()
    _rows(panels[0], last.isel(test=~moved))
    panels[0].axvline(1, color="0.75", lw=0.7, zorder=0)
    logarithmic(panels[0].xaxis)
    panels[0].set_xlabel("Train loss after / before (logarithmic)")
    panels[0].set_title(f"Step {int(last.step):,}", loc="left")
    _rows(panels[1], last.isel(test=moved))
    panels[1].set(xlim=(-0.04, 1.04), xlabel="Fraction of predictions moved")
    style.legend_right(panels[0])
    if several:
        _over_training(panels[2], networks)
    style.panel_letters(panels, offset=(-140, 8), room=False)
    return figure


def _rows(axes: Axes, tests: xr.Dataset) -> None:
    """Draw one row per test: the markers of the circuit and of the controls."""
    style.name_rows(axes, tests.test.values.tolist())
    rows = np.arange(tests.sizes["test"])
    color, marker, size = CIRCUIT
    axes.plot(tests.effect, rows, marker, ms=size, color=color, label="circuit", zorder=3)
    for control, (color, marker, size, name) in CONTROLS.items():
        values = tests.control_effect.sel(control=control)
        if np.isfinite(values).any():
            axes.plot(values, rows, marker, ms=size, color=color, mfc="none", mew=1.1, label=name)
    axes.grid(axis="y", color="0.92", lw=0.7)
    axes.set_axisbelow(True)


def _over_training(axes: Axes, networks: xr.Dataset) -> None:
    """Draw predictions moved over training when all planes of the circuit are rotated, and when all others are."""
    others = "all other frequencies"
    for values, (color, marker, *_), name in (
        (networks.effect, CIRCUIT, "circuit"),
        (networks.control_effect.sel(control=others), CONTROLS[others], "all others"),
    ):
        for test, line, added in zip(MOVED[1:], ("--", "-"), ("", " (2k too)"), strict=True):
            axes.plot(networks.step, values.sel(test=test), line, marker=marker, ms=3, color=color, label=name + added)
    style.step_axis(axes, networks.step.values)
    axes.set(ylim=(-0.04, 1.04), ylabel="Fraction of predictions\nmoved by rotation")
    style.legend_right(axes, handlelength=3.2)  # long enough to show dashes


SITES = {
    "neurons_pre": "pre-activations",
    "neurons_post": "post-activations",
    "neurons_post_read": "post-activations, as read",
    "logits": "logits",
}
DEGREES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))  # color and marker of degrees 0, 1 and 2
TOP, NEVER = 2.2, 2.1  # upper limit of the axes, and position of a bar that never dies


@style.styled
def phase_alignment(circuits: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw (k a, k b) at the pair that maximizes each neuron at the last step, and the distribution of torus distances.

    Parameters
    ----------
    circuits : xarray.Dataset
        The measurement `circuits`, with the number of tokens in the attribute `classes`.
    """
    network = style.select_seed(circuits, seed).isel(step=-1)
    if not network.neuron_alignment_left.notnull().any():
        return style.empty_figure("no cluster of neurons")
    figure, ((left, right),) = style.frame(2.7, 1, 2, width=0.8 * style.WIDTH)
    left.set_box_aspect(1)
    _phase_pairs(left, network)
    _distances(right, network)
    style.panel_letters([left, right], offset=(-34, 6))
    return figure


def _phase_pairs(axes: Axes, network: xr.Dataset) -> None:
    """Draw each neuron of a cluster as a point of Z_p^2, and the diagonal of equal phases (for addition)."""
    p = int(network.attrs["classes"])
    left, right = (network[f"neuron_alignment_{side}"].values.ravel() for side in ("left", "right"))
    axes.plot([0, p - 1], [0, p - 1], color="0.7", lw=0.8, zorder=0)
    axes.scatter(left, right, s=9, color=BLUE, alpha=0.35, lw=0)
    ticks = range(0, p, 10 if p < 70 else 20)
    axes.set(xlim=(-1, p), ylim=(-1, p), xticks=ticks, yticks=ticks, aspect="equal")
    axes.set(xlabel=r"$k\,a$ mod $p$ (tokens)", ylabel=r"$k\,b$ mod $p$ (tokens)")


def _distances(axes: Axes, network: xr.Dataset) -> None:
    """Draw the torus distance over the neurons against that of independent uniform phases, with both means."""
    p = int(network.attrs["classes"])
    in_cluster = network.neuron_alignment_left.notnull() & network.neuron_torus_distance.notnull()
    distances = network.neuron_torus_distance.values[in_cluster.values]
    distance = np.arange((p + 1) // 2)
    share = np.array([np.mean(distances == value) for value in distance])
    uniform = np.where(distance == 0, 1, 2) / p
    axes.bar(
        distance, 100 * share, width=0.8, color=BLUE, label=f"{len(distances)} neurons, mean {distances.mean():.2f}"
    )
    label = f"uniform phases, mean {(p**2 - 1) / (4 * p):.2f}"
    axes.step(distance, 100 * uniform, where="mid", color=VERMILION, lw=1.2, label=label)
    axes.set(xlabel="Torus distance (tokens)", ylabel="Fraction of neurons (%)", xlim=(-0.8, distance[-1] + 0.8))
    axes.legend(loc="upper right")


@style.styled
def persistence_diagrams(topology: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw birth and death of the bars at the last step, one row per cluster and one column per site.

    Bars above the dotted line exceed the threshold and count; each panel shows the Betti numbers. The bar that
    never dies is drawn at the upper edge.

    Parameters
    ----------
    topology : xarray.Dataset
        The measurement `topology`.
    """
    clouds = style.select_seed(topology, seed).isel(step=-1).dropna("frequency", how="all", subset=["landmark_radius"])
    rows = clouds.sizes["frequency"]
    if not rows:
        return style.empty_figure("no cluster of neurons")
    figure, panels = style.frame(0.6 + 1.6 * rows, rows, len(SITES), sharex=True, sharey=True)
    for k, row in zip(clouds.frequency.values, panels, strict=True):
        for site, axes in zip(SITES, row, strict=True):
            _diagram(axes, clouds.sel(frequency=k, site=site), topology.attrs["threshold"])
        row[0].set_ylabel(f"$k$ = {k}")
    for site, axes in zip(SITES.values(), panels[0], strict=True):
        axes.set_title(site)
    figure.supxlabel("Birth (root-mean-square distance of the cloud from its center)")
    figure.supylabel("Death (same unit)")
    marks = [Line2D([], [], color=color, marker=marker, ls="", ms=4) for color, marker in DEGREES]
    figure.legend(marks, [f"$H_{degree}$" for degree in range(3)], loc="outside right upper")
    return figure


def _diagram(axes: Axes, cloud: xr.Dataset, threshold: float) -> None:
    axes.plot([0, TOP], [0, TOP], color="0.6", lw=0.7, zorder=0)
    axes.plot([0, TOP], [threshold, TOP + threshold], ":", color="0.4", lw=0.8, zorder=0)
    for degree, (color, marker) in enumerate(DEGREES):
        birth, death = cloud.persistence.sel(degree=degree).values.T
        death = np.where(np.isinf(death), NEVER, death)
        axes.plot(birth, death, marker, color=color, ms=3.2, mew=0, alpha=0.8, clip_on=False)
    numbers = cloud.betti.values
    text = "no cloud" if np.isnan(numbers).any() else f"({', '.join(f'{number:.0f}' for number in numbers)})"
    axes.text(0.97, 0.06, text, transform=axes.transAxes, ha="right")
    axes.set(xlim=(0, TOP), ylim=(0, TOP), xticks=[0, 1, 2], yticks=[0, 1, 2])
    axes.set_box_aspect(1)
