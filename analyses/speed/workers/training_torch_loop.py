"""Full-batch training in plain PyTorch: all positions, losses in float64, torch.optim.AdamW."""

import time

import torch
from networks import Material
from protocol import read_job, serve
from torch.nn.functional import cross_entropy

job = read_job()
torch.set_num_threads(job["threads"])
material = Material(job)
settings = job["training"]


def run(steps: int) -> tuple[float, float]:
    """Seconds, and the train loss after `steps` steps."""
    model = material.checkpoint(0)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        settings["learning_rate"],
        betas=tuple(settings["betas"]),
        weight_decay=settings["weight_decay"],
    )
    warmup = settings["warmup_steps"]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))
    start = time.perf_counter()
    for _ in range(steps):
        loss = cross_entropy(model(material.pairs).double(), material.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return seconds, cross_entropy(model(material.pairs).double(), material.labels).item()


def repeat(repetition: int) -> dict:
    """Train from the same weights again."""
    steps = job["steps"] if repetition >= 0 else 3
    return {"seconds": run(steps)[0], "units": steps, "compared_losses": {0: compared}}


_, compared = run(job["compared_after"])
computed = f"plain PyTorch at all three positions, torch.optim.AdamW, {job['steps']} steps"
serve({"computed": computed}, repeat, torch.set_num_threads, job["threads"])
