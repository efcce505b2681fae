"""Which weights move: dimensions by hand, round trips, what stays, and the planes against cosines written out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.interventions import relabel
from slt_grok.llc import UnderdampedLangevin, estimate, restrictions
from slt_grok.llc.subspaces import Entries, Planes, Subspace, everything
from slt_grok.models import EmbeddingMLP, Network, OneLayerTransformer, QuadraticNetwork
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 7
MODELS = {
    "transformer": OneLayerTransformer(P, d_model=8, n_heads=2, d_mlp=6),
    "two tokens": OneLayerTransformer(P, d_model=8, n_heads=2, d_mlp=6, layout="a_b"),
    "sum": EmbeddingMLP(P, d_embed=4, d_mlp=6, combine="sum", output_bias=True),
    "concatenation": EmbeddingMLP(P, d_embed=4, d_mlp=6),
    "quadratic": QuadraticNetwork(P, 5),
}
TASK = ModularTask(P)
SUM = Network(MODELS["sum"], TASK)
TOKEN_ENTRIES = {  # entries a direction over Z_p moves: columns of the embedding, rows of the unembedding, the bias
    "transformer": 8 + 8,
    "two tokens": 8 + 8,
    "sum": 4 + 6 + 1,
    "concatenation": 4 + 6,
    "quadratic": 5 + 5 + 5,
}


def random_stack(module: nn.Module, copies: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(copies, *parameter.shape, dtype=torch.float64, generator=generator)
        for name, parameter in module.named_parameters()
    }


def some_subspaces(name: str) -> dict[str, Subspace]:
    module, network = MODELS[name], Network(MODELS[name], TASK)
    shapes = {n: p.shape for n, p in module.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    found = {
        "everything": everything(shapes),
        "weights": restrictions.parameters(module, "W*"),
        "entries": Subspace(
            shapes, {n: Entries(torch.randperm(s.numel(), generator=generator)[:3]) for n, s in shapes.items()}
        ),
        "one": restrictions.frequencies(network, [2]),
        "two": restrictions.frequencies(network, [3, 1]),
        "others": restrictions.other_frequencies(network, [2]),
        "tables": restrictions.other_frequencies(network, []),
    }
    if restrictions.heads(module):
        found["head"] = restrictions.head(module, 1)
    return found


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_chain_at_its_coordinates_and_back(name: str, data: st.DataObject) -> None:
    subspaces = some_subspaces(name)
    subspace = subspaces[data.draw(st.sampled_from(list(subspaces)))]
    stack = random_stack(MODELS[name], seed=data.draw(st.integers(0, 1000)))
    here = subspace.coordinates(stack)
    assert here.shape == (3, subspace.dimension)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    there = torch.randn(here.shape, generator=generator, dtype=torch.float64)
    moved = subspace.place(there, stack)
    torch.testing.assert_close(subspace.coordinates(moved), there)
    for key, tensor in subspace.place(here, moved).items():  # and back: nothing else had changed
        torch.testing.assert_close(tensor, stack[key])
    # orthonormal coordinates: gamma |z - z*|^2 is gamma |w - w*|^2
    distance = sum((moved[key] - stack[key]).flatten(1).square().sum(1) for key in stack)
    torch.testing.assert_close(distance, (there - here).square().sum(1))


@pytest.mark.parametrize("name", list(MODELS))
def test_dimensions(name: str) -> None:
    module, subspaces = MODELS[name], some_subspaces(name)
    total = sum(parameter.numel() for parameter in module.parameters())
    assert subspaces["everything"].dimension == total
    assert sum(part.dimension for part in restrictions.matrices(module).values()) == total
    per_direction = TOKEN_ENTRIES[name]
    assert subspaces["one"].dimension == 2 * per_direction
    assert subspaces["two"].dimension == 4 * per_direction
    assert subspaces["others"].dimension == (P - 2) * per_direction
    assert subspaces["tables"].dimension == P * per_direction


def test_dimension_of_a_head() -> None:
    assert restrictions.head(MODELS["transformer"], 0).dimension == 4 * 8 * 4  # four slices of d_model x d_head


@pytest.mark.parametrize("name", list(MODELS))
def test_planes_and_their_complement_make_the_whole_tables(name: str) -> None:
    module, subspaces = MODELS[name], some_subspaces(name)
    stack, target = random_stack(module), random_stack(module, seed=9)
    one, others = subspaces["one"], subspaces["others"]
    half = one.place(one.coordinates(target), stack)
    torch.testing.assert_close(others.coordinates(half), others.coordinates(stack))  # orthogonal
    both = others.place(others.coordinates(target), half)
    roles = {key: axis for key, axis in module.token_roles().values() if key in stack}
    for key, tensor in both.items():
        if key not in roles:
            assert torch.equal(tensor, stack[key])
            continue
        tokens, rest = tensor.tensor_split([P], roles[key])
        torch.testing.assert_close(tokens, target[key].tensor_split([P], roles[key])[0])
        torch.testing.assert_close(rest, stack[key].tensor_split([P], roles[key])[1])  # the '=' sign in neither


@pytest.mark.parametrize("k", [1, 2, 3])
def test_what_moves_are_waves_of_that_frequency(k: int) -> None:
    """Every column's change is a cos(2 pi k t / p) + b sin(2 pi k t / p), every answer row's too."""
    module = MODELS["transformer"]
    subspace, stack = restrictions.frequencies(Network(module, TASK), [k]), random_stack(module)
    moved = subspace.place(torch.randn(3, subspace.dimension, dtype=torch.float64), stack)
    angle = 2 * np.pi * k * np.arange(P) / P
    waves = np.stack([np.cos(angle), np.sin(angle)], -1)
    embedding = (moved["W_E"] - stack["W_E"])[0].numpy()
    assert not embedding[P].any()  # '='
    unembedding = (moved["W_U"] - stack["W_U"])[0].numpy()
    for change in (embedding[:P], unembedding.T):
        assert np.abs(change).max() > 0.1
        solution = np.linalg.lstsq(waves, change, rcond=None)[0]
        np.testing.assert_allclose(waves @ solution, change, atol=1e-12)


def test_a_head_moves_its_own_slices_alone() -> None:
    module = MODELS["transformer"]
    subspace, stack = restrictions.head(module, 1), random_stack(module)
    moved = subspace.place(subspace.coordinates(stack) + 1, stack)
    for name, tensor in moved.items():
        change = tensor - stack[name]
        if name in ("W_Q", "W_K", "W_V", "W_O"):
            assert not change[:, 0].any()
            torch.testing.assert_close(change[:, 1], torch.ones_like(change[:, 1]))
        else:
            assert not change.any()


def test_only_what_moves_has_a_gradient() -> None:
    module = MODELS["concatenation"]
    stack = random_stack(module)
    subspace = restrictions.parameters(module, "W_U")
    placed = subspace.place(subspace.coordinates(stack).requires_grad_(), stack)
    assert [name for name, tensor in placed.items() if tensor.requires_grad] == ["W_U"]


def trained(task: ModularTask, steps: int = 150) -> Trajectory:
    module = EmbeddingMLP(task.modulus, d_embed=8, d_mlp=16, combine="sum", output_bias=True)
    module.initialize(torch.Generator().manual_seed(0))
    module = module.double()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    inputs, targets = task.data("train")
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(inputs), targets).backward()
        optimizer.step()
    return Trajectory.of(module, task)


def test_frequency_k_under_new_names_is_frequency_k_over_m() -> None:
    """t -> 5 t on Z_13 turns frequency 2 into 5^-1 2 = 3 (5 * 3 = 15 = 2): the same chains on the same noise."""
    before = trained(ModularTask(13, train_fraction=0.5))
    after = relabel(before, [5 * t % 13 for t in range(13)])
    length = {"n_beta": 50.0, "gamma": 20.0, "chains": 2, "draws": 20, "burn_in": 5, "batch_size": 32}

    def traces(trajectory: Trajectory, k: int) -> np.ndarray:
        subspace = restrictions.frequencies(trajectory.network, [k])
        found = estimate(trajectory, sampler=UnderdampedLangevin(0.05, 10.0), subspace=subspace, **length)
        return found.loss_trace.values

    same = traces(before, 2)
    np.testing.assert_allclose(traces(after, 3), same, rtol=1e-9)
    assert np.abs(traces(after, 2) / same - 1).max() > 1e-3


def test_planes_along_any_axis() -> None:
    shapes = {"w": torch.Size((4, 3, 2))}
    stack = {"w": torch.arange(48.0).reshape(2, 4, 3, 2)}
    subspace = Subspace(shapes, {"w": Planes(-2, torch.tensor([[0.0, 1.0, 0.0]]))})
    assert subspace.dimension == 8
    moved = subspace.place(torch.zeros(2, 8), stack)["w"]
    assert not moved[:, :, 1].any()
    assert torch.equal(moved[:, :, [0, 2]], stack["w"][:, :, [0, 2]])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: restrictions.parameters(MODELS["quadratic"], "W_E"), "matches one of U, V, W, got 'W_E'"),
        (lambda: restrictions.parameters(MODELS["sum"], "W*", "c*"), r"W_E, W_in, b_in, W_U, b_U, got 'c\*'"),
        (lambda: restrictions.head(MODELS["sum"], 0), "below 0, the number of attention heads"),
        (lambda: restrictions.head(MODELS["transformer"], 2), "below 2, the number of attention heads, got 2"),
        (lambda: restrictions.frequencies(SUM, [4]), r"distinct ones in 1\.\.3, got \[4\]"),
        (lambda: restrictions.frequencies(SUM, [1, 1]), r"got \[1, 1\]"),
        (lambda: restrictions.frequencies(SUM, []), r"got \[\]"),
        (lambda: restrictions.frequencies(Network(nn.Linear(1, 1), TASK), [1]), "a task with a group and a model"),
        (lambda: restrictions.frequencies(Network(MODELS["sum"]), [1]), "a task with a group and a model"),
        (lambda: restrictions.split(ModularTask(P, train_fraction=1.0), "test"), "train_fraction 1.0 leaves none"),
    ],
)
def test_bad_input_is_named(make, sentence: str) -> None:
    with pytest.raises(SltGrokError, match=sentence):
        make()


def test_a_split_of_the_pairs() -> None:
    task = ModularTask(P, train_fraction=0.5)
    counts = {name: len(restrictions.split(task, name)[0]) for name in ("train", "test", "all")}
    assert counts == {"train": 24, "test": 25, "all": 49}
