"""devinterp 1.3.2: `estimate_learning_coeff_with_summary` with its SGLD, one chain after the other."""

import warnings

import torch
from devinterp.optim import SGMCMC  # pyright: ignore[reportAttributeAccessIssue]
from devinterp.slt import sampler
from networks import Material
from protocol import chains_of, read_job, serve
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

job = read_job()
torch.set_num_threads(job["threads"])
warnings.simplefilter("ignore")
material = Material(job)
loader = DataLoader(TensorDataset(material.pairs, material.labels), batch_size=job["batch"], shuffle=True)


def evaluate(model, data):
    """Mean cross-entropy of a batch."""
    return cross_entropy(model(data[0]), data[1])


def repeat(repetition: int) -> dict:
    """Every checkpoint of this repetition."""
    chosen, draws = chains_of(job, repetition)
    losses = {}
    for index in chosen:
        found = sampler.estimate_learning_coeff_with_summary(  # pyright: ignore[reportAttributeAccessIssue]
            material.checkpoint(index),
            loader,
            evaluate=evaluate,
            sampling_method=SGMCMC.sgld,
            optimizer_kwargs={"lr": job["step_size"], "localization": job["gamma"], "nbeta": job["n_beta"]},
            num_draws=draws,
            num_chains=job["chains"],
            init_loss=material.baselines[index],
            seed=1000 * (repetition + 1) + index,
            verbose=False,
        )
        losses[index] = found["loss/trace"].mean(-1).tolist()
    return {"units": len(chosen) * job["chains"], "losses": losses}


computed = (
    "estimate_learning_coeff_with_summary with SGMCMC.sgld, a DataLoader of the train pairs shuffled anew every epoch, "
    "the full train set's loss as init_loss"
)
serve({"computed": computed}, repeat, torch.set_num_threads, job["threads"])
