"""Causal tests of the Fourier circuit, each against matched controls.

A circuit with frequencies K predicts what happens when its planes, and nothing else, are changed. Every intervention of
`circuits.intervened` is applied to the planes of K and, as controls, to those of all other frequencies, of an equal
number of random others, and of random others with the same norm; also to the planes of K in an untrained network and in
one that has memorized. The controls are ours; see `circuits.intervened` for the sources of the tests.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from slt_grok.circuits.intervened import INTERVENTIONS, SITES, Draw, Effect, Intervened, Intervention, planes_of
from slt_grok.circuits.measure import NANDA
from slt_grok.circuits.measurement import FREQUENCY_OF_CIRCUIT, CircuitMeasurement, broadcast, key_frequencies, require
from slt_grok.errors import SltGrokError
from slt_grok.format import number, percent, step
from slt_grok.groups import cyclic
from slt_grok.measurement import Context, Data, Drawing, Table, Variable, evenly_spaced
from slt_grok.progress import ProgressCallback, ignore, portion
from slt_grok.settings import Positive, Settings
from slt_grok.trajectories import Trajectory

LOSS, MOVED = "train loss after / before", "share of answers moved"
ALL_OTHERS, RANDOM, EQUAL_NORM = "all other frequencies", "random frequencies", "random frequencies of equal norm"
UNTRAINED, MEMORIZING = "untrained network", "memorizing network"
CONTROLS = {  # with their headings in the table
    ALL_OTHERS: "All others",
    RANDOM: "Random, as many",
    EQUAL_NORM: "Random, equal norm",
    UNTRAINED: "Untrained",
    MEMORIZING: "Memorizing",
}
EFFECT = "train loss after / before, or the fraction of all pairs (a, b) answered as (a', b), as `quantity` says; "
PLANES = "square root of the sum of squared Fourier components at the site, over the frequencies that were changed"

Effects = dict[str, Effect]


class CausalSettings(Settings):
    """Settings of the measurement `causal`."""

    checkpoints: Positive = Field(default=8, description="number of checkpoints at which to run the causal tests")
    draws: int = Field(default=3, ge=2, description="number of random frequency sets, shifts and relabelings")
    others: Positive = Field(default=10, description="number of other frequencies to remove one at a time")
    seed: int = Field(default=0, ge=0)


DEFAULTS = CausalSettings()


class Causal(CircuitMeasurement):
    """Causal tests at some checkpoints, each seed against its own memorizing checkpoint."""

    name = "causal"
    title = "Causal tests of the circuit"
    position = 34
    needs = ("cyclic", "logits", "neurons_post", "token_embedding", "token_roles")
    default = False
    Settings = CausalSettings
    variables = {
        "effect": Variable(("test",), "effect on the circuit",
            f"{EFFECT}on the planes of circuit_frequency together, or the smallest over single frequencies",
            f"{NANDA}, sections 4.4 and 5.1; moved planes: this package"),
        "effect_se": Variable(("test",), "standard error of the effect",
            "sd / sqrt(n) over the draws; NaN if nothing is drawn"),
        "control_effect": Variable(("test", "control"), "effect on the control",
            f"{EFFECT}for single frequencies, the largest and mean over the others, and the effect of a random "
            "set with the norm of the frequency whose effect is smallest; random sets: mean over draws"),
        "control_effect_se": Variable(("test", "control"), "standard error of the control",
            "sd sqrt((1 - n/N) / n) over n of N other frequencies, sd / sqrt(n) over n draws; NaN where nothing is "
            "drawn"),
        "ratio": Variable(("test", "control"), "effect / control", "effect / control_effect"),
        "plane_norm": Variable(("test",), "norm of the circuit's planes", PLANES),
        "control_plane_norm": Variable(("test", "control"), "norm of the control's planes",
            f"{PLANES}; mean over draws"),
        "loss_ratio_by_frequency": Variable(("site", "frequency"), "train loss without a frequency / with it",
            "train loss after the planes of one frequency are removed at the site / before; NaN where it was not drawn",
            f"{NANDA}, section 5.1"),
        "train_loss": Variable((), "train loss", "mean over the train set of -log softmax(L)[label]", NANDA, "nats"),
        "accuracy": Variable((), "accuracy", "fraction of all pairs whose largest logit is the label's", NANDA),
        "circuit_frequency": FREQUENCY_OF_CIRCUIT,
        "memorizing_step": Variable((), "step of the memorizing network",
            "first checkpoint from memorization on and before generalization, by the thresholds of transitions",
            where="runs"),
    }  # fmt: skip

    def measure(self, trajectory: Trajectory, settings: CausalSettings, context: Context) -> xr.Dataset:
        """See `Measurement`."""
        steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
        keys = key_frequencies(trajectory)
        memorizing = [trajectory.first_from(*context.milestones(seed)) for seed in seeds]

        def measure_shard(shard: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
            datasets: list[xr.Dataset] = []
            for i, place in enumerate(memorizing):
                memorized = trajectory.isel(step=place, seed=[i]) if place else None
                part = portion(on_progress, i, len(seeds))
                datasets.append(measure(shard.isel(seed=[i]), keys.isel(seed=[i]), memorized, settings, part))
            return xr.concat(datasets, "seed")

        chosen = trajectory.isel(step=evenly_spaced(steps, settings.checkpoints))
        memorizing_steps = [float(steps[place[0]]) if place else np.nan for place in memorizing]
        return context.in_shards(chosen, measure_shard, size=2).assign(memorizing_step=("seed", memorizing_steps))

    def figures(self) -> Sequence[Drawing]:
        """See `Result`."""
        from slt_grok import plots

        caption = (
            "Interventions on the planes of the circuit's frequencies at the last checkpoint, and on matched "
            "controls. One frequency at a time: the smallest effect over the circuit, the largest over the others. "
            "Rotations and swaps change the first token only; an answer counts as moved if it is the answer for "
            "the token that provided the planes. Bottom: answers moved by rotation over training, with (solid) and "
            "without (dashed) the doubled frequencies."
        )
        return [Drawing("causal", plots.causal, caption, ("effect", "control_effect"))]

    def notes(self, data: Data) -> Sequence[str]:
        """See `Result`."""
        if data[self.name].circuit_frequency.any():
            return ()
        return ["No neuron belongs to a frequency at the last checkpoint, so there is no circuit to test."]

    def tables(self, data: Data) -> Sequence[Table]:
        """See `Result`."""
        dataset = data[self.name]
        return [_table(dataset.isel(step=-1, seed=i)) for i in range(dataset.sizes["seed"])]


def measure(
    trajectory: Trajectory,
    circuit_frequency: xr.DataArray | np.ndarray | None = None,
    memorizing: Trajectory | None = None,
    settings: CausalSettings = DEFAULTS,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure the effect of every intervention on the circuit of every network, and on its controls.

    Networks are processed one at a time, since random frequencies of equal norm differ between them; the random draws
    are the same for all.

    Parameters
    ----------
    trajectory : Trajectory
        Networks whose model declares its sites, on a task on Z_n.
    circuit_frequency : xarray.DataArray or ndarray or None, optional
        K, as for `circuits.measure`.
    memorizing : Trajectory or None, optional
        One network that has memorized, with leading coordinates of length 1; by default its controls are NaN.
    settings : CausalSettings, optional
        Numbers of random draws and of other frequencies to remove one at a time at the embedding and at the neurons (at
        the logits, all of them are removed), and the seed of the draws and of the untrained network, whose controls are
        NaN if the module cannot initialize weights. `checkpoints` has no effect.
    on_progress : callable, optional
        Called with the completed fraction after each network.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions, then `test` (`INTERVENTIONS`) and `control` (`CONTROLS`), with the
        variables of `Causal`. The coordinate `quantity` gives the type of effect. NaN if K is empty, and for controls
        on other frequencies if there are none.

    Raises
    ------
    SltGrokError
        A network that cannot be measured, a mask of the wrong shape, or more than one memorizing network.
    """
    require(trajectory.network, Causal.needs)
    if memorizing is not None and len(memorizing) != 1:
        raise SltGrokError(f"causal: expected one memorizing network, got {len(memorizing)}")
    mask, masks = broadcast(trajectory, circuit_frequency)
    generators = np.random.default_rng(np.random.SeedSequence(settings.seed)).spawn(settings.draws)
    drawn = [Draw.of(cyclic(trajectory.task.classes), generator) for generator in generators]
    references = {}
    if (untrained := _untrained(trajectory, settings.seed)) is not None:
        references[UNTRAINED] = Intervened(untrained)
    if memorizing is not None:
        references[MEMORIZING] = Intervened(_single(memorizing, 0))
    compared: dict[bytes, dict[str, Effects]] = {}  # circuit -> reference -> its effects
    networks = []
    for i, circuit in enumerate(masks.numpy()):
        if circuit.tobytes() not in compared:
            compared[circuit.tobytes()] = {
                name: {test: reference.circuit(act, circuit, drawn) for test, act in INTERVENTIONS.items()}
                for name, reference in references.items()
            }
        network = Intervened(_single(trajectory, i))
        networks.append(_measure(network, circuit, compared[circuit.tobytes()], drawn, settings.others))
        on_progress((i + 1) / len(trajectory))
    values = {name: [network[name] for network in networks] for name in networks[0]}
    coords = {"test": list(INTERVENTIONS), "control": list(CONTROLS), "site": list(SITES)}
    dataset = Causal().dataset(trajectory, values, **coords)
    quantities = [LOSS if act.tokens is None else MOVED for act in INTERVENTIONS.values()]
    return Causal().check(dataset.assign_coords(quantity=("test", quantities)).assign(circuit_frequency=mask))


