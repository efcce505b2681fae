"""Data in the forms that people have it: the same samples in another form give the same estimate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset
from torch.utils.data import WeightedRandomSampler as Weighted

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, estimate
from slt_grok.models import build
from slt_grok.samples import read
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

X, Y = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
SHORT = {"sampler": SGLD(1e-3), "n_beta": 10.0, "gamma": 20.0, "chains": 2, "draws": 6, "burn_in": 0}
DATASET = TensorDataset(X, Y)


def traces(module: nn.Module, data: Any, **options: Any) -> np.ndarray:
    return estimate(module, data, **{**SHORT, **options}).loss_trace.values


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 3)


@pytest.mark.parametrize(
    "data",
    [
        (X.numpy(), Y.numpy().astype(np.int32)),
        (X.tolist(), Y.tolist()),
        [X.requires_grad_(False), Y.to(torch.uint8)],
        DATASET,
        DataLoader(DATASET, batch_size=7, shuffle=True, drop_last=True),
        DataLoader(DATASET, batch_size=4),
        DataLoader(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), sampler=SubsetRandomSampler(range(30))),
        Subset(TensorDataset(torch.cat([X + 1, X]), torch.cat([Y, Y])), range(30, 60)),
        {"input": X, "labels": Y},
        DataLoader([{"input": x, "label": int(y)} for x, y in DATASET], batch_size=8),  # pyright: ignore[reportArgumentType]
    ],
)
def test_every_form_is_the_same_data(data: Any) -> None:
    for options in ({}, {"batch_size": 5}):
        np.testing.assert_array_equal(traces(linear(), data, **options), traces(linear(), (X, Y), **options))


class Sum(nn.Module):
    """A module with two inputs: the sum of two linear maps, or the map of the joined inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = linear()

    def forward(self, left: Tensor, right: Tensor, index: Tensor | None = None) -> Tensor:
        shift = 0 if index is None else index[:, None]
        return self.linear(torch.cat([left, right], 1)) + shift


@pytest.mark.parametrize("options", [{}, {"batch_size": 5, "dtype": torch.float64}])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda left, right: ((left, right), Y),
        lambda left, right: ((left.numpy(), right.numpy()), Y),
        lambda left, right: ({"right": right, "left": left}, Y),
        lambda left, right: {"right": right, "left": left, "labels": Y},
        lambda left, right: DataLoader(Joined(left, right), batch_size=4, shuffle=True),
    ],
)
def test_several_inputs_are_the_same_as_one(wrap: Callable[[Tensor, Tensor], Any], options: dict) -> None:
    left, right = X[:, :1], X[:, 1:]
    many, one = (
        estimate(Sum(), wrap(left, right), **{**SHORT, **options}),
        estimate(linear(), (X, Y), **{**SHORT, **options}),
    )
    np.testing.assert_allclose(many.loss_trace, one.loss_trace, rtol=1e-5)
    assert many.attrs["n"] == 30


def test_several_inputs_go_through_the_rule_that_chooses_settings() -> None:
    options = {"loss": lambda o, y: (o[:, 0] - y) ** 2, "updates": 40, "chains": 4}
    many = estimate(Sum(), ((X[:, :1], X[:, 1:]), Y), **options)
    one = estimate(linear(), (X, Y), **options)
    assert many.attrs["n_beta"] == pytest.approx(one.attrs["n_beta"], rel=1e-4)
    np.testing.assert_allclose(many.llc_correction, one.llc_correction, rtol=1e-4)


class Joined(Dataset):
    """Samples ((left, right), label)."""

    def __init__(self, left: Tensor, right: Tensor) -> None:
        self.left, self.right = left, right

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        return (self.left[index], self.right[index]), Y[index]


