"""The figures of the page, each with its caption, written into the run's `figures/`."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from slt_grok import plots
from slt_grok.plots.style import with_seed
from slt_grok.report.llc import llc_setting


class Shown(NamedTuple):
    """A figure in the page: its picture as a data URI, what it shows, and whether it opens on demand."""

    name: str
    caption: str
    picture: str
    folded: bool = False


STEP_AXIS = "The step axis is logarithmic; step 0 stands at its left edge, linear up to the step that the label names."


def phase_transition(datasets: Mapping[str, xr.Dataset], folder: Path) -> list[Shown]:
    """Return the aligned figure of everything along training."""
    given = {name: datasets[name] for name in ("training", "llc", "circuits", "landscape") if name in datasets}
    if not given:
        return []
    figure = plots.phase_transition(**given, transitions=datasets.get("transitions"))
    caption = f"Everything measured along training, on one axis. {STEP_AXIS}"
    if "llc" in given:
        caption += (
            " LLC: the band is the 95% interval; hollow points have a status other than effective or converged, "
            f"a cross marks a diverged one; the values are {effective_short(given['llc'])}"
        )
    if "landscape" in given:
        caption += " Triangles at a lower edge: values of 0 or below, which a logarithmic axis cannot show."
    if "transitions" in datasets:
        caption += " Dashed lines: the middle of a transition; bars: its interval. Shaded: the phases."
    if any(with_seed(dataset).sizes["seed"] > 1 for dataset in given.values()):
        caption += " Thin lines: one seed; thick lines: the median over seeds; bars reach over all seeds' intervals."
    return [shown(plots.save(figure, folder, "phase_transition")[0], caption)]


def llc_traces(llc: xr.Dataset, folder: Path) -> list[Shown]:
    """Traces of the chains, a figure for each seed."""
    caption = (
        "Loss along the LLC's chains at checkpoints spread over training{note}. The LLC is nβ times the gap "
        f"between the chains' mean after burn-in and the baseline. The values are {effective_short(llc)}"
    )
    return by_seed(plots.llc_traces, llc, folder, "llc_traces", caption)


def llc_diagnostics(llc: xr.Dataset, folder: Path) -> list[Shown]:
    """Return what the statuses rest on, a figure for each seed, all opening on demand."""
    caption = (
        "What the statuses of the LLC rest on{note}. Dashed: the limits beyond which an estimate is not called "
        "well sampled. Drift: the LLC of the second half of the draws minus that of the first, as a share of the "
        "LLC. Virial: 1 in equilibrium. Acceptance: of a Metropolis-adjusted Langevin proposal with the chains' "
        "step, or the sampler's own. Hollow points have a status other than effective or converged."
    )

    found = by_seed(plots.llc_diagnostics, llc, folder, "llc_diagnostics", caption)
    return [figure._replace(folded=True) for figure in found]


def refined_llc(refined: xr.Dataset, folder: Path) -> list[Shown]:
    """LLCs with some of the weights moving, or on other data, a figure for each seed."""
    caption = (
        "Refined LLCs{note}: all weights on the train, the test and all pairs; each matrix and each attention "
        "head alone; in the tables over the tokens and answers, the planes of each key frequency alone, with as "
        "many frequencies drawn at random in gray; and per 1,000 dimensions all key frequencies together against "
        "everything else in the same tables. Bands are 95% intervals. On a quadratic loss the parts never sum to "
        "less than the whole; where they do here, the loss rises only once several of them move together. A "
        "checkpoint need not be a minimum for pairs that it was not trained on. Hollow points have a status other "
        f"than effective or converged; the values are {effective_short(refined)}"
    )
    return by_seed(plots.refined_llc, refined, folder, "refined_llc", caption)


def attribution(dataset: xr.Dataset, folder: Path) -> list[Shown]:
    """Return the drop of the LLC split over its parts, a figure for each seed that has one."""
    found = []
    for seed, file, note in names(dataset, "attribution"):
        if not np.isfinite(dataset["drop"].sel(seed=seed)).any():
            continue
        caption = (
            f"The LLC where it is largest minus that at the end{note}, of each part moved alone, with 95% intervals, "
            "and as per cent of that of all weights. Hatched: what the parts do not account for, the drop of the whole "
            "that they split (dark) minus theirs; it is the change of how much they share or need each other."
        )
        path = plots.save(plots.attribution(dataset, seed=seed), folder, file)[0]
        found.append(shown(path, caption, folded=bool(found)))
    return found


def calibration(dataset: xr.Dataset, folder: Path) -> list[Shown]:
    """How the LLC moves with step, n_beta and gamma around the choice."""
    marks = "Bars are 95% intervals, hollow points have a status other than effective or converged, rings the choice."
    steps = plots.save(plots.llc_by_step(dataset), folder, "llc_by_step")[0]
    gammas = plots.save(plots.llc_by_gamma(dataset), folder, "llc_by_gamma")[0]
    return [
        shown(steps, f"LLC over step size and nβ at γ = {dataset.attrs['gamma']:g}, at three checkpoints. {marks}"),
        shown(gammas, f"LLC over γ at nβ = {dataset.attrs['n_beta']:g}, at the same checkpoints. {marks}"),
    ]


def confound(dataset: xr.Dataset, folder: Path) -> list[Shown]:
    """Return the LLC under three treatments of the weights' scale, a figure for each seed."""
    caption = (
        "The LLC under three treatments of the weights' scale{note}, with 95% bands; below, the train loss of the "
        "networks as trained and with all weights scaled to the last checkpoint's norm. Hollow points have a "
        "status other than effective or converged."
    )
    return by_seed(plots.confound, dataset, folder, "confound", caption)