def _single(trajectory: Trajectory, index: int) -> Trajectory:
    """Select a network, in float64 and without leading coordinates."""
    return Trajectory(trajectory.network, {k: v[index].double() for k, v in trajectory.stacked().items()})


def _untrained(trajectory: Trajectory, seed: int) -> Trajectory | None:
    """Initialize the network anew in float64; None for an external module that cannot initialize weights."""
    fresh = replace(trajectory.network).module.double()  # a copy
    try:
        fresh.initialize(torch.Generator().manual_seed(seed))  # pyright: ignore[reportCallIssue]
    except SltGrokError:
        return None
    return Trajectory(trajectory.network, trajectory.network.copy_state(fresh))


def _measure(
    network: Intervened, circuit: np.ndarray, compared: Mapping[str, Effects], drawn: Sequence[Draw], others: int
) -> dict[str, np.ndarray | float]:
    """Compute all variables for one network."""
    sampled = circuit.copy()
    sampled[_outside(circuit, drawn[0])[:others]] = True
    by_site, rows = [], []
    for name, act in INTERVENTIONS.items():
        effects = {control: reference[name] for control, reference in compared.items()}
        if act.separately:
            by_site.append(network.one_by_one(act, sampled, drawn[0]))
            effects |= _one_at_a_time(network, act, circuit, by_site[-1], drawn)
        else:
            effects |= {"circuit": network.circuit(act, circuit, drawn)} | _together(network, act, circuit, drawn)
        rows.append([effects.get(key, Effect()) for key in ("circuit", *CONTROLS)])
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
        "train_loss": network.loss,
        "accuracy": network.accuracy,
    }


