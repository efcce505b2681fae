"""Refined LLCs over training: each matrix, each head, each key frequency, and the circuit versus the rest.

The LLC of a component is that of `slt_grok.llc.estimate` with all other weights fixed at the checkpoint (weight
refinement) or on other data (data refinement), Wang et al. 2410.02984, section 3, at the same n_beta and gamma as the
LLC of all weights. On a quadratic loss with Hessian H the localized LLC is 1/2 tr f(H) with f(h) = n_beta h / (n_beta h
+ gamma) concave, so the parts of an orthogonal decomposition never sum to less than the whole, and sum to exactly the
whole if H has no entries between them: the difference, `llc_interaction`, measures how strongly the parts share
directions.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from pydantic import model_validator
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc import restrictions
from slt_grok.llc.measurement import LLC, setting_note, status_counts
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import sample
from slt_grok.llc.settings import SamplingSettings
from slt_grok.llc.subspaces import Subspace, everything
from slt_grok.llc.variables import VARIABLES
from slt_grok.measurement import Context, Data, Drawing, Measurement, Variable, evenly_spaced
from slt_grok.progress import ProgressCallback, ignore, portion
from slt_grok.settings import Positive
from slt_grok.trajectories import Network, Trajectory

KEPT = ("llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "llc_status", "llc_status_reason", "baseline_loss")
WANG = "Wang et al. 2410.02984, section 3"
UNMEASURED = {"llc_status": "", "llc_status_reason": "not measured for this seed"}

INTERACTIONS = {
    "llc_interaction": (("matrix",), "whole", "sum over matrices minus the LLC of all weights"),
    "llc_interaction_head": (("head",), "attention", "sum over attention heads minus their joint LLC"),
    "llc_interaction_frequency": (("frequency",), "circuit", "sum over key frequencies minus their joint LLC"),
    "llc_interaction_circuit": (("circuit", "rest"), "tables", "key plus other frequencies minus their joint LLC"),
}
"""Name -> groups whose LLCs are summed, group of the whole to subtract, definition."""

COMPONENT_VARIABLES = {
    **{name: VARIABLES[name]._replace(dims=("component",)) for name in KEPT},
    "llc_per_dimension": Variable(
        ("component",), "LLC per dimension", "llc / dimension; at most 1/2 on a quadratic loss", WANG
    ),
    "dimension": Variable(("component",), "number of coordinates that move", "size of the subspace", WANG),
    **{
        name: Variable((), "interaction of the parts' LLCs", definition, where="these components were measured")
        for name, (_, _, definition) in INTERACTIONS.items()
    },
    **{
        f"{name}_se": Variable(
            (), "standard error of the interaction", "root of the sum of llc_se^2", where="as the interaction"
        )
        for name in INTERACTIONS
    },
}


@dataclass(frozen=True)
class Component:
    """A subspace to sample, and the data of the loss.

    Parameters
    ----------
    name : str
        Coordinate value in the dataset.
    group : str
        Kind of component: `whole`, `data`, `matrix`, `head`, `attention` (all heads together); in the tables over the
        group, `frequency` (one key frequency), `circuit` (all key frequencies), `rest` (the others and the constant),
        `tables` (circuit and rest together), `null frequency` and `null circuit` (an equal number of random frequencies
        that are not key).
    subspace : Subspace
        Weights that move.
    data : tuple[Tensor, Tensor] or None, optional
        The pair (inputs, targets); None for the task's train set.
    """

    name: str
    group: str
    subspace: Subspace
    data: tuple[Tensor, Tensor] | None = None


def components(network: Network, key_frequencies: Sequence[int] = (), seed: int = 0) -> list[Component]:
    """List the components whose refined LLCs are measured by default.

    These are all weights; each parameter; each attention head and all of them together; with key frequencies, in the
    tables over the task's group, each of them, all of them, the rest, everything, and, as a null, an equal number of
    other frequencies drawn with `seed`; and all weights on the test samples and on all samples, if the task has test
    samples.

    Parameters
    ----------
    network : Network
        The network with its task.
    key_frequencies : sequence of int, optional
        Frequencies of the circuit.
    seed : int, optional
        Seed of the random frequencies.

    Raises
    ------
    SltGrokError
        The network's task or model lacks the given key frequencies.
    """
    module, task, whole = network.module, network.task, everything(network.shapes, network.fixed)
    parts = [Component("all weights", "whole", whole)]
    matrices = restrictions.matrices(module)
    parts += [Component(name, "matrix", matrices[name]) for name in network.moving]
    parts += [Component(f"head {h}", "head", restrictions.head(module, h)) for h in range(restrictions.heads(module))]
    if names := restrictions.head_parameters(module):
        parts.append(Component("all heads", "attention", restrictions.parameters(module, *names)))
    keys = [int(k) for k in key_frequencies]
    if keys:
        planes, others = restrictions.frequencies, restrictions.other_frequencies
        parts += [Component(f"frequency {k}", "frequency", planes(network, [k])) for k in keys]
        parts += [
            Component("key frequencies", "circuit", planes(network, keys)),
            Component("other frequencies", "rest", others(network, keys)),
            Component("all frequencies", "tables", others(network, [])),
        ]
        ordinary = np.setdiff1d(restrictions.group_of_tables(network).frequencies, keys)
        null = sorted(np.random.default_rng(seed).permutation(ordinary)[: len(keys)].tolist())
        parts += [Component(f"null frequency {k}", "null frequency", planes(network, [k])) for k in null]
        if null:
            parts.append(Component("null frequencies", "null circuit", planes(network, null)))
    if task is not None and len(task.indices("test")):
        parts += [Component(f"{name} pairs", "data", whole, task.data(name)) for name in ("test", "all")]
    return parts


def measure(
    trajectory: Trajectory,
    parts: Sequence[Component],
    *,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    on_progress: ProgressCallback = ignore,
    **settings: Any,
) -> xr.Dataset:
    """Estimate the LLC of each component at each network, all at the same n_beta, gamma and step.

    A restriction's largest curvature is at most that of all weights, so a step that is stable for all weights is stable
    for every component.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over any leading dimensions.
    parts : sequence of Component
        Components to measure, with distinct names; see `components`.
    seed : int, optional
        Seed; together with a component's name it determines the random streams, so components are independent.
    dtype : torch.dtype or None, optional
        See `slt_grok.llc.estimate`.
    on_progress : callable, optional
        Called with the completed fraction.
    **settings
        Settings of `slt_grok.llc.sample.sample`: `sampler`, `schedule`, `n_betas`, `gamma`, `chains`.

    Returns
    -------
    xarray.Dataset
        A dataset over the trajectory's dimensions and `component` with the variables of `Refined`; interactions are
        included if the required components are given. Negative values are reported with the status "not a minimum", not
        clipped.

    Raises
    ------
    SltGrokError
        There is no component, two share a name, or a setting is out of range.

    Examples
    --------
    >>> parts = refined.components(networks.network, key_frequencies=[4, 11, 20])
    >>> sampler, schedule = UnderdampedLangevin(0.015), Schedule(75, 150)
    >>> llcs = refined.measure(networks, parts, sampler=sampler, schedule=schedule, n_betas=[30], gamma=100)
    >>> llcs.llc.sel(component="frequency 4")
    """
    names = [part.name for part in parts]
    if not names or len(set(names)) < len(names):
        raise SltGrokError(f"components: expected distinct names, at least one, got {', '.join(names) or 'none'}")
    results = []
    for i, part in enumerate(parts):
        problem = Problem.from_inputs(trajectory, part.data, subspace=part.subspace, dtype=dtype)
        part_seed = int(np.random.SeedSequence((seed, zlib.crc32(part.name.encode()))).generate_state(1)[0])
        progress = portion(on_progress, i, len(parts))
        results.append(sample(problem, seed=part_seed, on_progress=progress, **settings)[list(KEPT)])
    groups, sizes = np.array([part.group for part in parts]), np.array([part.subspace.dimension for part in parts])
    result = xr.concat(results, xr.Variable("component", names)).transpose(..., "component")
    result = result.assign_coords(group=("component", groups))
    result = result.assign(llc_per_dimension=result.llc / sizes, dimension=("component", sizes))
    for name, (summed, whole, _) in INTERACTIONS.items():
        inside, outside = np.isin(groups, summed), groups == whole
        if set(summed) <= set(groups) and outside.sum() == 1:
            total = result.llc.isel(component=inside).sum("component", skipna=False)
            result[name] = total - result.llc.isel(component=outside).squeeze("component", drop=True)
            squares = result.llc_se.isel(component=inside | outside) ** 2
            result[f"{name}_se"] = np.sqrt(squares.sum("component", skipna=False))
    for name, values in result.data_vars.items():
        values.attrs = COMPONENT_VARIABLES[str(name)].attrs
    del result.attrs["dimension"], result.attrs["n"]
    return result.assign_attrs(seed=seed)


def over_seeds(datasets: Sequence[xr.Dataset]) -> xr.Dataset:
    """Combine refined LLCs of single seeds in one dataset.

    Parameters
    ----------
    datasets : sequence of xarray.Dataset
        Results of `measure`, each for one seed, over (step, seed, component).

    Returns
    -------
    xarray.Dataset
        A dataset over all seeds and components; components that a seed lacks are NaN.
    """
    properties = pd.concat([dataset[["group", "dimension"]].to_dataframe() for dataset in datasets])
    properties = properties[~properties.index.duplicated()]
    aligned = []
    for dataset in datasets:
        fill = {name: UNMEASURED.get(str(name), np.nan) for name in dataset.data_vars}
        dataset = dataset.drop_vars(("group", "dimension"))
        aligned.append(dataset.reindex(component=list(properties.index), fill_value=fill))
    joined = xr.concat(aligned, dim="seed", data_vars="minimal", coords="minimal", compat="override", join="exact")
    joined = joined.assign_coords(group=("component", list(properties.group)))
    return joined.assign(dimension=("component", list(properties.dimension), datasets[0].dimension.attrs))


class RefinedSettings(SamplingSettings):
    """Settings of refined LLCs; omitted keys are inherited from `llc`, so that values are comparable."""

    checkpoints: Positive = 10

    @model_validator(mode="before")
    @classmethod
    def _reject_weights_and_data(cls, content: Any) -> Any:
        if isinstance(content, dict) and {"weights", "data"} & set(content):
            raise ValueError("weights and data must be omitted, since each component has its own")
        return content


class Refined(Measurement):
    """Refined LLCs of some checkpoints, with the key frequencies of each seed's last checkpoint."""

    name, title, position = "refined", "Refined LLCs", 36  # after circuits, which provide the key frequencies
    Settings = RefinedSettings
    default, inherits = False, "llc"
    variables = COMPONENT_VARIABLES

    def measure(self, trajectory: Trajectory, settings: RefinedSettings, context: Context) -> xr.Dataset:
        """Estimate the LLC of every component at several checkpoints, evenly spaced over training."""
        network = trajectory.network
        places = evenly_spaced(trajectory.coords["step"], settings.checkpoints)
        keys = self._key_frequencies(trajectory, context)
        parts = [components(network, keys.get(seed, ()), settings.seed) for seed in trajectory.coords["seed"].tolist()]
        arguments = {"dtype": settings.dtype, **settings.arguments(trajectory.task.train_size)}

        def measure_shard(shard: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
            seeds = []
            for i, seed_parts in enumerate(parts):
                progress = portion(on_progress, i, len(parts))
                seeds.append(measure(shard.isel(seed=[i]), seed_parts, on_progress=progress, **arguments))
            return over_seeds(seeds)

        local = settings.device is not None
        return context.in_shards(trajectory.isel(step=places), measure_shard, size=1, local=local)

    @staticmethod
    def _key_frequencies(trajectory: Trajectory, context: Context) -> dict[int, Sequence[int]]:
        """Get the key frequencies of each seed from the circuit measurement."""
        task = trajectory.task
        if task.group is None or not trajectory.network.declares("token_roles"):
            return {}
        circuits = context.data("circuits")
        if circuits is None or "circuit_frequency" not in circuits:
            context.announce("no key frequencies, since circuits are not measured")
            return {}
        mask = circuits.circuit_frequency
        return {seed: mask.frequency.values[mask.sel(seed=seed).values] for seed in mask.seed.values.tolist()}

    def seconds(self, trial: Trajectory, settings: RefinedSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates, for the components that do not require a circuit."""
        return LLC().seconds(trial, settings, checkpoints, context) * len(components(trial.network))

    def figures(self) -> Sequence[Drawing]:
        """List the figures: the LLCs of all components."""
        from slt_grok import plots

        caption = (
            "Refined LLCs: all weights on train, test and all samples; each matrix and each attention head alone; each "
            "key frequency alone in the tables over tokens and answers, with as many random frequencies in gray; and, "
            "per 1,000 dimensions, all key frequencies versus everything else in these tables. Bands are 95% "
            "intervals; hollow points have an untrusted status. On a quadratic loss the parts never sum to "
            "less than the whole: where they do, the loss rises only when several move together."
        )
        return (Drawing("refined_llc", plots.refined_llc, caption),)

    def notes(self, data: Data) -> Sequence[str]:
        """Report the counts of statuses, and the setting that values refer to."""
        refined = data[self.name]
        return [
            status_counts(refined),
            setting_note(refined),
            "A checkpoint need not be a minimum on held-out samples: LLCs can be negative there.",
        ]