def causal(dataset: xr.Dataset, folder: Path) -> list[Shown]:
    """Interventions on the circuit beside their controls, a figure for each seed."""
    caption = (
        "Interventions in the planes of the circuit's frequencies at the last checkpoint{note}, and the same on "
        "controls. One frequency at a time: the smallest effect over the circuit, the largest over all others. "
        "Rotation and the planes of another token are of the first token alone, and answers count as moved where "
        "they are those of the token that gave its planes. Below, what rotation moves over training, with the "
        "circuit's frequencies doubled counted to it (solid) or not (dashed)."
    )
    return by_seed(plots.causal, dataset, folder, "causal", caption)


def baseline_comparison(
    name: str,
    plain: Mapping[str, xr.Dataset],
    own: Mapping[str, xr.Dataset],
    config: Mapping[str, object],
    changes: Sequence[int],
    folder: Path,
) -> list[Shown]:
    """Return an intervened run beside the plain one of that name; nothing where that is not there."""
    if not plain:
        return []
    mine = {label: own[label] for label in plain if label in own}
    figure = plots.baseline_comparison(plain, mine, (name, str(config.get("name"))), changes)
    caption = (
        f"This run (solid) beside {name} (broken): test accuracy, LLC with 95% bands, excluded loss on the train pairs "
        "for the key frequencies of each run, and the norm of all weights. Dotted: where training was changed. Hollow "
        "points have a status other than effective or converged. LLCs compare at the same setting only."
    )
    return [shown(plots.save(figure, folder, "baseline_comparison")[0], caption)]


def interventions(dataset: xr.Dataset, folder: Path) -> list[Shown]:
    """Interventions on the weights beside their controls, a figure for each seed."""
    caption = (
        "Checkpoints after interventions on their weights{note}, each measured anew: with nothing but the last "
        "checkpoint's circuit, or without it, in the tables over tokens and answers (planes of the key "
        "frequencies), in the neurons (those of one key frequency) or in both; and with one part of the weights "
        "from another checkpoint. Broken lines: the mean over random frequencies, neurons and planes of the same "
        "number. The LLC's axis is linear between -10 and 10, bars are 95% intervals, hollow points have a status "
        f"other than effective or converged; the values are {effective_short(dataset)}"
    )
    return by_seed(plots.interventions, dataset, folder, "interventions", caption)


def spectrum(circuits: xr.Dataset, folder: Path) -> list[Shown]:
    """Spectra of embedding and neuron-logit map and neuron clusters, a figure for each seed."""
    older = "neuron_logit_map_spectrum" not in circuits
    of = "the embedding (W_E)" if older else "the embedding (W_E) and of the neuron-logit map (W_L)"

    caption = (
        f"Above: share of the squared norm of {of} at each Fourier frequency over training{{note}}, each column "
        "reaching half way to the neighboring checkpoints; numbers at the edge name the last checkpoint's key "
        "frequencies. Below: how many neurons have more than 85% of their variance at a frequency, the key ones in "
        f"the same colors. {STEP_AXIS}"
    )
    return by_seed(plots.spectrum, circuits, folder, "spectrum", caption)


