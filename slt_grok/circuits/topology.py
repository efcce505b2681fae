"""Betti numbers of the clusters' point clouds by persistent homology (2512.25060), with the library ripser.

The paper specifies neither threshold nor subsampling. Ours were tested on the ideal clouds with noise:

- A cloud is centered and scaled to a root-mean-square distance of 1 from its center, so that one threshold serves all
  frequencies, sites and training steps; nothing else is normalized, since whitening would turn an ellipse of noise into
  a disc.
- `LANDMARKS` points are selected, starting with the pair (0, 0), each the farthest from those before: the Vietoris-Rips
  complex of all p^2 points is out of reach, farthest points cover thin parts as well as dense ones, and the choice is
  invariant to the relabeling t -> m t.
- Homology over Z/2 in degrees 0, 1 and 2. A bar counts if it is longer than `THRESHOLD`. The torus's shortest bars have
  lengths 0.87 (degree 1) and 0.77 (degree 2); the longest spurious bar of disc, torus or clock has 0.2. A circle of
  radius r has a bar of length sqrt(3) r minus the spacing of its points: a hole counts for radii above about 0.4.
- In degree 0 a bar must also be longer than twice the covering radius e of the landmarks, since the landmarks of a
  connected cloud can be 2 e apart.

A cloud without any shape also gives (1, 0, 0): CKA distinguishes a disc from it. The `gap` tells how clear a count is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.circuits import geometry
from slt_grok.circuits.geometry import CLUSTER, LEAST_NEURONS, SHAPE, SITE
from slt_grok.circuits.measurement import CircuitMeasurement, chunks, require
from slt_grok.format import step
from slt_grok.groups import cyclic
from slt_grok.measurement import Context, Data, Drawing, Table, Variable, evenly_spaced
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.settings import Positive, Settings
from slt_grok.trajectories import Trajectory

LANDMARKS = 150
THRESHOLD = 0.5
DEGREES = (0, 1, 2)
BARS = 32  # longest bars to keep per diagram
SCALE = "the cloud centered and scaled to a root-mean-square distance of 1 from its center"
LENGTHS = "root-mean-square distance from the center"


class TopologySettings(Settings):
    """Settings of the measurement `topology`."""

    checkpoints: Positive = Field(default=3, description="number of checkpoints at which to measure the topology")
    landmarks: int = Field(default=LANDMARKS, ge=20)
    threshold: float = Field(default=THRESHOLD, gt=0)


class Topology(CircuitMeasurement):
    """Betti numbers and persistence diagrams at some checkpoints."""

    name = "topology"
    title = "Shape of the clusters of neurons"
    position = 33
    needs = geometry.Geometry.needs
    default = False
    Settings = TopologySettings
    variables = {
        "betti": Variable(("frequency", "site", "degree"), "Betti number",
            "number of bars of the Vietoris-Rips filtration over Z/2 on farthest-point landmarks (attribute landmarks) "
            f"that are longer than the attribute threshold, {SCALE}; in degree 0 also longer than 2 landmark_radius; "
            f"{SITE}; {CLUSTER}", f"{SHAPE}; threshold and landmarks are ours"),
        "persistence_gap": Variable(("frequency", "site", "degree"), "persistence gap",
            "shortest bar that counts (the limit if no finite bar does) minus the longest that does not (0 if "
            "there is none)", SHAPE, LENGTHS),
        "landmark_radius": Variable(("frequency", "site"), "covering radius of the landmarks",
            "largest distance of a point of the cloud from its nearest landmark",
            "Vietoris-Rips filtration on farthest-point landmarks", LENGTHS),
        "persistence": Variable(("frequency", "site", "degree", "bar", "end"), "persistence diagram",
            f"birth and death of the longest bars, {SCALE}", SHAPE, LENGTHS),
    }  # fmt: skip

    def measure(self, trajectory: Trajectory, settings: TopologySettings, context: Context) -> xr.Dataset:
        """See `Measurement`."""
        chosen = trajectory.isel(step=evenly_spaced(trajectory.coords["step"], settings.checkpoints))
        return context.in_shards(
            chosen,
            lambda shard, on_progress: measure(shard, settings.landmarks, settings.threshold, on_progress),
            size=1,
        )

    def figures(self) -> Sequence[Drawing]:
        """See `Result`."""
        from slt_grok import plots

        caption = (
            "Birth and death of the components (H0), loops (H1) and cavities (H2) of each cluster's cloud over all "
            "pairs of tokens. Bars above the dotted line count; the numbers are the Betti numbers."
        )
        return [Drawing("persistence_diagrams", plots.persistence_diagrams, caption, ("persistence",))]

    def notes(self, data: Data) -> Sequence[str]:
        """See `Result`."""
        dataset = data[self.name]
        if dataset.isel(step=-1).betti.isnull().all():
            return [f"No frequency has {LEAST_NEURONS} neurons at the last checkpoint: there is no shape to measure."]
        return [
            "A cloud without any shape also has the Betti numbers (1, 0, 0) of a disc; the alignment (CKA) with the "
            "ideal disc distinguishes the two."
        ]

    def tables(self, data: Data) -> Sequence[Table]:
        """See `Result`."""
        dataset, circuits = data[self.name], data.get("circuits")
        tables = [_betti(dataset.isel(seed=i)) for i in range(dataset.sizes["seed"])]
        if circuits is not None and "cka" in circuits:
            order = 2 * dataset.sizes["frequency"] + 1
            tables += [_cka(circuits.cka.isel(seed=i), order) for i in range(circuits.sizes["seed"])]
        return tables


@dataclass(frozen=True)
class Persistence:
    """Persistence diagrams of a cloud.

    Parameters
    ----------
    bars : tuple of ndarray
        Birth and death of every bar for degrees 0, 1 and 2, (number, 2), in descending order of length, in units of the
        root-mean-square distance from the center. The bar of degree 0 that never dies has death infinity.
    radius : float
        Covering radius of the landmarks, in the same units.
    """

    bars: tuple[np.ndarray, ...]
    radius: float

    @classmethod
    def of(cls, cloud: np.ndarray, landmarks: int = LANDMARKS) -> "Persistence | None":
        """Compute the diagrams of a cloud (points, dimensions); None if all its points coincide."""
        centered = cloud - cloud.mean(0)
        scale = np.sqrt(np.square(centered).sum(1).mean())
        if scale <= 1e-12 * np.abs(cloud).max(initial=0.0):
            return None
        from ripser import ripser

        result = ripser(centered / scale, maxdim=DEGREES[-1], n_perm=min(landmarks, len(cloud)))
        ordered = [bars[np.argsort(bars[:, 0] - bars[:, 1], kind="stable")] for bars in result["dgms"]]
        return cls(tuple(ordered), float(result["r_cover"]))

    def betti(self, threshold: float = THRESHOLD) -> list[int]:
        """Count the bars longer than the limit, in degrees 0, 1 and 2."""
        return [int((lengths > limit).sum()) for lengths, limit in self._lengths(threshold)]

    def gaps(self, threshold: float = THRESHOLD) -> list[float]:
        """Shortest bar that counts (the limit if no finite bar does) minus the longest that does not (0 if none).

        For degrees 0, 1 and 2, each >= 0: a small gap means that another threshold would change the count.
        """
        gaps = []
        for lengths, limit in self._lengths(threshold):
            counted = lengths[(lengths > limit) & np.isfinite(lengths)]
            shortest = counted.min() if len(counted) else limit
            gaps.append(float(shortest - lengths[lengths <= limit].max(initial=0.0)))
        return gaps

    def _lengths(self, threshold: float) -> list[tuple[np.ndarray, float]]:
        """Lengths of the bars, and the minimum length of a bar to count, in each degree."""
        limits = max(threshold, 2 * self.radius), threshold, threshold
        return [(bars[:, 1] - bars[:, 0], limit) for bars, limit in zip(self.bars, limits, strict=True)]


def measure(
    trajectory: Trajectory,
    landmarks: int = LANDMARKS,
    threshold: float = THRESHOLD,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Compute the persistent homology of every cluster of every network, at each of `geometry.SITES`.

    Parameters
    ----------
    trajectory : Trajectory
        Networks on a task on Z_n, whose model declares its neurons.
    landmarks, threshold : int, float, optional
        See the module docstring.
    on_progress : callable, optional
        Called with the completed fraction after each network.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory, then `frequency` and `site`: `betti` and
        `persistence_gap` over `degree`, `landmark_radius`, and `persistence` over (degree, bar, end), the `BARS`
        longest bars of the diagram. NaN if a frequency has no cluster of at least `geometry.LEAST_NEURONS` neurons, or
        a cloud is a single point.

    Raises
    ------
    SltGrokError
        A network that cannot be measured.
    """
    require(trajectory.network, Topology.needs)
    frequencies = cyclic(trajectory.task.classes).frequencies
    shape = (len(trajectory), len(frequencies), len(geometry.SITES))
    by_degree = (*shape, len(DEGREES))
    values: dict[str, np.ndarray] = {"betti": np.full(by_degree, np.nan), "persistence_gap": np.full(by_degree, np.nan)}
    values["landmark_radius"] = np.full(shape, np.nan)
    values["persistence"] = np.full((*by_degree, BARS, 2), np.nan)
    for network, chunk in enumerate(chunks(trajectory, size=1)):
        for (_, frequency), clouds in geometry.clusters(chunk):
            for site, cloud in enumerate(clouds.values()):
                if (diagrams := Persistence.of(cloud.numpy(), landmarks)) is None:
                    continue
                cell = network, frequency, site
                values["betti"][cell] = diagrams.betti(threshold)
                values["persistence_gap"][cell] = diagrams.gaps(threshold)
                values["landmark_radius"][cell] = diagrams.radius
                for degree, bars in enumerate(diagrams.bars):
                    values["persistence"][(*cell, degree, slice(len(bars)))] = bars[:BARS]
        on_progress((network + 1) / len(trajectory))
    coords = {"site": list(geometry.SITES), "degree": list(DEGREES), "end": ["birth", "death"]}
    dataset = Topology().dataset(trajectory, values, frequency=frequencies, **coords)
    return Topology().check(dataset).assign_attrs(landmarks=landmarks, threshold=threshold)


