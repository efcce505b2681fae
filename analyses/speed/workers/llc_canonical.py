"""canonical-interp: `LLCEstimator.estimate_llc`, all chains of a checkpoint under vmap, compiled.

The warm-up compiles; the calls after it find what it compiled.
"""

import itertools
import logging
import sys

import torch
from networks import Material
from protocol import chains_of, read_job, serve
from torch.utils.data import DataLoader, TensorDataset

if sys.version_info < (3, 12):

    def batched(iterable, n):
        """itertools.batched of Python 3.12, all that the package needs of it; here only its name, for its import."""
        raise NotImplementedError

    itertools.batched = batched  # pyright: ignore[reportAttributeAccessIssue]

from canonical_interp.slt import LLCEstimator  # pyright: ignore[reportMissingImports]

job = read_job()
torch.set_num_threads(job["threads"])
logging.disable(logging.WARNING)
material = Material(job)
loader = DataLoader(
    TensorDataset(material.pairs, material.labels), batch_size=job["batch"], shuffle=True, drop_last=True
)


def repeat(repetition: int) -> dict:
    """Every checkpoint of this repetition."""
    chosen, draws = chains_of(job, repetition)
    losses = {}
    for index in chosen:
        estimator = LLCEstimator(
            draws=draws,
            chains=job["chains"],
            burnin_steps=0,
            learning_rate=job["step_size"],
            localization=job["gamma"],
            nbeta=job["n_beta"],
        )
        estimator.estimate_llc(
            material.checkpoint(index),
            loader,
            current_loss=material.baselines[index],
            seed=1000 * (repetition + 1) + index,
            show_progress=False,
        )
        metrics = estimator.get_metrics()
        assert metrics is not None
        losses[index] = metrics["losses"].mean(-1).tolist()
    return {"units": len(chosen) * job["chains"], "losses": losses}


computed = (
    "LLCEstimator.estimate_llc, compiled (its default) and warm, the same minibatches for all chains of a checkpoint"
)
serve({"computed": computed}, repeat)