def test_integers_among_several_inputs_stay_integers() -> None:
    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(3, 3)

        def forward(self, scale: Tensor, token: Tensor) -> Tensor:
            return scale[:, None] * self.table(token)

    torch.manual_seed(0)
    result = estimate(Lookup(), ((torch.ones(30), Y), Y), **SHORT)
    torch.manual_seed(0)
    table = nn.Embedding(3, 3)
    right = nn.functional.cross_entropy(table(Y).double(), Y).item()
    assert result.baseline_loss.item() == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_a_split_is_named(split: Any) -> None:
    module, task = build("mlp", 5, d_embed=3, d_mlp=4), ModularTask(5, train_fraction=0.6)
    trajectory = Trajectory.of(module, task)
    np.testing.assert_array_equal(traces(trajectory, split), traces(trajectory, task.data(split)))  # pyright: ignore[reportArgumentType]


class Noisy(Joined):
    """A random transform of the inputs."""

    def __getitem__(self, index: int) -> Any:
        return X[index] + torch.rand(2), Y[index]


class NoisyTargets(Joined):
    """Random targets."""

    def __getitem__(self, index: int) -> Any:
        return X[index], torch.rand(())


class Endless(IterableDataset):
    """No length."""

    def __iter__(self) -> Any:
        while True:
            yield X[0], Y[0]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (Noisy(X, X), "expected the same samples whenever the dataset is read; remove random transforms"),
        (DataLoader(Noisy(X, X)), "expected the same samples whenever the dataset is read"),
        (NoisyTargets(X, X), "expected the same samples whenever the dataset is read; remove random transforms"),
        (Endless(), "Endless has no length"),
        (DataLoader(Endless()), "Endless has no length"),
        (TensorDataset(X[:0], Y[:0]), "TensorDataset is empty"),
        (TensorDataset(X), "got 1 items"),
        (TensorDataset(X, X, Y), "got 3 items"),
        (DataLoader(DATASET, sampler=Weighted([1.0] * 30, 30)), "draws every sample once, got one with Weighted"),
        (DataLoader(DATASET, batch_size=None), "draws every sample once, got one with SequentialSampler and NoneType"),
        (DataLoader(["a", "b"]), "expected numbers for inputs, got str"),  # pyright: ignore[reportArgumentType]
        ([(X[0], 1), (X[1], 2)], "expected one tensor of inputs, got a tuple of tensors"),
        (([X[:, :1], X[:, 1:]], Y), "expected one tensor of inputs, got a list of tensors; stack them"),
        (((X, Y[:5]), Y), "expected as many targets as inputs, got 30, 5 and 30"),
        ({"x": X, "y": Y}, "a dict of inputs and labels, got the keys x, y"),
        ({"labels": Y}, "got the keys labels"),
        (([[1.0, 2.0], [3.0]], [0, 1]), "expected numbers for inputs"),
        ((X, None), "expected numbers for targets"),
        ((1.0, 2.0), "inputs is one number"),
        ("test", "the network has no task with a split 'test'"),
        (range(3), "got range"),
        ((torch.cat([X] * 4), torch.cat([Y, Y, Y, Y + 1])), "not all 120: .*out of bounds"),
        (({"left": X, "other": X}, Y), r"the network fails on inputs of shape \(30, 2\) and torch.float32, shape"),
    ],
)
def test_anything_else_is_a_sentence(data: Any, named: str) -> None:
    with pytest.raises(SltGrokError, match=f"data: .*{named}"):
        estimate(linear(), data, **SHORT)


def test_a_split_that_the_task_does_not_have_is_a_sentence() -> None:
    trajectory = Trajectory.of(build("mlp", 5, d_embed=3, d_mlp=4), ModularTask(5, train_fraction=1.0))
    with pytest.raises(SltGrokError, match="data: expected one of the task's splits train, test, all, got 'val'"):
        estimate(trajectory, "val", **SHORT)
    with pytest.raises(SltGrokError, match="data: expected samples in the test split"):
        estimate(trajectory, "test", **SHORT)


def test_a_dataset_is_read_in_its_order_and_numbers_keep_their_precision() -> None:
    inputs, targets = read(DataLoader(Joined(X, X), shuffle=True, batch_size=3, drop_last=True))
    assert isinstance(inputs, tuple)
    assert torch.equal(inputs[1], X)
    assert torch.equal(targets, Y)
    inputs, targets = read(([0.1, 0.2], [1, 2]))
    assert isinstance(inputs, Tensor)
    assert torch.equal(inputs, torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert targets.dtype == torch.int64
