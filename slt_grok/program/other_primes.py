"""Transfer a program's frequencies to another prime, and write weights that implement them, without training.

A program on Z_p is its operation and the amplitudes A_k of its frequencies k. A token's turn at frequency k is k/p,
kept as closely as p' allows: in order of decreasing |A_k|, each frequency becomes the one in 1..(p'-1)/2 nearest to k
p'/p that is not yet taken (the smaller one in a tie). The margin for p' has a closed form before any weights are
written:

    clock    worst margin min_d sum_k A_k (1 - cos w_k d), d = 1..p'-1, exact (to about 1% through a GELU, see
             `slt_grok.models.planting`)
    pizza    min_{e, d} sum_k |cos(w_k e / 2)| (B_k (1 - cos w_k d) - 2 |B_k| r), e = a - b, with the residual r of
             `slt_grok.models.planted.pizza_residual`: a lower bound on the worst margin. B_k = A_k / mean |cos|, the
             mean over Z_p', so that the clock that best fits the pizza has the amplitudes A_k

The turns of a larger prime nearly repeat after p tokens, since p k'/p' is nearly an integer, so the nearest frequencies
can have a small margin. If, and only if, it is below the target, frequencies may shift by up to 1, 2, 4, ... places of
p' until the margin is reached; each moves in turn to its best place until none improves. If no shift suffices, the
frequency that improves the margin most is added, with the mean amplitude. The clock has the form of Nanda et al.
2301.05217, section 4.1, the pizza that of Zhong et al. 2306.17844, section 4; the transfer rule is ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from torch.nn.functional import relu

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.models.planted import pizza_residual
from slt_grok.models.planting import plant
from slt_grok.program.constants import Constants, ring_mean
from slt_grok.program.tokens import ANGLES
from slt_grok.tasks import ModularTask, is_prime
from slt_grok.trajectories import Network, Trajectory

Circuit = Literal["clock", "pizza"]
LEAST = 1.0  # target worst margin, in nats: the correct answer is e times as likely as any other


@dataclass(frozen=True)
class Transferred:
    """The program's frequencies for another prime.

    Parameters
    ----------
    amplitudes : dict of int to float
        Frequency of p' -> its amplitude.
    origins : dict of int to int or None
        Frequency of p' -> the frequency of p it comes from; None if it was added.
    margin : float
        Closed form of the worst margin, or a lower bound on it, in nats.
    nearest_margin : float
        The same for the nearest frequencies, before shifting or adding any.
    shift : int
        Largest number of places by which frequencies were allowed to shift.
    """

    amplitudes: dict[int, float]
    origins: dict[int, int | None]
    margin: float
    nearest_margin: float
    shift: int

    @property
    def added(self) -> list[int]:
        """Frequencies that the program did not have."""
        return [k for k, origin in self.origins.items() if origin is None]


def worst_margin(p: int, amplitudes: Mapping[int, float], directions: int | None = None) -> float:
    """Compute the worst margin of a clock or, with `directions`, the lower bound for a pizza; see the module docstring.

    Parameters
    ----------
    p : int
        Number of tokens.
    amplitudes : mapping of int to float
        Frequency -> A_k, of the clock or of the clock that best fits the pizza.
    directions : int or None, optional
        J of `slt_grok.models.planted.pizza`; None for a clock.
    """
    k, a = np.array(list(amplitudes)), np.array(list(amplitudes.values()))[:, None]
    gain = a * (1 - np.cos(2 * np.pi / p * (np.outer(k, np.arange(1, p // 2 + 1)) % p)))
    if directions is None:
        return float(gain.sum(0).min())
    # e and p - e have the same |cos|, as d and p - d have the same cos
    ring = np.abs(np.cos(np.pi / p * (np.outer(k, np.arange(p // 2 + 1)) % (2 * p))))
    return float((ring.T @ (gain - 2 * np.abs(a) * pizza_residual(directions))).min()) / ring_mean(p)


def nearest(program: Constants, p: int) -> dict[int, int]:
    """Map each frequency of the program to a distinct one of another prime p, by the rule of the module docstring.

    Raises
    ------
    SltGrokError
        The prime p is not odd, or has fewer frequencies than the program.
    """
    if p < 3 or not is_prime(p):
        raise SltGrokError(f"modulus: expected an odd prime, got {p}")
    free, places = np.arange(1, (p + 1) // 2), {}
    if len(program.amplitudes) > len(free):
        raise SltGrokError(
            f"modulus: expected at least {2 * len(program.amplitudes) + 1} for the program's "
            f"{len(program.amplitudes)} frequencies, got {p}"
        )
    for k in sorted(program.amplitudes, key=lambda k: -abs(program.amplitudes[k])):
        places[k] = int(free[np.abs(free * program.p - k * p).argmin()])
        free = free[free != places[k]]
    return places


def transfer(program: Constants, p: int, directions: dict[int, int] | None = None, least: float = LEAST) -> Transferred:
    """Transfer the program's frequencies to another prime.

    Parameters
    ----------
    program : Constants
        Constants of the program.
    p : int
        The new prime p', odd.
    directions : dict of int to int or None, optional
        For a pizza, J by number of frequencies (they share the neurons), for each number the network has room for; None
        for a clock.
    least : float, optional
        Target worst margin, in nats, by the closed form.

    Raises
    ------
    SltGrokError
        The new prime is not an odd prime or has too few frequencies, or no set of frequencies that fits into the
        network reaches the margin.
    """
    start, half = nearest(program, p), (p - 1) // 2
    if directions is not None and len(start) not in directions:
        raise SltGrokError(
            f"model: expected room for a pizza of {len(start)} frequencies, got {max(directions, default=0)}"
        )
    heights = [program.amplitudes[k] for k in start]
    mean = float(np.mean(heights))

    def amplitudes(places: Sequence[int]) -> dict[int, float]:
        added = [mean] * (len(places) - len(heights))
        return dict(zip(places, [*heights, *added], strict=True))

    def margin(places: Sequence[int]) -> float:
        return worst_margin(p, amplitudes(places), None if directions is None else directions[len(places)])

    places, shift = list(start.values()), 0
    nearest_margin = best = margin(places)
    while best < least and shift < half:
        shift = 2 * shift or 1
        places, best = _shifted(places, list(start.values()), shift, half, margin)
    room = half if directions is None else min(half, max(directions))
    while best < least:
        if len(places) >= room:
            raise SltGrokError(
                f"modulus: expected amplitudes with a worst margin of {least:g} by the closed form, but the "
                f"{room} frequencies of {p} that fit reach only {best:.3g}"
            )
        others = [k for k in range(1, half + 1) if k not in places]
        margins = [margin([*places, k]) for k in others]
        best = max(margins)
        places = [*places, others[margins.index(best)]]
    return Transferred(amplitudes(places), dict(zip_longest(places, start)), best, nearest_margin, shift)


def _shifted(
    places: list[int], start: list[int], shift: int, half: int, margin: Callable[[Sequence[int]], float]
) -> tuple[list[int], float]:
    """Move each frequency in turn to the best place within `shift` of its start, until none improves."""
    best = margin(places)
    while True:
        before = best
        for i, center in enumerate(start):
            for k in range(max(1, center - shift), min(half, center + shift) + 1):
                moved = [*places[:i], k, *places[i + 1 :]]
                if k not in places and (value := margin(moved)) > best:
                    places, best = moved, value
        if best == before:
            return places, best


def rewrite(program: Constants, model: Mapping[str, Any], task: ModularTask) -> tuple[Trajectory, Transferred]:
    """Write a network of a given architecture that computes the program on another Z_p, without training.

    A ReLU network implements a pizza, any other a clock.

    Parameters
    ----------
    program : Constants
        Operation and amplitudes of the program.
    model : mapping of str to object
        The `model` section of a configuration, including `kind`.
    task : ModularTask
        The task for p', with the program's operation.

    Returns
    -------
    tuple of Trajectory and Transferred
        A single float64 network with the logits described in `slt_grok.models.planting`, and its frequencies.

    Raises
    ------
    SltGrokError
        The task's operation differs from the program's or is neither addition nor subtraction, the network cannot
        implement a circuit or is too narrow, or an error of `transfer`.
    """
    angles = ANGLES.get(program.operation)
    if angles is None or angles.logarithm or task.operation != program.operation:
        raise SltGrokError(
            f"operation: expected addition or subtraction, the same of program and task, got {program.operation} and "
            f"{task.operation}"
        )
    p, module = task.classes, models.build(tokens=task.classes, **model).double()
    nearest(program, p)  # check p, then the architecture, before searching for frequencies
    circuit: Circuit = "pizza" if getattr(module, "activation", None) is relu else "clock"
    try:
        plant(module, circuit, {1: 1.0}, task.sign)
    except SltGrokError as error:
        raise SltGrokError(f"model: expected an architecture that holds a program by rotation ({error})") from error
    transferred = transfer(program, p, _directions(module) if circuit == "pizza" else None)
    scale = 1 / ring_mean(p) if circuit == "pizza" else 1.0
    parameters = plant(module, circuit, {k: scale * height for k, height in transferred.amplitudes.items()}, task.sign)
    return Trajectory(Network(module, task), parameters), transferred


def _directions(module: Model) -> dict[int, int]:
    """J of the pizza by number of frequencies, for the numbers that the module has room for."""
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    name, axis = next(iter(module.units()["neurons_post"].items()))
    width, heads = shapes[name][axis], module.head_parameters()
    room = min(shapes[name][1] for role, (name, _) in module.token_roles().items() if "output" not in role) // 2
    if heads:
        count, d_model, d_head = shapes[heads[0]]
        room = min(d_model // 6, count * d_head // 2)
    half = (module.tokens - 1) // 2
    return {count: width // (2 * count) for count in range(1, min(room, half, width // 6) + 1)}
