import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from slt_grok import landscape, models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.logit_scale import at_logit_scale
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


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return landscape.measure(trajectory_of(), eigenvalues=1)


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
    scaled = at_logit_scale(Objective.of(trajectory), 0, scale)
    assert scaled is not None
    operator = CurvatureOperator(scaled, 0, "gauss_newton")
    h = np.linalg.eigvalsh(operator.to_scipy().matmat(np.eye(operator.shape[0])))
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
        piece = landscape.measure(shard, eigenvalues=1)
        pieces.append(piece.isel(step=slice(1 if start else 0, None)))
    xr.testing.assert_allclose(xr.concat(pieces, "step"), whole, rtol=1e-9, atol=1e-13)


def test_one_network_gives_its_own_values(whole):
    alone = landscape.measure(trajectory_of().isel(step=3, seed=1), eigenvalues=1)
    for name in ("gradient_norm", "hessian_trace", "hessian_trace_se", "hessian_eigenvalue", "weight_norm"):
        np.testing.assert_allclose(alone[name][0, 0], whole[name][3, 1], rtol=1e-9)


def test_same_seed_same_values_other_seed_other_probes(whole):
    last = trajectory_of().isel(step=[2, 3])
    settings = {"eigenvalues": 1, "probe_steps": [1000]}
    again, other = (landscape.measure(last, seed=seed, **settings).sel(step=1000) for seed in (0, 1))
    xr.testing.assert_allclose(again, whole.sel(step=1000), rtol=1e-12)
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


def test_probes_only_where_asked():
    done = []
    found = landscape.measure(
        trajectory_of(), probe_steps=[100, 77], on_progress=lambda *progress: done.append(progress)
    )
    probed = ("hessian_trace", "hessian_trace_se", "hessian_eigenvalue", "sharpness", "radial_log_volume")
    assert all(np.isfinite(found[name].sel(step=100)).all() for name in probed)
    rest = found.drop_sel(step=100)
    assert all(np.isnan(rest[name]).all() for name in probed)
    assert np.isfinite(rest.gradient_norm).all()
    assert done == [(0.5,), (1.0,)]


def test_no_test_set():
    found = landscape.measure(trajectory_of(1.0, steps=(0, 1)), probe_steps=[])
    assert np.isnan(found.loss_barrier.sel(split="test")).all()
    assert np.isfinite(found.loss_barrier.sel(split="train", step=1)).all()


def test_any_module_with_its_own_data():
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 2))
    checkpoints = {step: {k: v + step for k, v in module.state_dict().items()} for step in (1, 2)}
    trajectory = Trajectory.stack(module, checkpoints)
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(20, 3, generator=generator), torch.randint(2, (20,), generator=generator))
    found = landscape.measure(trajectory, data=data)
    assert found.gradient_norm.dims == ("step",)
    assert np.isfinite(found.hessian_eigenvalue).all()
    assert np.isfinite(found.loss_barrier.sel(step=2, split="train"))
    assert np.isnan(found.loss_barrier.sel(split="test")).all()
    single = landscape.measure(Trajectory.of(module), data=data)
    assert single.hessian_trace.dims == ()
    assert np.isnan(single.loss_barrier).all()


def test_no_task_and_no_data():
    with pytest.raises(SltGrokError, match="task"):
        landscape.measure(Trajectory.of(nn.Linear(2, 2)))


def test_targets_that_do_not_match():
    with pytest.raises(SltGrokError, match="as many targets as inputs"):
        landscape.measure(Trajectory.of(nn.Linear(2, 2)), data=(torch.zeros(3, 2), torch.zeros(2).long()))