def _one_at_a_time(
    network: Intervened, act: Intervention, circuit: np.ndarray, values: np.ndarray, drawn: Sequence[Draw]
) -> Effects:
    """Compare the weakest circuit frequency with the others: the strongest, the mean, and norm-matched random sets."""
    if not circuit.any():
        return {}
    weakest = np.where(circuit, values, np.inf).argmin()
    effects = {"circuit": Effect(values[weakest], network.norm(act, weakest))}
    measured = np.flatnonzero(~circuit & np.isfinite(values))
    if not len(measured):
        return effects
    n, others = len(measured), values[measured]
    strongest = measured[others.argmax()]
    error = others.std(ddof=1) * ((1 - n / (~circuit).sum()) / n) ** 0.5 if n > 1 else np.nan
    return effects | {
        ALL_OTHERS: Effect(values[strongest].item(), network.norm(act, strongest)),
        RANDOM: Effect(float(others.mean()), float(np.mean([network.norm(act, place) for place in measured])), error),
        EQUAL_NORM: network.mean(act, _equal_norm(network, act, weakest, circuit, drawn), drawn),
    }


def _together(network: Intervened, act: Intervention, circuit: np.ndarray, drawn: Sequence[Draw]) -> Effects:
    """Compare the whole circuit with all other frequencies, an equal number of them, and a set of equal norm."""
    planes = planes_of(act, circuit, network.group.order)
    if not circuit.any() or planes.all():
        return {}
    as_many = [_mask(planes, _outside(planes, draw)[: planes.sum()]) for draw in drawn]
    return {
        ALL_OTHERS: network.mean(act, [~planes] * len(drawn), drawn),
        RANDOM: network.mean(act, as_many, drawn),
        EQUAL_NORM: network.mean(act, _equal_norm(network, act, planes, planes, drawn), drawn),
    }


