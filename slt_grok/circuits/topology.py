"""Betti numbers of the clusters' clouds by persistent homology (2512.25060), with the library ripser.

The paper states neither threshold nor subsampling. Ours, tested on the ideal clouds with noise:

- A cloud is centered and scaled to a root-mean-square distance of 1 from its center, so that one threshold serves all
  frequencies, sites and training steps; nothing else is normalized, since whitening would turn an ellipse of noise into
  a disc.
- `LANDMARKS` points of it, each the farthest from those before, the first one the pair (0, 0): the Vietoris-Rips
  complex of all p^2 points is out of reach, farthest points cover a thin part as well as a dense one, and the choice
  is the same under the relabeling t -> m t.
- Homology over Z/2 in degrees 0, 1 and 2. A bar counts where it is longer than `THRESHOLD`. The torus's shortest are
  0.87 (degree 1) and 0.77 (degree 2) long, the longest that belong to no feature of disc, torus and clock 0.2. A circle
  of radius r has a bar of length sqrt(3) r less the spacing of its points: a hole counts from a radius of about 0.4 on.
- In degree 0 a bar must also be longer than twice the covering radius e of the landmarks: those of a connected cloud
  may lie 2 e apart.

(1, 0, 0) is also what a cloud without any shape gives: CKA tells a disc from it. How clear a count is, is said by its
`gap`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from ripser import ripser

from slt_grok import fourier
from slt_grok.circuits import geometry, neurons
from slt_grok.circuits.measurement import circuit_parts
from slt_grok.circuits.variables.geometry import TOPOLOGY
from slt_grok.trajectories import Trajectory

LANDMARKS = 150
THRESHOLD = 0.5
DEGREES = (0, 1, 2)
BARS = 32  # the longest ones of a diagram that are kept

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Persistence:
    """Persistence diagrams of a cloud.

    Parameters
    ----------
    bars : tuple[ndarray, ...]
        For degrees 0, 1 and 2 birth and death of every bar, (number, 2), the longest first; in units of the
        root-mean-square distance from the center. The bar of degree 0 that never dies has the death infinity.
    radius : float
        Covering radius of the landmarks, in the same unit.
    """

    bars: tuple[np.ndarray, ...]
    radius: float

    @classmethod
    def of(cls, cloud: np.ndarray, landmarks: int = LANDMARKS) -> "Persistence | None":
        """Of a cloud (points, dimensions); None where all its points are one."""
        centered = cloud - cloud.mean(0)
        scale = np.sqrt(np.square(centered).sum(1).mean())
        if scale <= 1e-12 * np.abs(cloud).max(initial=0.0):
            return None
        found = ripser(centered / scale, maxdim=DEGREES[-1], n_perm=min(landmarks, len(cloud)))
        ordered = [bars[np.argsort(bars[:, 0] - bars[:, 1], kind="stable")] for bars in found["dgms"]]
        return cls(tuple(ordered), float(found["r_cover"]))

    def limits(self, threshold: float = THRESHOLD) -> tuple[float, ...]:
        """How long a bar must be to count, in each degree."""
        return max(threshold, 2 * self.radius), threshold, threshold

    def betti(self, threshold: float = THRESHOLD) -> list[int]:
        """Betti numbers: bars longer than the limit, in degrees 0, 1 and 2."""
        return [
            int((length > limit).sum()) for length, limit in zip(self._lengths, self.limits(threshold), strict=True)
        ]

    def gaps(self, threshold: float = THRESHOLD) -> list[float]:
        """Shortest bar that counts (the limit where no finite one does) minus the longest that does not (0: none).

        Of degrees 0, 1 and 2, each >= 0: a small gap is a count that another threshold would change.
        """
        found = []
        for length, limit in zip(self._lengths, self.limits(threshold), strict=True):
            counted = length[(length > limit) & np.isfinite(length)].min(initial=np.inf)
            found.append(float((counted if np.isfinite(counted) else limit) - length[length <= limit].max(initial=0.0)))
        return found

    @property
    def _lengths(self) -> list[np.ndarray]:
        return [bars[:, 1] - bars[:, 0] for bars in self.bars]


def measure(
    trajectory: Trajectory,
    landmarks: int = LANDMARKS,
    threshold: float = THRESHOLD,
    on_progress: OnProgress | None = None,
) -> xr.Dataset:
    """Return persistent homology of every cluster of every network, at each of `geometry.SITES`.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on a modular task, p an odd prime.
    landmarks, threshold : int, float, optional
        See the module's docstring.
    on_progress : OnProgress or None, optional
        Called with (networks done, networks in all) after each network.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory, then `frequency` and `site`: `betti` and
        `persistence_gap` over `degree`, `landmark_radius`, and `persistence` over (degree, bar, end), the diagram's
        `BARS` longest bars. NaN where a frequency has no cluster of at least `geometry.LEAST_NEURONS` neurons, or a
        cloud is a single point.

    Raises
    ------
    SltGrokError
        A network that is not of this package or has no task, or p not an odd prime.
    """
    module, task = circuit_parts(trajectory.network)
    frequencies = fourier.frequencies(task.modulus)
    shape = (len(trajectory), len(frequencies), len(geometry.SITES))
    betti = np.full((*shape, len(DEGREES)), np.nan)
    gap, radius = betti.copy(), np.full(shape, np.nan)
    bars = np.full((*shape, len(DEGREES), BARS, 2), np.nan)
    stacked = trajectory.stacked()
    for network in range(len(trajectory)):
        stack = {name: tensor[[network]].double() for name, tensor in stacked.items()}
        sites = trajectory.network.stacked_sites(stack, task.inputs, "neurons_pre", "neurons_post", "logits")
        fve = neurons.fraction_of_variance_explained(sites["neurons_post"])
        belongs = neurons.in_cluster(fve, module.activation is torch.square)
        for cluster in geometry.clusters(sites, module.neuron_logit_map(stack), fve.argmax(-1) + 1, belongs):
            for site, cloud in enumerate(cluster.clouds.values()):
                found = Persistence.of(cloud.numpy(), landmarks)
                if found is None:
                    continue
                at = network, cluster.frequency - 1, site
                betti[at], gap[at], radius[at] = found.betti(threshold), found.gaps(threshold), found.radius
                for degree, each in enumerate(found.bars):
                    bars[(*at, degree, slice(len(each[:BARS])))] = each[:BARS]
        if on_progress is not None:
            on_progress(network + 1, len(trajectory))
    values = {"betti": betti, "persistence_gap": gap, "landmark_radius": radius, "persistence": bars}
    dataset = trajectory.dataset(
        {name: (dims, values[name], attrs) for name, (dims, attrs) in TOPOLOGY.items()},
        frequency=frequencies,
        site=list(geometry.SITES),
        degree=list(DEGREES),
        end=["birth", "death"],
    )
    return dataset.assign_attrs(landmarks=landmarks, threshold=threshold)
