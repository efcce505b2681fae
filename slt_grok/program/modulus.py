"""A program's frequencies for another modulus, and weights that hold them there, without training.

A program of Z_p is its operation and the amplitudes A_k of its frequencies k. Of k the turn k/p of a token is kept as
far as p' has it: in the order of falling |A_k|, each frequency becomes the one of 1..(p'-1)/2 nearest to k p'/p that no
earlier one has taken (the smaller of two as near). What p' then holds has a closed form before there are weights:

    clock    worst margin min_d sum_k A_k (1 - cos w_k d), d = 1..p'-1, exact (through a GELU to some 1%, see
             `slt_grok.models.planting`)
    pizza    min_{e, d} sum_k |cos(w_k e / 2)| (B_k (1 - cos w_k d) - 2 |B_k| r), e = a - b, with the residual r of
             `slt_grok.models.planted.pizza_residual`: a lower bound of the worst margin. B_k = A_k / mean |cos|, the
             mean over Z_p', so that the clock that fits the pizza best has the amplitudes A_k

The turns of a larger modulus nearly repeat after p tokens, since p k'/p' is nearly an integer: there the nearest
frequencies answer with a small margin. Where it is below what is wanted, and only there, frequencies may shift: by up
to 1, 2, 4, .. places of p' until the margin is reached, each in turn to the best of its places until none gains. Where
no shift is enough, the frequency that gains most is added, with the mean of the amplitudes. The form of the clock is
that of Nanda et al. 2301.05217, section 4.1, of the pizza that of Zhong et al. 2306.17844, section 4; the rule is this
package's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch.nn.functional import relu

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models import Model, OneLayerTransformer
from slt_grok.models.planted import pizza_residual
from slt_grok.models.planting import plant
from slt_grok.program.constants import Constants, ring_mean
from slt_grok.tasks import ModularTask, is_prime
from slt_grok.trajectories import Network, Trajectory

Circuit = Literal["clock", "pizza"]
SIGNS = {"addition": 1, "subtraction": -1}
LEAST = 1.0  # nats of worst margin that are wanted: the right answer e times as likely as any other


@dataclass(frozen=True)
class Served:
    """The frequencies of another modulus.

    Parameters
    ----------
    amplitudes : dict[int, float]
        Frequency of p' -> A.
    origins : dict[int, int or None]
        Frequency of p' -> the frequency of p that it comes from; None where it was added.
    margin : float
        Closed form of the worst margin, or its lower bound, in nats.
    nearest_margin : float
        The same at the nearest frequencies, before anything was shifted or added.
    shift : int
        By up to how many places frequencies might shift.
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


