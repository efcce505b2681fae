"""A plain PyTorch loop: checkpoints, chains, draws, one autograd gradient after the other, all positions computed."""

import torch
from networks import Material
from protocol import chains_of, read_job, serve
from torch.nn.functional import cross_entropy

job = read_job()
torch.set_num_threads(job["threads"])
material = Material(job)
n, batch = len(material.pairs), job["batch"]


def chain(index: int, draws: int) -> float:
    """Mean loss of one chain of SGLD, before each update."""
    model = material.checkpoint(index)
    parameters = list(model.parameters())
    center = [parameter.detach().clone() for parameter in parameters]
    losses = torch.empty(draws)
    order, place = torch.randperm(n), 0
    for draw in range(draws):
        if place + batch > n:
            order, place = torch.randperm(n), 0
        rows = order[place : place + batch]
        place += batch
        loss = cross_entropy(model(material.pairs[rows]), material.labels[rows])
        gradients = torch.autograd.grad(loss, parameters)
        losses[draw] = loss.detach()
        with torch.no_grad():
            for parameter, gradient, start in zip(parameters, gradients, center, strict=True):
                drift = job["n_beta"] * gradient + job["gamma"] * (parameter - start)
                noise = torch.randn_like(parameter)
                parameter.add_(-job["step_size"] / 2 * drift + job["step_size"] ** 0.5 * noise)
    return losses.double().mean().item()


def repeat(repetition: int) -> dict:
    """Every checkpoint of this repetition."""
    chosen, draws = chains_of(job, repetition)
    torch.manual_seed(repetition + 1)
    losses = {index: [chain(index, draws) for _ in range(job["chains"])] for index in chosen}
    return {"units": len(chosen) * job["chains"], "losses": losses}


serve(
    {"computed": "plain PyTorch loop over checkpoints, chains and draws with autograd"},
    repeat,
    torch.set_num_threads,
    job["threads"],
)
