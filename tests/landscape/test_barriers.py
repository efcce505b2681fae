from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.alignment import align, shuffle
from slt_grok.landscape.barriers import barrier, barrier_matrix, matrix_seconds, neighbor_barriers
from slt_grok.landscape.bezier import bezier
from slt_grok.landscape.evaluation import Samples, losses_at, predicted_seconds, splits
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory
from tests.gromov import gromov
from tests.landscape.toys import stacked

TRANSFORMER = {"kind": "transformer", "d_model": 6, "n_heads": 2, "d_mlp": 10}


def double_well(w):
    return (w[0] ** 2 - 1) ** 2


def on_toy(points, loss) -> Trajectory:
    return stacked(torch.tensor([[float(x), 0.0] for x in points]), loss)


def trajectory_of(seeds: int = 2, steps: int = 3, p: int = 7, model: dict | None = None) -> Trajectory:
    module = models.build(**(model or TRANSFORMER), tokens=p)
    drawn = []
    for index in range(steps * seeds):
        module.initialize(torch.Generator().manual_seed(index))
        drawn.append({k: v.detach().clone().double() for k, v in module.named_parameters()})
    stack = {name: torch.stack([d[name] for d in drawn]).unflatten(0, (steps, seeds)) for name in drawn[0]}
    coords = {"step": 10 * np.arange(steps), "seed": np.arange(seeds)}
    network = Network(module, ModularTask(p, train_fraction=0.5))
    return Trajectory(network, stack, ("step", "seed"), coords)


