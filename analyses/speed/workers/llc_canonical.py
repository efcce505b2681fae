"""canonical-interp: `LLCEstimator.estimate_llc`, all chains of a checkpoint under vmap, compiled.

The seconds are those of a compiled chain: each call compiles the gradient anew, so that a call of few draws with the
same number of compilations is subtracted. The seconds of the whole call are given beside it.
"""

import itertools
import logging
import sys
import time

import torch
from networks import Material
from protocol import read_job, serve
from torch.utils.data import DataLoader, TensorDataset

if sys.version_info < (3, 12):

    def batched(iterable, n):
        """itertools.batched of Python 3.12, all that the package needs of it; here only its name, for its import."""
        raise NotImplementedError

    itertools.batched = batched  # pyright: ignore[reportAttributeAccessIssue]

from canonical_interp.slt import LLCEstimator  # pyright: ignore[reportMissingImports]

FEW = 20  # draws of the call that is subtracted

job = read_job()
torch.set_num_threads(job["threads"])
logging.disable(logging.WARNING)
material = Material(job)
loader = DataLoader(
    TensorDataset(material.pairs, material.labels), batch_size=job["batch"], shuffle=True, drop_last=True
)


def call(index: int, draws: int, seed: int) -> tuple[float, list[float]]:
    """Seconds of a call, and the mean loss of each chain."""
    start = time.perf_counter()
    estimator = LLCEstimator(
        draws=draws,
        chains=job["chains"],
        burnin_steps=0,
        learning_rate=job["step_size"],
        localization=job["gamma"],
        nbeta=job["n_beta"],
    )
    estimator.estimate_llc(
        material.checkpoint(index), loader, current_loss=material.baselines[index], seed=seed, show_progress=False
    )
    metrics = estimator.get_metrics()
    assert metrics is not None
    return time.perf_counter() - start, metrics["losses"].mean(-1).tolist()


def repeat(repetition: int) -> dict:
    """Every checkpoint of this repetition."""
    chosen, draws = job["checkpoints"][repetition % len(job["checkpoints"])], job["draws"]
    if repetition < 0:
        call(chosen[0], FEW, 0)
        return {}
    losses, whole, seconds = {}, 0.0, 0.0
    for index in chosen:
        seed = 1000 * (repetition + 1) + index
        few, _ = call(index, FEW, seed)
        many, losses[index] = call(index, draws, seed)
        whole += many
        seconds += (many - few) * draws / (draws - FEW)
    units = len(chosen) * job["chains"]
    return {"units": units, "losses": losses, "seconds": seconds, "seconds_with_compilation": whole}


computed = (
    "LLCEstimator.estimate_llc, compiled (its default), the same minibatches for all chains of a checkpoint; the time "
    "is that of compiled draws, since each call compiles anew"
)
serve({"computed": computed}, repeat)