def circuit_maps(maps: xr.Dataset, folder: Path) -> list[Shown]:
    """Embedding circles, activation grids and the logits' spectrum, a figure of each for each seed.

    Circles and grids are left out where no seed has a frequency in its circuit.
    """
    circles = (
        "Each token in the plane of the embedding that belongs to a key frequency k{note}, joined and colored in "
        "the order of k t mod p, once the train set is memorized, once the network generalizes, and at the end: on "
        "a circle the embedding holds tokens as angles. Per cent: share of the embedding's squared norm in the "
        "plane; FVE: share of that which goes round k times; control: a frequency that the circuit does not use."
    )
    grids = (
        "What three neurons of each key frequency do on all pairs of tokens at the last checkpoint{note}, from "
        "the left the one with most, with middling and with least of its variance at that frequency (FVE)."
    )
    logits = (
        "How strongly the logits of the last checkpoint{note} follow each product of a wave of a and a wave of b: "
        "waves of a + b (or a - b) alone lie in the 2 × 2 blocks where both have the same frequency."
    )
    found = []
    if maps.circuit_frequency.any():
        found += by_seed(plots.embedding_circles, maps, folder, "embedding_circles", circles)
        found += by_seed(plots.activation_grids, maps, folder, "activation_grids", grids)
    return found + by_seed(plots.logit_spectrum, maps, folder, "logit_spectrum", logits)


def clock_pizza_plane(circuits: xr.Dataset, folder: Path) -> list[Shown]:
    """All seeds between clock and pizza; nothing where the two measures are not there or nowhere defined."""
    measures = ("gradient_symmetricity", "distance_irrelevance_top_wrong")
    if not all(name in circuits for name in measures):
        return []
    if not np.logical_and.reduce([np.isfinite(circuits[name].values) for name in measures]).any():
        return []
    caption = (
        "Where each checkpoint stands between pizza (gradients the same for both tokens, logits that depend on their "
        "distance) and clock, from the hollow first to the full last one. Dashed: the published boundaries "
        "(arXiv:2306.17844). Bars: 95% intervals of the sampled gradient symmetricity, mostly smaller than the points."
    )
    figure = plots.clock_pizza_plane({"this run": circuits})
    return [shown(plots.save(figure, folder, "clock_pizza_plane")[0], caption)]


def topology(dataset: xr.Dataset, circuits: xr.Dataset | None, folder: Path) -> list[Shown]:
    """Phase alignment and persistence diagrams at the last checkpoint, a figure of each for each seed."""
    alignment = (
        "Where each neuron is largest, on the grid of its own frequency{note}: left, neurons on the diagonal (of "
        "addition) have equal phases for both tokens, and their cluster is a disc; independent phases fill the "
        "grid, a torus. Right, the distance from the diagonal beside that of independent phases."
    )
    diagrams = (
        "Birth and death of the components (H0), loops (H1) and cavities (H2) of each cluster's cloud over all "
        "pairs of tokens{note}. Those above the dotted line count; the numbers are the Betti numbers."
    )
    found = []
    if circuits is not None and "neuron_alignment_left" in circuits:
        found += by_seed(plots.phase_alignment, circuits, folder, "phase_alignment", alignment)
    return found + by_seed(plots.persistence_diagrams, dataset, folder, "persistence_diagrams", diagrams)


def by_seed(draw: Callable[..., Figure], dataset: xr.Dataset, folder: Path, name: str, caption: str) -> list[Shown]:
    """Return a figure for each seed, all but the first opening on demand.

    `{note}` of the caption then names the seed.
    """
    found: list[Shown] = []
    for seed, file, note in names(dataset, name):
        path = plots.save(draw(dataset, seed=seed), folder, file)[0]
        found.append(shown(path, caption.format(note=note), folded=bool(found)))
    return found


def names(dataset: xr.Dataset, name: str) -> list[tuple[int, str, str]]:
    """Seed, file name and a note for the caption; a single seed needs neither suffix nor note."""
    found = (dataset if "seed" in dataset.dims else with_seed(dataset)).seed.values.tolist()
    if len(found) == 1:
        return [(found[0], name, "")]
    return [(seed, f"{name}_seed{seed}", f", seed {seed}") for seed in found]


def shown(path: Path, caption: str, folded: bool = False) -> Shown:
    """Return a written SVG as a data URI, so that the page needs no other file."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return Shown(path.stem, caption, f"data:image/svg+xml;base64,{data}", folded)


def effective_short(llc: xr.Dataset) -> str:
    """Return the caption's form of the statement beside every LLC."""
    where = llc_setting(llc) or "their nβ and γ"
    return f"effective ones at {where}, comparable at the same setting only."
