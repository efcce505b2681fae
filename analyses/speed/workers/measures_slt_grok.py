"""slt_grok: `circuits.measure`, with the fewest triples of gradient symmetricity, which is no Fourier measure."""

import numpy as np
import torch
from protocol import read_job, serve

from slt_grok import circuits, models
from slt_grok.memory import keep_freed_memory
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

TRIPLES = 2

keep_freed_memory()  # as the command line does
job = read_job()
torch.set_num_threads(job["threads"])
task = ModularTask(**job["task"])
network = Network(models.build(tokens=task.modulus, **job["model"]), task)
with np.load(job["material"]) as file:
    parameters = {name: torch.from_numpy(file[name]) for name in network.shapes}
steps = np.arange(len(parameters["W_E"]))
everything = Trajectory(network, parameters, ("step",), {"step": steps})
frequencies = np.array(job["frequencies"])


def repeat(repetition: int) -> dict:
    """Return the checkpoints of this repetition; their values into a file next to the job."""
    chosen = job["checkpoints"][repetition % len(job["checkpoints"])]
    if repetition < 0:
        chosen = chosen[:2]
    found = circuits.measure(everything.isel(step=chosen), frequencies, gradient_triples=TRIPLES)
    values = {str(name): found[name].values for name in found.data_vars if "step" in found[name].dims}
    np.savez(f"{job['values']}_{repetition}.npz", **values)  # pyright: ignore[reportArgumentType]
    return {"units": len(chosen), "measures": len(values)}


serve({"computed": f"slt_grok.circuits.measure with {TRIPLES} triples of gradient symmetricity"}, repeat)
