"""Chains on another device: everything follows the weights there, and a GPU gives what the CPU gives on the same noise.

The `meta` device holds shapes alone and refuses to mix with the CPU, so that it finds what was left behind there on
machines without a GPU.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.llc import HMC, MALA, SGLD, LeimkuhlerMatthews, RMSpropSGLD, UnderdampedLangevin, estimate
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.subspaces import Entries, Planes, Subspace, Whole
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

META = torch.device("meta")
SAMPLERS = [
    SGLD(0.1),
    RMSpropSGLD(0.1),
    LeimkuhlerMatthews(0.1),
    MALA(0.1),
    HMC(0.1, 2),
    UnderdampedLangevin(0.1, 4.0, 5),
]
KINDS = {
    "transformer": {"layout": "a_b_equals", "d_model": 8, "n_heads": 2, "d_mlp": 16},
    "mlp": {"d_embed": 4, "d_mlp": 8},
}
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Given:
    """The same numbers for every device."""

    def __init__(self, chains: int, dimension: int, device: torch.device) -> None:
        self.stream, self.shape, self.device = np.random.default_rng(0), (chains, dimension), device

    def normal(self) -> Tensor:
        return torch.from_numpy(self.stream.standard_normal(self.shape)).to(self.device)

    def uniform(self) -> Tensor:
        return torch.from_numpy(self.stream.random((self.shape[0], 1))).to(self.device)


def network(kind: str) -> Network:
    task = ModularTask(modulus=7, operation="addition", train_fraction=0.5)
    return Network(models.build(tokens=7, kind=kind, **KINDS[kind]), task)


@pytest.mark.parametrize("own_data", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_lies_where_the_weights_lie(kind, own_data):
    found = network(kind)
    stack = {name: torch.zeros(3, *shape, device=META) for name, shape in found.shapes.items()}
    lead = (3, 12) if own_data else (12,)
    inputs, labels = (torch.zeros(*lead, *more, dtype=torch.int64, device=META) for more in ((2,), ()))
    losses, gradients = found.stacked_loss_and_gradient(stack, inputs, labels, own_data, list(stack))
    assert losses.device == META
    assert losses.shape == (3,)
    assert {name: (g.device, g.shape) for name, g in gradients.items()} == {
        name: (META, (3, *shape)) for name, shape in found.shapes.items()
    }


def walk(sampler, device: torch.device, updates: int) -> Tensor:
    """Positions of three chains on a quadratic loss in five dimensions."""
    curvature = torch.linspace(1, 5, 5, dtype=torch.float64, device=device)
    center = torch.linspace(-1, 1, 15, dtype=torch.float64, device=device).reshape(3, 5)
    n_beta, gamma = (torch.full((3, 1), value, dtype=torch.float64, device=device) for value in (3.0, 2.0))
    posterior = LocalPosterior(center, n_beta, gamma, box=1.0)

    def evaluate(position: Tensor) -> tuple[Tensor, Tensor]:
        offset = position - center
        return (offset.square() * curvature).sum(1) / 2, offset * curvature

    noise = Given(3, 5, device)
    state = sampler.init(center.clone(), evaluate, noise)
    for _ in range(updates):
        state = sampler.update(state, evaluate, noise, posterior)
    return state.position


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
def test_a_sampler_works_where_the_chains_are(sampler):
    assert walk(sampler, META, 3).device == META


@on_gpu
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
def test_a_sampler_walks_the_same_way_on_a_gpu(sampler):
    there = walk(sampler, torch.device("cuda"), 50).cpu()
    torch.testing.assert_close(there, walk(sampler, torch.device("cpu"), 50), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "part",
    [Whole(), Entries(torch.tensor([0, 5])), Planes(-2, torch.linalg.qr(torch.randn(7, 2)).Q.T)],
    ids=["whole", "entries", "planes"],
)
def test_a_subspace_follows_the_weights(part):
    subspace = Subspace({"W_E": torch.Size((7, 4))}, {"W_E": part})
    stack = {"W_E": torch.zeros(3, 7, 4, device=META)}
    coordinates = subspace.coordinates(stack)
    assert coordinates.device == META
    assert subspace.place(coordinates, stack)["W_E"].device == META


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_a_sentence_says_so():
    with pytest.raises(SltGrokError, match="device: expected null, since torch finds no CUDA device"):
        estimate(trajectory(), sampler=SGLD(1e-4), n_beta=5.0, gamma=10.0, draws=4, device="cuda")


def trajectory() -> Trajectory:
    found = network("transformer")
    generator = torch.Generator().manual_seed(0)
    parameters = {name: 0.3 * torch.randn(4, *shape, generator=generator) for name, shape in found.shapes.items()}
    return Trajectory(found, parameters, ("step",), {"step": np.arange(4)})


@on_gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_is_the_same_on_a_gpu(kind):
    found, generator = network(kind), torch.Generator().manual_seed(1)
    assert found.task is not None
    inputs, labels = found.task.data("train")
    stack = {name: torch.randn(3, *shape, generator=generator) for name, shape in found.shapes.items()}
    here, there = (
        found.stacked_loss_and_gradient(
            {name: tensor.to(device) for name, tensor in stack.items()}, inputs.to(device), labels.to(device), False,
            list(stack),
        )
        for device in ("cpu", "cuda")
    )  # fmt: skip
    torch.testing.assert_close(there[0].cpu(), here[0], rtol=1e-5, atol=1e-6)
    for name, gradient in there[1].items():
        torch.testing.assert_close(
            gradient.cpu(), here[1][name], rtol=1e-3, atol=1e-5 * here[1][name].abs().max().item()
        )


@on_gpu
def test_an_llc_is_the_same_within_its_error_on_a_gpu():
    """Two means of 16 chains a network: with four networks one of 2,000 repetitions fails at 4 standard errors."""
    settings = {"sampler": SGLD(1e-4), "n_beta": 20.0, "gamma": 50.0, "chains": 16, "draws": 400, "burn_in": 200}
    here, there = (estimate(trajectory(), device=device, **settings) for device in (None, "cuda"))
    spread = np.hypot(here.llc_chain.std("chain"), there.llc_chain.std("chain")) / 4
    assert (abs(here.llc - there.llc) < 4 * spread).all()
    assert there.attrs["device"] == "cuda"
