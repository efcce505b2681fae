"""Effects of interventions on one network's Fourier planes on its train loss or its answers.

Sources: Nanda et al. 2301.05217, sections 4.4 and 5.1 (removing and keeping frequencies, replacing the logits by the
clock); Zhong et al. 2306.17844, section 5 (a pizza's accompanying circles, here those at twice its frequencies). Moving
planes to other tokens is ours. Everything here requires a task on Z_n.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from slt_grok.circuits.progress import excluded_by_frequency
from slt_grok.groups import Group, cyclic
from slt_grok.interventions.planes import Change, Site, change_planes, changed, clock_part
from slt_grok.models.network import cross_entropy
from slt_grok.trajectories import Trajectory

SITES: Mapping[Site, str] = {"embedding": "embedding", "neurons_post": "neurons", "logits": "logits"}


class Intervention(NamedTuple):
    """An intervention on some planes.

    Parameters
    ----------
    site, new, only : Site, Change, bool
        See `change_planes`.
    tokens : {"shifted", "renamed"} or None, optional
        Tokens of a draw that provide their planes, in place of `new`. The effect is then the fraction of all pairs (a,
        b) answered as (a', b); otherwise it is the train loss relative to that before.
    separately : bool, optional
        Whether frequencies are changed one at a time rather than together.
    accompanied : bool, optional
        Whether the doubled frequencies count as part of the circuit.
    """

    site: Site
    new: Change = torch.zeros_like
    only: bool = False
    tokens: Literal["shifted", "renamed"] | None = None
    separately: bool = False
    accompanied: bool = False


INTERVENTIONS = {
    **{f"one frequency removed, {name}": Intervention(site, separately=True) for site, name in SITES.items()},
    **{f"all removed, {name}": Intervention(site) for site, name in SITES.items()},
    **{f"only these kept, {name}": Intervention(site, torch.clone, only=True) for site, name in SITES.items()},
    "clock in place of logits": Intervention("logits", clock_part, only=True),
    "planes of another token": Intervention("embedding_first", tokens="renamed"),
    "planes rotated": Intervention("embedding_first", tokens="shifted"),
    "planes and accompanying rotated": Intervention("embedding_first", tokens="shifted", accompanied=True),
}


class Draw(NamedTuple):
    """Random choices.

    Parameters
    ----------
    order : ndarray
        Order of the frequencies, counted from 0, int64 (K,).
    shifted, renamed : ndarray
        Tokens that provide their planes to 0..n-1: all shifted alike, or along one cycle through all, int64 (n,).
    """

    order: np.ndarray
    shifted: np.ndarray
    renamed: np.ndarray

    @classmethod
    def of(cls, group: Group, generator: np.random.Generator) -> "Draw":
        """Draw an order, a shift by 1..n-1, and one cycle through all tokens (none keeps its own planes)."""
        n = group.order
        cycle = generator.permutation(n)
        renamed = np.empty_like(cycle)
        renamed[cycle] = np.roll(cycle, 1)
        shift = generator.integers(1, n)
        return cls(generator.permutation(len(group.frequencies)), (np.arange(n) + shift) % n, renamed)


class Effect(NamedTuple):
    """An effect; NaN where it is unknown.

    Parameters
    ----------
    value : float
        The effect.
    norm : float
        Norm of the changed planes.
    error : float
        Standard error, of a mean over draws.
    """

    value: float = math.nan
    norm: float = math.nan
    error: float = math.nan


@dataclass(frozen=True)
class Intervened:
    """One network, with cached values from before any intervention.

    Parameters
    ----------
    trajectory : Trajectory
        A single network without leading coordinates, in float64.
    """

    trajectory: Trajectory

    @property
    def group(self) -> Group:
        """Z_n."""
        return cyclic(self.trajectory.task.classes)

    @cached_property
    def logits(self) -> Tensor:
        """The logits on the grid, (n^2, n)."""
        return self._outputs(self.trajectory, self.trajectory.task.inputs)

    @cached_property
    def loss(self) -> float:
        """Train loss in nats."""
        return self._loss(self.logits[self.trajectory.task.indices("train")])

    @property
    def accuracy(self) -> float:
        """Fraction of all pairs answered correctly."""
        return (self.logits.argmax(-1) == self.trajectory.task.labels).double().mean().item()

    @cached_property
    def power(self) -> dict[str, np.ndarray]:
        """Squared norm of the planes of each frequency at each site, (K,)."""
        network, task, group = self.trajectory.network, self.trajectory.task, self.group
        stack = self.trajectory.stacked()
        post = network.stacked_sites(stack, task.inputs, "neurons_post")["neurons_post"][0]
        embedding = network.module.token_embedding(stack)[0]  # pyright: ignore[reportCallIssue]
        # a function of s appears n times on the grid
        on_grid = [group.order**0.5 * group.means_by_product(values, task.sign) for values in (post, self.logits)]
        power = [group.power(group.transform(table)).numpy() for table in (embedding, *on_grid)]
        return dict(zip(SITES, power, strict=True)) | {"embedding_first": power[0]}

    def norm(self, act: Intervention, planes: np.ndarray | np.intp) -> float:
        """Norm of the planes (a bool mask or an index) at the site before the intervention."""
        return float(self.power[act.site][planes].sum() ** 0.5)

    def value(self, act: Intervention, planes: np.ndarray, draw: Draw) -> float:
        """Compute the effect of an intervention on the planes (a bool mask)."""
        task, tokens = self.trajectory.task, None if act.tokens is None else getattr(draw, act.tokens)
        new = act.new if tokens is None else lambda values: values[tokens]
        train = task.indices("train")
        if act.site == "logits":
            logits = changed(self.logits, torch.from_numpy(planes), self.group, new, act.only, task.sign)
        else:
            network = change_planes(self.trajectory, planes, act.site, new=new, only=act.only)
            if act.site == "embedding":  # needs only the train pairs
                return self._loss(self._outputs(network, task.inputs[train])) / self.loss
            logits = self._outputs(network, task.inputs)
        if tokens is None:
            return self._loss(logits[train]) / self.loss
        moved = task.labels.unflatten(0, (self.group.order, -1))[tokens].flatten()
        return (logits.argmax(-1) == moved).double().mean().item()

    def mean(self, act: Intervention, sets: Sequence[np.ndarray], drawn: Sequence[Draw]) -> Effect:
        """Average the effect over sets of planes, each with its draw; one set without moved tokens is not random."""
        if act.tokens is None and len({planes.tobytes() for planes in sets}) == 1:
            return Effect(self.value(act, sets[0], drawn[0]), self.norm(act, sets[0]))
        values = [self.value(act, *pair) for pair in zip(sets, drawn, strict=True)]
        norm = float(np.mean([self.norm(act, planes) for planes in sets]))
        return Effect(float(np.mean(values)), norm, float(np.std(values, ddof=1) / len(values) ** 0.5))

    def one_by_one(self, act: Intervention, which: np.ndarray, draw: Draw) -> np.ndarray:
        """Compute the effect on each frequency of a mask, (K,); NaN for the others, except at the logits."""
        if act.site == "logits":
            task, train = self.trajectory.task, self.trajectory.task.indices("train")
            table = self.group.means_by_product(self.logits, task.sign)
            products, labels = self.group.products(task.sign)[train], task.labels[train]
            losses = excluded_by_frequency(self.logits[None, train], table[None], products, labels, self.group)
            return losses[0].numpy() / self.loss
        values = np.full(len(which), np.nan)
        for place in np.flatnonzero(which):
            values[place] = self.value(act, np.arange(len(which)) == place, draw)
        return values

    def circuit(self, act: Intervention, circuit: np.ndarray, drawn: Sequence[Draw]) -> Effect:
        """Compute the effect on the circuit; one frequency at a time, it is the smallest effect of any."""
        if not circuit.any():
            return Effect()
        if act.separately:
            values = np.where(circuit, self.one_by_one(act, circuit, drawn[0]), np.inf)
            return Effect(values.min(), self.norm(act, values.argmin()))
        return self.mean(act, [planes_of(act, circuit, self.group.order)] * len(drawn), drawn)

    def _outputs(self, network: Trajectory, inputs: Tensor) -> Tensor:
        return network.network.outputs(network.parameters, inputs)

    def _loss(self, logits: Tensor) -> float:
        task = self.trajectory.task
        return cross_entropy(logits, task.labels[task.indices("train")]).mean().item()


def planes_of(act: Intervention, circuit: np.ndarray, order: int) -> np.ndarray:
    """Add 2k mod n to the circuit's frequencies for each k if the intervention is accompanied.

    The frequency 2k is folded to 1..floor(n/2); 0, from k = n/2, has no plane.
    """
    if not act.accompanied:
        return circuit
    double = 2 * (np.flatnonzero(circuit) + 1)
    folded = np.minimum(double, order - double)
    accompanied = circuit.copy()
    accompanied[folded[folded > 0] - 1] = True
    return accompanied
