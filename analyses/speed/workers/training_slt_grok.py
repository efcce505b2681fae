"""slt_grok: `training.train` into a temporary run directory, checkpoints at both ends alone.

With `seeds_at_once` false the seeds are trained one after the other, each by a call of its own.
"""

import tempfile
import time
from pathlib import Path

import torch
from protocol import read_job, serve

from slt_grok import models
from slt_grok.memory import keep_freed_memory
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.training import TrainingSettings, train
from slt_grok.trajectories import Network

keep_freed_memory()  # as the command line does
job = read_job()
torch.set_num_threads(job["threads"])
task = ModularTask(**job["task"])
network = Network(models.build(tokens=task.modulus, **job["model"]), task)


def run(steps: int) -> tuple[float, dict[int, float]]:
    """Seconds, and the train loss of each seed after `steps` steps."""
    settings = TrainingSettings(**job["training"], steps=steps, evaluate_every=steps)
    losses: dict[int, float] = {}
    start = time.perf_counter()
    for seeds in [job["seeds"]] if job["seeds_at_once"] else [[seed] for seed in job["seeds"]]:
        with tempfile.TemporaryDirectory() as folder:
            curves = train(RunDirectory(Path(folder)), network, settings, seeds)
        losses |= zip(seeds, curves.train_loss.isel(step=-1).values.tolist(), strict=True)
    return time.perf_counter() - start, losses


def repeat(repetition: int) -> dict:
    """All seeds; the warm-up is done before."""
    if repetition < 0:
        return {}
    seconds, _ = run(job["steps"])
    return {"seconds": seconds, "units": job["steps"] * len(job["seeds"]), "compared_losses": compared}


_, compared = run(job["compared_after"])  # warm; and what the losses of others are compared with
serve({"computed": f"slt_grok.training.train, {job['steps']} steps of {len(job['seeds'])} seed(s)"}, repeat)
