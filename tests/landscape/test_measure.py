import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from slt_grok import landscape, models
from slt_grok.landscape.logit_scale import at_temperature, logit_standard_deviation
from slt_grok.operators.curvature import CurvatureOperator
from slt_grok.operators.objective import Objective
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory


def trajectory_of(train_fraction: float = 0.5, steps=(0, 10, 100, 1000), seeds=(0, 3)) -> Trajectory:
    task = ModularTask(7, train_fraction=train_fraction)
    module = models.build("transformer", 7, d_model=4, n_heads=2, d_mlp=6)
    stacks: dict[str, list] = {}
    for index, _ in enumerate(steps):
        drawn = []
        for seed in seeds:
            module.initialize(torch.Generator().manual_seed(100 * seed + index))
            drawn.append({k: v.detach().clone() for k, v in module.named_parameters()})
        for name in drawn[0]:
            stacks.setdefault(name, []).append(torch.stack([d[name] for d in drawn]))
    parameters = {name: torch.stack(values) for name, values in stacks.items()}
    coords = {"step": np.array(steps), "seed": np.array(seeds)}
    return Trajectory(Network(module, task), parameters, ("step", "seed"), coords)


def measure(trajectory: Trajectory, **settings) -> xr.Dataset:
    probes = landscape.at_checkpoints(trajectory, eigenvalues=1, **settings)
    return xr.merge([landscape.between_checkpoints(trajectory), probes], join="exact")


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return measure(trajectory_of())


def test_names_and_dimensions(whole):
    own = {
        "weight_norm": ("component",),
        "gradient_norm": (),
        "hessian_trace": (),
        "hessian_eigenvalue": ("eigenvalue",),
        "gauss_newton_trace": (),
        "gauss_newton_trace_unit_scale": (),
        "effective_dimension": ("c",),
        "effective_dimension_unit_scale": ("c",),
        "sharpness": ("mode", "radius"),
        "average_sharpness": ("mode", "sigma"),
        "radial_log_volume": ("epsilon",),
        "interpolation_loss": ("split", "position"),
        "loss_barrier": ("split",),
        "update_norm": ("component",),
        "gradient_noise_scale": (),
        "effective_rank": ("weight_matrix",),
    }
    assert {name: whole[name].dims for name in own} == {name: ("step", "seed", *dims) for name, dims in own.items()}
    assert all(array.dtype == np.float64 for array in whole.data_vars.values())
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in whole.data_vars.values())
    assert whole.component.values[-1] == "total"
    assert whole.position.values.tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]


@pytest.mark.parametrize(("scale", "end"), [("own", ""), ("unit", "_unit_scale")])
def test_effective_dimension_is_that_of_the_dense_gauss_newton_matrix(scale, end):
    """Means of 16 seeds within 4 of their standard errors (0.1% of them are not), which those reported agree with."""
    trajectory = trajectory_of().isel(step=[2], seed=[0])
    objective = Objective.of(trajectory)
    scaled = objective if scale == "own" else at_temperature(objective, logit_standard_deviation(objective, 0))
    operator = CurvatureOperator(scaled, 0, "gauss_newton")
    h = np.linalg.eigvalsh(operator.matmat(np.eye(operator.shape[0])))
    found = [landscape.at_checkpoints(trajectory, eigenvalues=1, seed=seed).squeeze() for seed in range(16)]
    truths = {f"effective_dimension{end}": (h / (h + 1)).sum(), f"gauss_newton_trace{end}": h.sum()}
    for name, truth in truths.items():
        values, errors = (
            np.array([one[n].item() if "c" not in one[n].dims else one[n].sel(c=1).item() for one in found])
            for n in (name, f"{name}_se")
        )
        assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / 16**0.5
        # a variance from 16 values is known to 37%, the mean of 16 from 3 degrees of freedom each to 20%
        assert 1 / 3 < (errors**2).mean() / values.var(ddof=1) < 2.2


def test_shards_with_one_checkpoint_before_give_the_whole(whole):
    trajectory = trajectory_of()
    pieces = []
    for start, shard in zip(range(0, 4, 2), trajectory.shards(2, overlap=1), strict=True):
        piece = measure(shard)
        pieces.append(piece.isel(step=slice(1 if start else 0, None)))
    xr.testing.assert_allclose(xr.concat(pieces, "step"), whole, rtol=1e-9, atol=1e-13)


def test_one_network_gives_its_own_values(whole):
    alone = measure(trajectory_of().isel(step=3, seed=1))
    for name in ("gradient_norm", "hessian_trace", "hessian_trace_se", "hessian_eigenvalue", "weight_norm"):
        np.testing.assert_allclose(alone[name][0, 0], whole[name][3, 1], rtol=1e-9)


def test_same_seed_same_values_other_seed_other_probes(whole):
    last = trajectory_of().isel(step=[3])
    again, other = (landscape.at_checkpoints(last, eigenvalues=1, seed=seed).sel(step=1000) for seed in (0, 1))
    xr.testing.assert_allclose(again, whole[list(again.data_vars)].sel(step=1000), rtol=1e-12)
    assert (other.average_sharpness != again.average_sharpness).all()
    np.testing.assert_allclose(other.hessian_eigenvalue, again.hessian_eigenvalue, rtol=2e-3)


def test_ends_of_a_line_are_the_losses_of_the_checkpoints(whole):
    trajectory = trajectory_of()
    for split in ("train", "test"):
        inputs, labels = trajectory.task.data(split)
        logits = trajectory.network.stacked_outputs(trajectory.stacked(), inputs).double()
        losses = [nn.functional.cross_entropy(part, labels).item() for part in logits]
        losses = np.array(losses).reshape(4, 2)
        lines = whole.interpolation_loss.sel(split=split)
        np.testing.assert_allclose(lines[1:, :, -1], losses[1:], rtol=1e-6)
        np.testing.assert_allclose(lines[1:, :, 0], losses[:-1], rtol=1e-6)
    assert np.isnan(whole.interpolation_loss[0]).all()
    assert np.isnan(whole.loss_barrier[0]).all()
    assert (whole.loss_barrier[1:] >= 0).all()


def test_progress_counts_networks():
    done = []
    trajectory = trajectory_of().isel(step=[2])
    landscape.at_checkpoints(trajectory, eigenvalues=1, on_progress=lambda *progress: done.append(progress))
    assert done == [(0.5,), (1.0,)]


def test_no_test_set():
    found = landscape.between_checkpoints(trajectory_of(1.0, steps=(0, 1)))
    assert np.isnan(found.loss_barrier.sel(split="test")).all()
    assert np.isfinite(found.loss_barrier.sel(split="train", step=1)).all()
