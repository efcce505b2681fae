"""slt_grok: `llc.estimate` on a trajectory, as a person calls it."""

import numpy as np
import torch
from protocol import read_job, serve

from slt_grok import models
from slt_grok.llc import SGLD, estimate
from slt_grok.memory import keep_freed_memory, peak_gib
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

keep_freed_memory()  # as the command line does
job = read_job()
torch.set_num_threads(job["threads"])
with np.load(job["material"]) as file:
    parameters = {name: torch.from_numpy(file[name]) for name in file.files}
baselines = parameters.pop("baselines").tolist()
data = parameters.pop("pairs"), parameters.pop("labels")
task = ModularTask(**job["task"])
network = Network(models.build(tokens=task.modulus, **job["model"]), task)
everything = Trajectory(network, parameters, ("step",), {"step": np.arange(len(baselines))})


def repeat(repetition: int) -> dict:
    """Every checkpoint of this repetition, in one call."""
    chosen, draws = job["checkpoints"][repetition % len(job["checkpoints"])], job["draws"]
    if repetition < 0:
        draws = 4
    found = estimate(
        everything.isel(step=chosen), data, sampler=SGLD(job["step_size"]), n_beta=job["n_beta"], gamma=job["gamma"],
        chains=job["chains"], draws=draws, burn_in=0, batch_size=job["batch"], seed=repetition + 1,
    )  # fmt: skip
    losses = found.loss_trace.mean("draw").transpose("step", "chain").values.tolist()
    return {
        "units": len(chosen) * job["chains"],
        "losses": dict(zip(chosen, losses, strict=True)),
        "peak_gib": peak_gib(),
    }


serve({"computed": "slt_grok.llc.estimate on a trajectory, minibatches of their own for all chains"}, repeat)