def worst_margin(modulus: int, amplitudes: Mapping[int, float], directions: int | None = None) -> float:
    """Return the worst margin of a clock, or with `directions` the lower bound of a pizza's.

    See the module's docstring.

    Parameters
    ----------
    modulus : int
        p.
    amplitudes : Mapping[int, float]
        Frequency -> A_k, of the clock or of the clock that fits the pizza best.
    directions : int or None, optional
        J of `slt_grok.models.planted.pizza`; None for a clock.
    """
    k, a = np.array(list(amplitudes)), np.array(list(amplitudes.values()))[:, None]
    gain = a * (1 - np.cos(2 * np.pi / modulus * (np.outer(k, np.arange(1, modulus // 2 + 1)) % modulus)))
    if directions is None:
        return float(gain.sum(0).min())
    # e and p - e have the same |cos|, as d and p - d have the same cos
    ring = np.abs(np.cos(np.pi / modulus * (np.outer(k, np.arange(modulus // 2 + 1)) % (2 * modulus))))
    return float((ring.T @ (gain - 2 * np.abs(a) * pizza_residual(directions))).min()) / ring_mean(modulus)


def nearest(constants: Constants, modulus: int) -> dict[int, int]:
    """Frequency of p -> frequency of another modulus, all different, by the rule of the module's docstring.

    Raises
    ------
    SltGrokError
        A modulus that is no odd prime, or one with fewer frequencies than the program.
    """
    if modulus < 3 or not is_prime(modulus):
        raise SltGrokError(f"modulus: expected an odd prime, got {modulus}")
    free, found = np.arange(1, (modulus + 1) // 2), {}
    if len(constants.amplitudes) > len(free):
        raise SltGrokError(
            f"modulus: expected at least {2 * len(constants.amplitudes) + 1} for the program's "
            f"{len(constants.amplitudes)} frequencies, got {modulus}"
        )
    for k in sorted(constants.amplitudes, key=lambda k: -abs(constants.amplitudes[k])):
        found[k] = int(free[np.abs(free * constants.modulus - k * modulus).argmin()])
        free = free[free != found[k]]
    return found


def serve(constants: Constants, modulus: int, directions: dict[int, int] | None = None, least: float = LEAST) -> Served:
    """Return the frequencies that serve another modulus.

    Parameters
    ----------
    constants : Constants
        Of the program.
    modulus : int
        p', an odd prime.
    directions : dict[int, int] or None, optional
        For a pizza, J by the number of frequencies, which share the neurons; None for a clock. Its numbers of
        frequencies are those that the network has room for.
    least : float, optional
        Worst margin that is wanted, in nats, by the closed form.

    Raises
    ------
    SltGrokError
        A modulus that is no odd prime or has too few frequencies, or no set of frequencies that the network has room
        for and that reaches the margin.
    """

    def margin(places: list[int], heights: list[float]) -> float:
        shared = None if directions is None else directions[len(places)]
        return worst_margin(modulus, dict(zip(places, heights, strict=True)), shared)

    start = nearest(constants, modulus)
    origins: list[int | None] = list(start)
    heights, half = [constants.amplitudes[k] for k in start], (modulus - 1) // 2
    if directions is not None and len(start) not in directions:
        raise SltGrokError(
            f"model: expected room for a pizza of {len(start)} frequencies, got {max(directions, default=0)}"
        )
    places = list(start.values())
    at_first = found = margin(places, heights)
    shift = 0
    while found < least:
        if shift >= half:
            room = half if directions is None else min(half, max(directions))
            if len(places) >= room:
                raise SltGrokError(
                    f"modulus: expected amplitudes that give a worst margin of {least:g} by the closed form, with "
                    f"{room} frequencies of {modulus}, as many as fit, {found:.3g} was found"
                )
            heights = [*heights, float(np.mean(heights))]
            others = [k for k in range(1, half + 1) if k not in places]
            gains = [margin([*places, k], heights) for k in others]
            places, origins = [*places, others[int(np.argmax(gains))]], [*origins, None]
            found = max(gains)
            continue
        shift = 2 * shift or 1
        places, found = _shifted(places, heights, list(start.values()), shift, half, margin)
    amplitudes = dict(zip(places, heights, strict=True))
    return Served(amplitudes, dict(zip(places, origins, strict=True)), found, at_first, shift)


def _shifted(
    places: list[int], heights: list[float], start: list[int], shift: int, half: int, margin: Any
) -> tuple[list[int], float]:
    """Each frequency in turn to the place within `shift` of its start that gains most, until none gains."""
    best = margin(places, heights)
    while True:
        before = best
        for i, center in enumerate(start):
            for k in range(max(1, center - shift), min(half, center + shift) + 1):
                if k not in places:
                    other = [*places[:i], k, *places[i + 1 :]]
                    value = margin(other, heights)
                    if value > best:
                        places, best = other, value
        if best == before:
            return places, best


def circuit_of(module: Model) -> Circuit:
    """Return the circuit that networks of this class and activation are written with.

    A pizza with ReLU, else a clock.
    """
    return "pizza" if getattr(module, "activation", None) is relu else "clock"


def rewrite(
    constants: Constants, model: Mapping[str, Any], task: ModularTask, least: float = LEAST
) -> tuple[Trajectory, Served]:
    """Return a network of some architecture that computes the program modulo another prime, written and not trained.

    Parameters
    ----------
    constants : Constants
        Of the program: modulus, operation, amplitudes.
    model : Mapping[str, Any]
        Settings of `slt_grok.models.build`, such as the section `model` of a configuration, with `kind`.
    task : ModularTask
        The task for p', whose operation is the program's.
    least : float, optional
        See `serve`.

    Returns
    -------
    tuple[Trajectory, Served]
        A single network, float64, whose logits are those of `slt_grok.models.planting`; and the frequencies it has.

    Raises
    ------
    SltGrokError
        Another operation than the program's, or one that is neither addition nor subtraction; a network that cannot
        hold a circuit or is too narrow; as `serve`.
    """
    if constants.operation not in SIGNS or task.operation != constants.operation:
        raise SltGrokError(
            f"operation: expected addition or subtraction, the same of program and task, got {constants.operation} and "
            f"{task.operation}"
        )
    module = models.build(modulus=task.modulus, **model).double()
    circuit, sign = circuit_of(module), SIGNS[constants.operation]
    try:
        plant(module, circuit, {1: 1.0}, sign)  # before a search for frequencies
    except SltGrokError as error:
        raise SltGrokError(f"model: expected an architecture that holds a program by rotation ({error})") from error
    served = serve(constants, task.modulus, _directions(module) if circuit == "pizza" else None, least)
    scale = 1 / ring_mean(task.modulus) if circuit == "pizza" else 1.0
    parameters = plant(module, circuit, {k: scale * height for k, height in served.amplitudes.items()}, sign)
    return Trajectory(Network(module, task), parameters), served


def _directions(module: Model) -> dict[int, int]:
    """J of the pizza by the number of frequencies, for those numbers that the module has room for."""
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    if isinstance(module, OneLayerTransformer):
        heads, d_model, d_head = shapes["W_Q"]
        width, room = shapes["W_in"][1], min(d_model // 6, heads * d_head // 2)
    else:
        width, room = shapes["W_U"][0], shapes["W_U"][0]
        room = min(shapes[name][1] // 2 for name in module.embeddings)  # pyright: ignore
    half = (module.tokens - 1) // 2
    return {count: width // (2 * count) for count in range(1, min(room, half, width // 6) + 1)}