# -- tables -----------------------------------------------------------------------------------------------------------


def _betti(dataset: xr.Dataset) -> Table:
    """Tabulate the Betti numbers of one seed by step and site."""
    rows = []
    for at_step in (dataset.sel(step=value) for value in dataset.step):
        clusters = at_step.dropna("frequency", how="all", subset=["betti"])
        cells = [_cell(clusters.sel(site=site)) for site in geometry.SITES]
        rows.append([step(int(at_step.step)), str(clusters.sizes["frequency"]), *cells])
    caption = (
        f"Betti numbers of the neuron clusters, seed {int(dataset.seed)}: number of clusters with each, and the "
        f"smallest persistence gap of degrees 1 and 2 (bars longer than {dataset.attrs['threshold']:g} count; a small "
        "gap means that another threshold would change the count). (1, 0, 0) is a disc or no shape, (1, 1, 0) a "
        "circle, (1, 2, 1) a torus"
    )
    return Table(caption, ["Step", "Clusters", *geometry.SITE_NAMES.values()], rows)


def _cell(cloud: xr.Dataset) -> str:
    numbers = cloud.betti.values[np.isfinite(cloud.betti.values).all(-1)].astype(int)  # omits single points
    if not len(numbers):
        return "–"
    counts = Counter(tuple(row) for row in numbers.tolist()).most_common()
    gap = float(cloud.persistence_gap.sel(degree=[1, 2]).min())
    return f"{', '.join(f'{count} × {betti}' for betti, count in counts)}; gap {gap:.2f}"


def _cka(cka: xr.DataArray, order: int) -> Table:
    """Tabulate the CKA of one seed's clusters with the ideal clouds, and of these with each other."""
    last = cka.isel(step=-1)
    ideal = geometry.ideal_clouds(order, 1)
    values = {name: last.sel(site=site).values for site, name in geometry.SITE_NAMES.items()}
    values |= {f"Ideal {name}": geometry.cka(cloud, list(ideal.values())) for name, cloud in ideal.items()}
    rows = [[name, *(f"{value:.3f}" if np.isfinite(value) else "–" for value in row)] for name, row in values.items()]
    caption = (
        f"Alignment (CKA) of the clusters with ideal clouds at step {step(int(last.step))}, seed {int(last.seed)}, "
        "weighted by their numbers of neurons; below: of the ideal clouds with each other"
    )
    return Table(caption, ["Cloud", *(f"With the {name}" for name in geometry.CLOUDS)], rows)
