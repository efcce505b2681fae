"""Causal tests of the Fourier circuit, each against matched controls.

A circuit of frequencies K claims what must happen when something is done to its planes and to nothing else. Every
intervention of `circuits.intervened` is made on the planes of K, and as a control on those of all other frequencies, of
as many random others, and of random others with the same norm; and on the planes of K in an untrained network and in
one that has memorized. The controls are this package's; see `circuits.intervened` for the sources of the tests.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
import xarray as xr

from slt_grok import fourier
from slt_grok.circuits.intervened import (
    INTERVENTIONS,
    SITES,
    UNKNOWN,
    Draw,
    Effect,
    Intervened,
    Intervention,
    planes_of,
)
from slt_grok.circuits.measurement import broadcast, circuit_parts, key_frequencies
from slt_grok.circuits.variables import VARIABLES
from slt_grok.circuits.variables.causal import CAUSAL
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.trajectories import Trajectory

OnProgress = Callable[[int, int], None]
LOSS, MOVED = "train loss after / before", "share of answers moved"
ALL_OTHERS, RANDOM, EQUAL_NORM = "all other frequencies", "random frequencies", "random frequencies of equal norm"
UNTRAINED, MEMORIZING = "untrained network", "memorizing network"
CONTROLS = (ALL_OTHERS, RANDOM, EQUAL_NORM, UNTRAINED, MEMORIZING)

Effects = dict[str, Effect]


def measure(
    trajectory: Trajectory,
    circuit_frequency: xr.DataArray | np.ndarray | None = None,
    memorizing: Trajectory | None = None,
    *,
    draws: int = 3,
    others: int = 10,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> xr.Dataset:
    """Effect of every intervention on the circuit of every network, and of its controls.

    Networks are taken one after the other, since random frequencies of equal norm differ from one to the next; what is
    drawn is the same for all.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on a modular task, p an odd prime.
    circuit_frequency : xarray.DataArray or ndarray or None, optional
        K, as for `circuits.measure`.
    memorizing : Trajectory or None, optional
        One network that has memorized, without leading coordinates longer than 1; its controls are NaN where it is left
        out.
    draws : int, optional
        Random sets of frequencies, shifts and renamings, whose mean is taken; at least 2.
    others : int, optional
        How many other frequencies are removed one at a time at the embedding and at the neurons, at least 1; at the
        logits it is all of them.
    seed : int, optional
        Of what is drawn, and of the untrained network, whose controls are NaN for a module that cannot draw weights.
    on_progress : OnProgress or None, optional
        Called with (networks done, networks in all) after each.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions, then `test` (`INTERVENTIONS`) and `control` (`CONTROLS`), with the
        variables of `circuits.variables.causal`. The coordinate `quantity` says what an effect is. NaN where K is
        empty, and for controls on other frequencies where there is none.

    Raises
    ------
    SltGrokError
        As `circuits.measure`; too few draws or others; more than one memorizing network.
    """
    module, task = circuit_parts(trajectory.network)
    if draws < 2 or others < 1:
        raise SltGrokError(f"causal: expected at least 2 draws and 1 other frequency, got {draws} and {others}")
    if memorizing is not None and len(memorizing) != 1:
        raise SltGrokError(f"causal: expected one memorizing network, got {len(memorizing)}")
    mask, masks = broadcast(trajectory, key_frequencies(trajectory) if circuit_frequency is None else circuit_frequency)
    generators = np.random.default_rng(np.random.SeedSequence(seed)).spawn(draws)
    drawn = [Draw.of(task.modulus, generator) for generator in generators]
    references = {}
    if (fresh := _untrained(trajectory, module, seed)) is not None:
        references[UNTRAINED] = Intervened(fresh)
    if memorizing is not None:
        references[MEMORIZING] = Intervened(_alone(memorizing, 0))
    compared: dict[bytes, dict[str, Effects]] = {}  # circuit -> reference -> its effects
    found = []
    for i, circuit in enumerate(masks.numpy()):
        of_circuit = compared.setdefault(circuit.tobytes(), {})
        for name, reference in references.items():
            if name not in of_circuit:
                of_circuit[name] = {test: reference.circuit(act, circuit, drawn) for test, act in INTERVENTIONS.items()}
        found.append(_measure(Intervened(_alone(trajectory, i)), circuit, of_circuit, drawn, others))
        if on_progress is not None:
            on_progress(i + 1, len(trajectory))
    variables = {name: (dims, [one[name] for one in found], attrs) for name, (dims, attrs) in CAUSAL.items()}
    dataset = trajectory.dataset(
        variables,
        test=list(INTERVENTIONS),
        control=list(CONTROLS),
        site=list(SITES),
        frequency=fourier.frequencies(task.modulus),
    )
    quantities = [LOSS if act.tokens is None else MOVED for act in INTERVENTIONS.values()]
    return dataset.assign_coords(quantity=("test", quantities)).assign(
        circuit_frequency=mask.assign_attrs(VARIABLES["circuit_frequency"][1])
    )


def _alone(trajectory: Trajectory, index: int) -> Trajectory:
    """One of the networks in float64, without leading coordinates."""
    stack = trajectory.stacked()
    return Trajectory(trajectory.network, {name: tensor[index].double() for name, tensor in stack.items()})


def _untrained(trajectory: Trajectory, module: Model, seed: int) -> Trajectory | None:
    """Return the network with fresh weights in float64; None for a module from elsewhere that cannot draw them."""
    fresh = deepcopy(module).double()
    try:
        fresh.initialize(torch.Generator().manual_seed(seed))
    except SltGrokError:
        return None
    return Trajectory(trajectory.network, dict(fresh.named_parameters()))


def _measure(
    one: Intervened, circuit: np.ndarray, compared: Mapping[str, Effects], drawn: Sequence[Draw], others: int
) -> dict[str, np.ndarray | float]:
    """All variables of one network."""
    sampled = circuit.copy()
    sampled[[place for place in drawn[0].order if not circuit[place]][:others]] = True
    by_site, rows = [], []
    for name, act in INTERVENTIONS.items():
        effects = {control: found[name] for control, found in compared.items()}
        if act.one:
            values = one.one_by_one(act, sampled, drawn[0])
            by_site.append(values)
            effects |= _one_at_a_time(one, act, circuit, values, drawn)
        else:
            effects |= {"circuit": one.circuit(act, circuit, drawn)} | _together(one, act, circuit, drawn)
        rows.append([effects.get(key, UNKNOWN) for key in ("circuit", *CONTROLS)])
    value, norm, error = np.moveaxis(np.array(rows, dtype=float), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = value[:, :1] / value[:, 1:]
    return {
        "effect": value[:, 0],
        "effect_se": error[:, 0],
        "control_effect": value[:, 1:],
        "control_effect_se": error[:, 1:],
        "ratio": ratio,
        "plane_norm": norm[:, 0],
        "control_plane_norm": norm[:, 1:],
        "loss_ratio_by_frequency": np.stack(by_site),
        "train_loss": one.loss,
        "accuracy": one.accuracy,
    }


def _one_at_a_time(
    one: Intervened, act: Intervention, circuit: np.ndarray, values: np.ndarray, drawn: Sequence[Draw]
) -> Effects:
    """Return the weakest circuit frequency against the strongest, the mean and the norm-matched random others."""
    places, measured = np.arange(len(circuit)), np.flatnonzero(~circuit & np.isfinite(values))
    if not circuit.any():
        return {}
    weakest = places == np.where(circuit, values, np.inf).argmin()
    found = {"circuit": Effect(values[weakest].item(), one.norm(act, weakest))}
    if not len(measured):
        return found
    strongest = places == measured[values[measured].argmax()]
    n, rest = len(measured), values[measured]
    spread = rest.std(ddof=1) * ((1 - n / (~circuit).sum()) / n) ** 0.5 if n > 1 else np.nan
    norms = [one.norm(act, places == place) for place in measured]
    return found | {
        ALL_OTHERS: Effect(values[strongest].item(), one.norm(act, strongest)),
        RANDOM: Effect(float(rest.mean()), float(np.mean(norms)), float(spread)),
        EQUAL_NORM: one.mean(act, _equal_norm(one, act, weakest, circuit, drawn), drawn),
    }


def _together(one: Intervened, act: Intervention, circuit: np.ndarray, drawn: Sequence[Draw]) -> Effects:
    """All frequencies of the circuit against all others, as many of them, and as many as have its norm."""
    own = planes_of(act, circuit)
    if not circuit.any() or own.all():
        return {}
    as_many = [_mask(own, [place for place in draw.order if not own[place]][: own.sum()]) for draw in drawn]
    return {
        ALL_OTHERS: one.mean(act, [~own] * len(drawn), drawn),
        RANDOM: one.mean(act, as_many, drawn),
        EQUAL_NORM: one.mean(act, _equal_norm(one, act, own, own, drawn), drawn),
    }


def _equal_norm(
    one: Intervened, act: Intervention, like: np.ndarray, circuit: np.ndarray, drawn: Sequence[Draw]
) -> list[np.ndarray]:
    """For each draw the first frequencies in its order whose planes together come closest to the norm of `like`.

    Never none; all others where they have less.
    """
    power, sets = one.power[act.site], []
    for draw in drawn:
        order = np.array([place for place in draw.order if not circuit[place]])
        count = np.abs(np.sqrt(power[order].cumsum()) - np.sqrt(power[like].sum())).argmin() + 1
        sets.append(_mask(circuit, order[:count]))
    return sets


def _mask(like: np.ndarray, places: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.isin(np.arange(len(like)), places)
