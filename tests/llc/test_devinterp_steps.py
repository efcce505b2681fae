"""Our SGLD and RMSprop-SGLD step for step as devinterp's, on the same gradients and the same noise.

No statistics: the trajectories agree to rounding.
"""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from slt_grok.llc import SGLD, RMSpropSGLD
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.subspaces import Entries, Subspace, everything
from tests.llc.gaussians import posterior_around

optim = pytest.importorskip("devinterp.optim", reason="devinterp (the dev extra) cannot be imported")

STEPS, EPSILON, N_BETA, GAMMA = 40, 2e-3, 30.0, 7.0
generator = torch.Generator().manual_seed(0)
X = torch.randn(20, 3, generator=generator, dtype=torch.float64)
Y = torch.randn(20, 2, generator=generator, dtype=torch.float64)
NOISE = torch.randn(STEPS, 8, generator=generator, dtype=torch.float64)  # weight (2, 3), then bias (2,)
START = torch.randn(8, generator=generator, dtype=torch.float64)


def module() -> nn.Module:
    linear = nn.Linear(3, 2).double()
    nn.utils.vector_to_parameters(START.clone(), linear.parameters())
    return linear


def loss_of(outputs: Tensor) -> Tensor:
    return ((outputs.tanh() - Y) ** 2).mean()


def theirs(make: Callable[..., torch.optim.Optimizer], monkeypatch: pytest.MonkeyPatch, **options: object) -> Tensor:
    """Parameters after each step, (STEPS, 8)."""
    network, pieces = module(), [piece for row in NOISE for piece in (row[:6].reshape(2, 3), row[6:])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = make(network.parameters(), lr=EPSILON, nbeta=N_BETA, localization=GAMMA, **options)

    def next_piece(*, size: torch.Size, **_: object) -> Tensor:
        piece = pieces.pop(0)
        assert piece.shape == size
        return piece

    monkeypatch.setattr(torch, "normal", next_piece)
    found = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(network(X)).backward()
        optimizer.step()
        found.append(nn.utils.parameters_to_vector(network.parameters()).detach().clone())
    assert not pieces
    return torch.stack(found)


class Given:
    """The rows of NOISE in turn, or some of their columns."""

    def __init__(self, columns: Tensor) -> None:
        self.rows = iter(NOISE[:, columns])

    def normal(self) -> Tensor:
        return next(self.rows)[None]

    def uniform(self) -> Tensor:
        raise AssertionError("these samplers need no uniform numbers")


def ours(sampler: Sampler, subspace: Subspace, columns: Tensor) -> Tensor:
    network = module()
    stack = {name: parameter.detach()[None] for name, parameter in network.named_parameters()}

    def placed(coordinates: Tensor) -> dict[str, Tensor]:
        return {name: tensor[0] for name, tensor in subspace.place(coordinates, stack).items()}

    def evaluate(position: Tensor) -> tuple[Tensor, Tensor]:
        leaf = position.detach().clone().requires_grad_()
        loss = loss_of(functional_call(network, placed(leaf), (X,)))
        return loss.detach()[None], torch.autograd.grad(loss, leaf)[0]

    posterior = posterior_around(subspace.coordinates(stack), 1, N_BETA, GAMMA)
    noise = Given(columns)
    state, found = sampler.init(posterior.center.clone(), evaluate, noise), []
    for _ in range(STEPS):
        state = sampler.update(state, evaluate, noise, posterior)
        found.append(torch.cat([tensor.flatten() for tensor in placed(state.position).values()]))
    return torch.stack(found)


SHAPES = {"weight": torch.Size([2, 3]), "bias": torch.Size([2])}
ALL = torch.arange(8)


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("sgld", SGLD(EPSILON)), ("rmsprop_sgld", RMSpropSGLD(EPSILON, adaptation=None, relative=False))],
)
def test_the_same_trajectory(name: str, sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    right = theirs(getattr(optim.SGMCMC, name), monkeypatch)
    found = ours(sampler, everything(SHAPES), ALL)
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-11)
    assert (right[-1] - START).abs().min() > 1e-3


def test_a_mask_is_a_subspace_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """devinterp's mask of a weight's first row and one bias; the other weights stay where they are."""
    masks = [torch.tensor([[1, 1, 1], [0, 0, 0]]).bool(), torch.tensor([0, 1]).bool()]
    right = theirs(optim.SGMCMC.sgld, monkeypatch, mask=masks)
    moving = torch.tensor([0, 1, 2, 7])
    subspace = Subspace(SHAPES, {"weight": Entries(torch.tensor([0, 1, 2])), "bias": Entries(torch.tensor([1]))})
    found = ours(SGLD(EPSILON), subspace, moving)
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-11)
    still = torch.tensor([3, 4, 5, 6])
    torch.testing.assert_close(right[:, still], START[still].expand(STEPS, -1), rtol=0, atol=0)
    assert (right[-1, moving] - START[moving]).abs().min() > 1e-3
