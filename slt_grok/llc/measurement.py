"""The measurement `llc`: the LLC of a run's checkpoints, with its diagnostics."""

import time
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from slt_grok.format import number, sentence
from slt_grok.llc import restrictions
from slt_grok.llc.diagnostics import HEALTHY, TRUSTED, LLCStatus
from slt_grok.llc.milestones import at_milestones
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import sample
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.settings import LLCSettings, RestrictedSettings, SamplingSettings
from slt_grok.llc.subspaces import Subspace, everything
from slt_grok.llc.tables import estimates_table, omitted_chains, summary_table
from slt_grok.llc.variables import VARIABLES, of_the_network
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.trajectories import Trajectory

SHARD_PARAMETERS = 750_000  # parameters of all chains in one shard: large enough to benefit from batching,
SHARD_CHAINS = 32  # small enough to lose little when killed; fixed, since a shard's composition determines its rounding
TRIAL_DRAWS = (4, 12)  # for two estimates whose difference gives the cost of this many updates


class LLC(Measurement):
    """The LLC over training."""

    name, title, position = "llc", "Local learning coefficient", 20
    Settings = LLCSettings
    variables = VARIABLES

    def measure(self, trajectory: Trajectory, settings: LLCSettings, context: Context) -> xr.Dataset:
        """Estimate the LLC of every checkpoint, or of some, in shards of a fixed number of chains."""
        if settings.most_checkpoints is not None:
            trajectory = at_milestones(trajectory, context, settings.most_checkpoints)
        return context.in_shards(
            trajectory,
            lambda shard, on_progress: estimate_by(settings, shard, on_progress),
            size=max(1, shard_chains(trajectory) // (settings.chains * trajectory.shape[1])),
            local=settings.device is not None,
        )

    def checkpoints_of(self, settings: SamplingSettings, checkpoints: int) -> int:
        """Count the checkpoints that are measured, at most `most_checkpoints`."""
        most = getattr(settings, "most_checkpoints", None)  # of a measurement with other settings, see `seconds`
        return super().checkpoints_of(settings, min(most or checkpoints, checkpoints))

    def seconds(self, trial: Trajectory, settings: SamplingSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates."""
        once = seconds_of_updates(trial, settings, settings.schedule.updates)
        return self.checkpoints_of(settings, checkpoints) * once

    def figures(self) -> Sequence[Drawing]:
        """List the figures: traces and diagnostics of the chains."""
        from slt_grok import plots

        return (
            Drawing(
                "llc_traces",
                plots.llc_traces,
                "Loss along the chains at checkpoints over training. The LLC is nβ times the gap between the chains' "
                "mean loss after burn-in and the checkpoint's own loss.",
            ),
            Drawing(
                "llc_diagnostics",
                plots.llc_diagnostics,
                "Diagnostics that determine the status of each estimate. Dashed lines: limits for a well-sampled "
                "estimate. Drift: LLC of the second half of the draws minus that of the first, relative to the LLC. "
                "Virial: 1 in equilibrium. Acceptance: of a Metropolis-adjusted Langevin proposal with the sampler's "
                "step. Hollow points have an untrusted status.",
                folded=True,
            ),
        )

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the worst diagnostics, the omitted chains, and every estimate."""
        llc = data[self.name]
        return [summary_table(llc), *omitted_chains(llc), estimates_table(llc)]

    def notes(self, data: Data) -> Sequence[str]:
        """Report the counts of statuses, the setting that values refer to, and values that should not be trusted."""
        llc = data[self.name]
        notes = [status_counts(llc), setting_note(llc), noise_note(llc)]
        if known := llc.attrs.get("notes"):
            notes.append(sentence(known))
        omitted = int((llc.chain_health != HEALTHY).sum())
        if omitted:
            notes.append(f"{omitted} of {llc.chain_health.size} chains failed and were omitted; the table names them.")
        return notes + melted_note(llc) + untrusted_note(llc)


def estimate_by(
    settings: RestrictedSettings, trajectory: Trajectory, on_progress: ProgressCallback = ignore
) -> xr.Dataset:
    """Estimate the LLC of a trajectory with the settings of a configuration.

    Parameters
    ----------
    settings : RestrictedSettings
        How to sample, on which data, and the weights that move.
    trajectory : Trajectory
        Networks with a task.
    on_progress : callable, optional
        Called with the completed fraction and the mean loss.

    Returns
    -------
    xarray.Dataset
        See `slt_grok.llc.estimate`.

    Raises
    ------
    SltGrokError
        A split has no samples, a pattern matches no parameter, or a setting is out of range.
    """
    data = restrictions.split(trajectory.task, settings.data)
    subspace = subspace_of(settings, trajectory) if settings.weights else None
    problem = Problem.from_inputs(trajectory, data, subspace=subspace, dtype=settings.dtype)
    result = sample(problem, **settings.arguments(len(data[0])), on_progress=on_progress)
    return result.assign_attrs(data=settings.data)


def subspace_of(settings: RestrictedSettings, trajectory: Trajectory) -> Subspace:
    """Build the subspace of the weights that move.

    Raises
    ------
    SltGrokError
        A pattern matches no parameter.
    """
    network = trajectory.network
    if not settings.weights:
        return everything(network.shapes, network.fixed)
    return restrictions.parameters(network.module, *settings.weights)


def weight_norms(settings: RestrictedSettings, trajectory: Trajectory) -> np.ndarray:
    """Compute |w*| of the weights that move, for each network."""
    return subspace_of(settings, trajectory).coordinates(trajectory.stacked(torch.float64)).norm(dim=1).numpy()


def shard_chains(trajectory: Trajectory) -> int:
    """Compute the number of chains per shard for networks of this size."""
    parameters = sum(shape.numel() for shape in trajectory.network.shapes.values())
    return min(SHARD_CHAINS, max(1, SHARD_PARAMETERS // parameters))


def seconds_of_updates(network: Trajectory, settings: SamplingSettings, updates: int) -> float:
    """Predict the core-seconds for the updates of all chains of one network.

    Parameters
    ----------
    network : Trajectory
        A single network.
    settings : SamplingSettings
        Settings of the measurement; the trial takes fewer updates.
    updates : int
        Number of updates per chain.
    """
    problem, times, threads = Problem.from_inputs(network, dtype=settings.dtype), [], torch.get_num_threads()
    starts = problem.starts([settings.n_beta_of(len(problem.inputs))], settings.gamma, settings.chains, settings.seed)
    torch.set_num_threads(1)  # chains in other processes would not count
    try:
        for draws in (TRIAL_DRAWS[0], *TRIAL_DRAWS):  # the first run is slower
            sampling = problem.sampling(settings.sampler, Schedule(0, draws, 1, settings.batch_size))
            start = time.process_time()
            settings.sampler.run(sampling, starts, ignore)
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return max(times[2] - times[1], 0.0) / (TRIAL_DRAWS[1] - TRIAL_DRAWS[0]) * updates


def status_counts(llc: xr.Dataset) -> str:
    """Summarize the number of estimates with each status in a sentence."""
    statuses, counts = np.unique(llc.llc_status.values.astype(str), return_counts=True)
    named = [f"{count} {status}" for status, count in zip(statuses, counts, strict=True) if status]
    return f"Estimates by status: {', '.join(named)}."


def setting_note(llc: xr.Dataset) -> str:
    """State the setting that every effective LLC refers to."""
    parts = [f"{sign} = {llc.attrs[key]:g}" for key, sign in (("n_beta", "nβ"), ("gamma", "γ")) if key in llc.attrs]
    return f"Values are effective LLCs at {' and '.join(parts)}; compare them only at the same setting."


def noise_note(llc: xr.Dataset) -> str:
    """Compare the values with what the window's noise alone would give, or say why they cannot be."""
    if llc.attrs.get("gamma") == 0:
        return (
            "Without localization (γ = 0) the window has no size, so the values cannot be compared with what noise of "
            "that size alone would give."
        )
    ratio = llc.window_noise / llc.llc.where((llc.llc > 0) & of_the_network(llc))
    if not np.isfinite(ratio).any():
        return "No value can be compared with what noise of the window's size alone would give."
    return (
        "Gaussian noise of the window's size alone, without a chain, would give "
        f"{number(float(ratio.min()))} to {number(float(ratio.max()))} times the LLC of the same checkpoint; the table "
        "of all estimates has the values. An LLC close to it says how the loss grows at the window's edge, not how a "
        "posterior fills the window."
    )


def untrusted_note(llc: xr.Dataset) -> list[str]:
    """Say what can be done where no network is a minimum, or no other estimate is trusted."""
    if llc.llc_status.isin(TRUSTED).any():
        return []
    return [
        "No LLC here is trusted. If most networks are not a minimum, chains continue training: train longer or at a "
        "smaller learning rate, or take some full-batch steps before a checkpoint is saved. A smaller n_beta, by "
        "--config, compares the loss with more noise. Features of very different scales slow every chain down: "
        "standardize them."
    ]


def melted_note(llc: xr.Dataset) -> list[str]:
    """Report the checkpoints at which the chains melted, if any."""
    melted = llc.llc_status == LLCStatus.MELTED
    steps = llc.step.values[melted.any([dim for dim in melted.dims if dim != "step"]).values]
    if not len(steps):
        return []
    where = f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"
    limit = f"{llc.attrs['melting_loss']:.3g} {llc.baseline_loss.attrs.get('units', '')}".strip()
    return [
        f"Melted at {len(steps)} of {llc.sizes['step']} checkpoints ({where}): the chains' "
        f"mean loss is above {limit} (`melting_loss`; default: half the loss of guessing), so the value "
        "reflects nβ and γ rather than the network. Figures draw it hollow; summaries and transitions omit it."
    ]