def _equal_norm(
    network: Intervened, act: Intervention, like: np.ndarray | np.intp, circuit: np.ndarray, drawn: Sequence[Draw]
) -> list[np.ndarray]:
    """For each draw, take the first frequencies in its order whose planes together come closest to the norm of `like`.

    At least one is taken; all others if their norm is smaller.
    """
    power, sets = network.power[act.site], []
    for draw in drawn:
        order = _outside(circuit, draw)
        count = np.abs(np.sqrt(power[order].cumsum()) - np.sqrt(power[like].sum())).argmin() + 1
        sets.append(_mask(circuit, order[:count]))
    return sets


def _outside(circuit: np.ndarray, draw: Draw) -> np.ndarray:
    """List the frequencies outside the circuit, counted from 0, in the order of the draw."""
    return draw.order[~circuit[draw.order]]


def _mask(like: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.isin(np.arange(len(like)), places)


# -- the table --------------------------------------------------------------------------------------------------------


def _table(dataset: xr.Dataset) -> Table:
    """Tabulate effect, controls, ratio and norms of one network."""
    shown = [name for name in CONTROLS if np.isfinite(dataset.control_effect.sel(control=name)).any()]
    rows = []
    for name in dataset.test.values.tolist():
        test = dataset.sel(test=name)
        controls = [test.sel(control=control) for control in shown]
        cells = [f"{_effect(control.control_effect)} ({_times(float(control.ratio))})" for control in controls]
        norms = [test.plane_norm, *(control.control_plane_norm for control in controls[:3])]
        rows.append([name, _effect(test.effect), *cells, ", ".join(number(float(norm)) for norm in norms)])
    caption = (
        f"Causal tests at step {step(int(dataset.step))}, seed {int(dataset.seed)}: train loss after / before, or "
        "fraction of answers moved; in parentheses the circuit's effect / the control's. One frequency at a time: the "
        "smallest over the circuit, the largest over all others, the mean over the others, and random sets of the norm "
        "of the one with the smallest. Norms: of the planes of the circuit, all others, as many, and those of equal "
        "norm"
    )
    return Table(caption, ["Intervention", "Circuit", *(CONTROLS[name] for name in shown), "Norms"], rows)


def _effect(value: xr.DataArray) -> str:
    if not np.isfinite(value):
        return "–"
    return percent(float(value)) if value["quantity"].item() == MOVED else number(float(value))


def _times(ratio: float) -> str:
    return "∞" if math.isinf(ratio) else "–" if math.isnan(ratio) else f"{number(ratio)}×"
