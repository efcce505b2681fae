"""What the clusters of neurons look like: Betti numbers and CKA with the ideal clouds (2512.25060)."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import xarray as xr

from slt_grok.circuits import geometry
from slt_grok.plots.persistence import SITES
from slt_grok.plots.style import with_seed
from slt_grok.report.tables import Table
from slt_grok.report.words import listing, step

SHAPES: dict[tuple[int, ...], str] = {
    (1, 0, 0): "disc",
    (1, 1, 0): "circle",
    (1, 2, 1): "torus",
}  # by Betti numbers 0, 1, 2
PLACES = {  # of the sites, in a sentence
    "neurons_pre": "before the activation",
    "neurons_post": "after it",
    "neurons_post_read": "in what the unembedding reads of them",
    "logits": "at the logits",
}


def sentences(dataset: xr.Dataset) -> list[str]:
    """Of which shapes the clusters are at the last checkpoint, a sentence for each seed."""
    dataset, found = with_seed(dataset), []
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed).isel(step=-1)
        clusters = _clusters(one)
        at = f"{f'Seed {seed}: at' if dataset.sizes['seed'] > 1 else 'At'} step {step(int(one.step))}"
        if not clusters.sizes["frequency"]:
            found.append(f"{at} there is no shape to measure: no frequency has {geometry.LEAST_NEURONS} neurons.")
            continue
        counted = {site: _counts(clusters.betti.sel(site=site)) for site in SITES}
        shapes = [f"{_shapes(counts)} {PLACES[site]}" for site, counts in counted.items()]
        keys = clusters.frequency.values.tolist()
        several = f"the {len(keys)} clusters of neurons (frequencies {listing(keys)}) have"
        who = several if len(keys) > 1 else f"the neurons of frequency {keys[0]} have"
        found.append(f"{at} {who} the Betti numbers of {listing(shapes)}.")
    if any("disc" in sentence for sentence in found):
        found.append(
            "A cloud without any shape has the Betti numbers of a disc, too: what tells them apart is the alignment "
            "(CKA) with the ideal disc."
        )
    return found


def tables(dataset: xr.Dataset, circuits: xr.Dataset | None) -> list[Table]:
    """For each seed Betti numbers by site and step, and the CKA of the last checkpoint beside that of ideal clouds."""
    dataset = with_seed(dataset)
    several = dataset.sizes["seed"] > 1
    cka = None if circuits is None or "cka" not in circuits else with_seed(circuits).cka
    made = []
    for seed in dataset.seed.values.tolist():
        one, which = dataset.sel(seed=seed), f", seed {seed}" if several else ""
        made.append(_betti(one, which, several))
        if cka is not None and seed in cka.seed.values:
            made.append(_cka(cka.sel(seed=seed), 2 * dataset.sizes["frequency"] + 1, which, several))
    return made


def _betti(one: xr.Dataset, which: str, folded: bool) -> Table:
    rows = []
    for at in one.step.values.tolist():
        clusters = _clusters(one.sel(step=at))
        cells = [_cell(clusters.sel(site=site)) for site in SITES]
        rows.append([step(at), str(clusters.sizes["frequency"]), *cells])
    caption = (
        f"Betti numbers of the clusters of neurons{which}: how many have which, and the smallest persistence gap of "
        f"degrees 1 and 2 (bars count beyond {one.attrs['threshold']:g}; a small gap is a count that another threshold "
        "would change). (1, 0, 0) is a disc or no shape at all, (1, 1, 0) a circle, (1, 2, 1) a torus"
    )
    return Table(caption, ["Step", "Clusters", *map(str.capitalize, SITES.values())], rows, folded)


def _cell(cloud: xr.Dataset) -> str:
    counts = _counts(cloud.betti)
    if not counts:
        return "–"
    numbers = ", ".join(f"{count} × ({', '.join(map(str, betti))})" for betti, count in counts)
    gap = float(cloud.persistence_gap.sel(degree=[1, 2]).min())
    return f"{numbers}; gap {gap:.2f}"


def _cka(cka: xr.DataArray, modulus: int, which: str, folded: bool) -> Table:
    last = cka.isel(step=-1)
    ideal = geometry.ideal_clouds(modulus, 1)
    together = {name: geometry.cka(cloud, list(ideal.values())).tolist() for name, cloud in ideal.items()}
    rows = [[name.capitalize(), *map(_value, last.sel(site=site).values)] for site, name in SITES.items()]
    rows += [[f"Ideal {name}", *map(_value, values)] for name, values in together.items()]
    caption = (
        f"Alignment (CKA) of the clusters with ideal clouds at step {step(int(last.step))}{which}, weighted by their "
        "numbers of neurons; below, that of the ideal clouds with each other"
    )
    return Table(caption, ["Cloud", *(f"With the {name}" for name in geometry.CLOUDS)], rows, folded)


def _clusters(one: xr.Dataset) -> xr.Dataset:
    return one.dropna("frequency", how="all", subset=["betti"])


def _counts(betti: xr.DataArray) -> list[tuple[tuple[int, ...], int]]:
    """Betti numbers with how many clusters have them, the commonest first; a single point has none."""
    rows = betti.values[np.isfinite(betti.values).all(-1)].astype(int)
    return Counter(tuple(row.tolist()) for row in rows).most_common()


def _shapes(counts: Sequence[tuple[tuple[int, ...], int]]) -> str:
    """Return `a circle` where all clusters are of one shape, `a circle (3) or a disc (1)` otherwise."""
    names = [(f"a {SHAPES[betti]}" if betti in SHAPES else f"no known shape {betti}", count) for betti, count in counts]
    if not names:
        return "a point"
    return names[0][0] if len(names) == 1 else " or ".join(f"{name} ({count})" for name, count in names)


def _value(share: float) -> str:
    return f"{share:.3f}" if np.isfinite(share) else "–"