def test_matrix_of_a_double_well():
    """(w^2 - 1)^2 from -1 to 1 leaves 1 at w = 0. From -1 to 0, with w = t - 1, it is (t^2 - 2t)^2 and the chord t: of
    t = 0.25, 0.5, 0.75 the last leaves most, 225/256 - 3/4. From -1, 0 or 1 to 2, where it is 9, the chord is above."""
    found = barrier_matrix(on_toy([-1, 0, 1, 2], double_well), positions=5)
    b = 33 / 256
    expected = [[0, b, 1, 0], [b, 0, b, 0], [1, b, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(found.barrier_between.sel(split="train"), expected, atol=1e-14)
    assert found.barrier_between.dims == ("step", "step_other", "split")
    assert (found.barrier_between_se.sel(split="train") == 0).all()
    assert np.isnan(found.barrier_between.sel(split="test")).all()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_a_convex_loss_has_no_barrier(points):
    found = barrier_matrix(on_toy(points, lambda w: w[0] ** 2 - w[0])).sel(split="train")
    np.testing.assert_allclose(found.barrier_between, 0, atol=1e-12)


def memorized(task: ModularTask) -> Trajectory:
    """A transformer that knows its train set: what one calls a minimum."""
    module = models.build("transformer", task.modulus, d_model=16, n_heads=2, d_mlp=32, activation="gelu").double()
    module.initialize(torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    inputs, labels = task.data("train")
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs), labels).backward()
        optimizer.step()
    return Trajectory.of(module, task)


@pytest.mark.parametrize("kind", ["transformer", "quadratic"])
def test_two_permuted_copies_of_one_network(kind):
    task = ModularTask(11, train_fraction=0.5)
    one = memorized(task) if kind == "transformer" else Trajectory.of(gromov(11, [1, 3, 4], 90), task)
    other = shuffle(one, seed=2)
    both = {name: torch.stack([w, other.parameters[name]]) for name, w in one.parameters.items()}
    pair = Trajectory(one.network, both, ("seed",), {"seed": np.array([0, 1])})
    found = barrier_matrix(pair, "seed", align=True).isel(seed=0, seed_other=1)
    assert found.barrier_between.sel(split="train") > 0.1
    np.testing.assert_allclose(found.barrier_aligned, 0, atol=1e-9)
    np.testing.assert_allclose(found.barrier_aligned_se, 0, atol=1e-9)
    null = barrier(one, shuffle(other, seed=5))
    assert null.line_barrier.sel(split="train") > 0.1


def test_matrix_neighbors_and_pairs_agree():
    trajectory = trajectory_of()
    matrix = barrier_matrix(trajectory, positions=9, rows=None)
    assert matrix.barrier_between.dims == ("step", "seed", "step_other", "split")
    neighbors = neighbor_barriers(trajectory)
    assert neighbors.loss_barrier.dims == ("step", "seed", "split")
    assert np.isnan(neighbors.loss_barrier[0]).all()
    for k in (1, 2):
        expected = matrix.barrier_between.isel(step=k, step_other=k - 1)
        np.testing.assert_allclose(neighbors.loss_barrier[k], expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(
        matrix.barrier_between, matrix.barrier_between.transpose("step_other", "seed", "step", ...)
    )
    between = barrier_matrix(trajectory, "seed", positions=9, rows=None)
    assert between.barrier_between.dims == ("step", "seed", "seed_other", "split")
    pairs = barrier(trajectory.isel(seed=0), trajectory.isel(seed=1), positions=9)
    np.testing.assert_allclose(between.barrier_between[:, 0, 1], pairs.line_barrier[:, 0], rtol=1e-10, atol=1e-13)
    onto_one = barrier(trajectory, trajectory.isel(step=[0] * 3, seed=[1, 1]), positions=9)
    assert float(onto_one.line_barrier[0, 1, 0]) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(onto_one.line_barrier[0, 0], pairs.line_barrier[0, 0], rtol=1e-12)


@pytest.mark.parametrize("compare", [barrier, bezier, align])
def test_pairs_need_equally_many_networks(compare):
    trajectory = trajectory_of()
    for first, second in [(trajectory, trajectory.isel(step=[0])), (trajectory.isel(step=[0]), trajectory)]:
        with pytest.raises(SltGrokError, match="equally many, got"):
            compare(first, second)


def test_ends_of_a_line_are_the_losses_of_the_networks():
    trajectory = trajectory_of()
    found = barrier(trajectory.isel(step=0), trajectory.isel(step=2))
    for split in ("train", "test"):
        inputs, labels = trajectory.task.data(split)
        for end, step in ((0, 0), (-1, 2)):
            for seed in (0, 1):
                weights = {name: w[step, seed] for name, w in trajectory.parameters.items()}
                loss = torch.nn.functional.cross_entropy(trajectory.network.outputs(weights, inputs), labels).item()
                line = found.line_loss.sel(split=split)[0, seed]
                assert float(line[end]) == pytest.approx(loss, rel=1e-12)


def test_standard_error_of_a_part_of_the_samples():
    """200 draws of 96 of 480 samples at one inner position: the mean is unbiased, its error is what is said, and the
    truth is within 3 of it in 95% or more (Student's t with 7 degrees of freedom leaves 2% outside)."""
    trajectory = trajectory_of(seeds=2, steps=1, p=31, model={"kind": "quadratic", "width": 12})
    network, stack = trajectory.network, trajectory.stacked()
    coefficients = np.array([[1.0, 0], [0.5, 0.5], [0, 1.0]])

    def excess(samples: Samples) -> np.ndarray:
        losses = losses_at(network, stack, coefficients, samples)
        return losses[1] - (losses[0] + losses[2]) / 2

    whole = splits(trajectory)["train"]
    truth = excess(whole) @ whole.weights
    drawn = [splits(trajectory, rows=96, seed=seed)["train"] for seed in range(200)]
    values = [excess(samples) for samples in drawn]
    deviation = np.array([v @ s.weights for v, s in zip(values, drawn, strict=True)]) - truth
    errors = np.array([s.standard_error(v) for v, s in zip(values, drawn, strict=True)])
    assert abs(deviation.mean()) < 4 * deviation.std() / 200**0.5
    assert (errors**2).mean() == pytest.approx((deviation**2).mean(), rel=0.4)  # the right side is known to 10%
    assert (abs(deviation) < 3 * errors).mean() >= 0.95


def test_all_samples_have_no_error():
    assert (neighbor_barriers(trajectory_of(), rows=1000).loss_barrier_se[1:] == 0).all()


def test_a_loss_that_is_not_finite_is_nan():
    """1 / |w| between -1 and 1 is infinite at 0; between 1 and 2 it is convex."""
    found = barrier_matrix(on_toy([-1, 1, 2], lambda w: 1 / w[0].abs()), positions=3).sel(split="train")
    assert np.isnan(found.barrier_between[0, 1])
    assert np.isnan(found.barrier_between_se[0, 1])
    assert found.barrier_between[1, 2] == 0


def test_what_it_costs_is_said_beforehand():
    trajectory = trajectory_of()
    counted = 0

    def counting(outputs, targets):
        nonlocal counted
        counted += 1
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

    counted_trajectory = replace(trajectory, network=Network(trajectory.network.module, trajectory.task, counting))
    assert predicted_seconds(counted_trajectory, 1000, splits(trajectory)) > 0
    assert counted <= 7  # a few calls tell, and three that compare vmap with a loop
    assert matrix_seconds(counted_trajectory, "seed", align=True, positions=5, rows=1024) > 0
    assert counted <= 11


def test_progress_counts_pairs():
    done = []
    barrier_matrix(trajectory_of(), positions=3, on_progress=lambda *progress: done.append(progress))
    assert done == [(2 / 6,), (3 / 6,), (5 / 6,), (1.0,)]
