"""devinterp 2.0.1: `devinterp.slt.llc.llc` with its default sampler and a loss function for (a, b, answer).

It is made for language models: a sample is a sequence of tokens, [a, b, answer], with one loss for each token that is
predicted. The loss function gives the answer's in both places.
"""

import warnings

import torch
from devinterp.slt.llc import llc
from networks import Material
from protocol import chains_of, read_job, serve
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

job = read_job()
torch.set_num_threads(job["threads"])
warnings.simplefilter("ignore")
material = Material(job)
sequences = torch.cat([material.pairs, material.labels[:, None]], 1)
rows = [{"input_ids": row} for row in sequences]  # quicker to collate than a datasets.Dataset


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Cross-entropy of each sequence's answer, (batch, 2)."""
    losses = cross_entropy(model(tokens[:, :2]), tokens[:, 2], reduction="none")
    return losses[:, None].expand(-1, 2)


def repeat(repetition: int) -> dict:
    """Every checkpoint of this repetition."""
    chosen, draws = chains_of(job, repetition)
    losses = {}
    for index in chosen:
        found = llc(
            material.checkpoint(index),
            rows,  # pyright: ignore[reportArgumentType]
            {},
            lr=job["step_size"],
            n_beta=job["n_beta"],
            localization=job["gamma"],
            loss_fn=loss,
            num_chains=job["chains"],
            num_draws=draws,
            batch_size=job["batch"],
            num_init_loss_batches=1,  # the baseline is the full train set's
            match_sampling_input_ids_across_chains=False,
            init_seed=1000 * (repetition + 1) + index,
            device="cpu",
        )
        losses[index] = found.loss_trace.mean("step").values.tolist()
    return {"units": len(chosen) * job["chains"], "losses": losses}


computed = (
    "devinterp.slt.llc.llc with sgmcmc_sgld on sequences [a, b, answer], minibatches of their own for the chains, "
    "samples into a temporary zarr store as always, num_init_loss_batches 1"
)
serve({"computed": computed}, repeat, torch.set_num_threads, job["threads"])
