"""Other people's kinds of networks on the command line, from their checkpoints to the page."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from slt_grok.studies.run import Run
from tests.conftest import Command

PAGES = True
STEPS = (0, 10, 20)
QUICK = """
llc: {gamma: 30, chains: 2, draws: 8, burn_in: 2, sampler: {name: sgld, step_size: 1e-4}}
landscape: {probe_checkpoints: 2, eigenvalues: 1}
"""
KINDS = '''
import torch
from torch import nn

def normal(*shape): return torch.randn(*shape, generator=torch.Generator().manual_seed(1))
def split(x, y): return {"train": (x[:30], y[:30]), "test": (x[30:], y[30:])}
def classified(x): return split(x, (x.flatten(1).sum(1) > 0).long())
def mse(outputs, targets): return (outputs - targets).square().mean(1)

def batch_norm():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(8, 2),
    )
def batch_norm_data(): return classified(normal(50, 1, 5, 5))

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)
    def forward(self, x):
        return self.out(self.recurrent(x)[0][:, -1])
def lstm(): return Recurrent()
def lstm_data(): return classified(normal(50, 3, 2))

def regression(): return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
def regression_data():
    x = normal(50, 3)
    return split(x, torch.stack([x.sum(1), x[:, 0]], 1))

def frozen():
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    module[0].requires_grad_(False)
    return module
def frozen_data(): return classified(normal(50, 3))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(6, 3), nn.Linear(3, 6, bias=False)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.tensor(2.0))
    def forward(self, tokens):
        return self.scale * self.head(self.embed(tokens).mean(1))
def tied(): return Tied()
def tied_data():
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6)).repeat(2, 1)[:50]
    return split(pairs, pairs.sum(1) % 6)

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True), nn.Linear(4, 2)
    def forward(self, x):
        return self.out(self.layer(x)[:, -1])
def encoder(): return Encoder()
def encoder_data(): return classified(normal(50, 3, 4))

class Once(torch.autograd.Function):
    """tanh(x), with a gradient that cannot be differentiated."""
    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.tanh()
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, gradient):
        return gradient * (1 - context.saved_tensors[0].tanh() ** 2)
class Rough(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
    def forward(self, x):
        return self.second(Once.apply(self.first(x)))
def rough(): return Rough()
def rough_data(): return classified(normal(50, 3))
'''
BATCH_NORM = ("--module", "kinds.py:batch_norm", "--data", "kinds.py:batch_norm_data", "--out", "runs/mine")
NAMES = ("batch_norm", "regression", "frozen", "tied", "lstm", "encoder")
SECOND_DERIVATIVES = (
    "hessian_trace", "hessian_trace_se", "hessian_eigenvalue", "gauss_newton_trace", "gauss_newton_trace_se",
    "effective_dimension", "effective_dimension_se", "gauss_newton_trace_unit_scale",
    "gauss_newton_trace_unit_scale_se", "effective_dimension_unit_scale", "effective_dimension_unit_scale_se",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(nothing_permitted: Path) -> Path:
    """A folder with the person's file."""
    (nothing_permitted / "kinds.py").write_text(KINDS)
    (nothing_permitted / "quick.yaml").write_text(QUICK)
    return nothing_permitted


def trained(home: Path, kind: str) -> tuple[nn.Module, dict, dict]:
    """Train a little, so that running statistics and weights differ by checkpoint, and write the checkpoints."""
    names = runpy.run_path(str(home / "kinds.py"))
    torch.manual_seed(0)
    module, data = names[kind](), names[f"{kind}_data"]()
    loss = names["mse"] if kind == "regression" else nn.functional.cross_entropy
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.03)
    (home / "checkpoints").mkdir()
    states = {}
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            states[step] = {name: tensor.clone() for name, tensor in module.state_dict().items()}
            torch.save(states[step], home / "checkpoints" / f"{step}.pt")
        optimizer.zero_grad()
        loss(module(data["train"][0]), data["train"][1]).mean().backward()
        optimizer.step()
    return module, data, states


def brought(home: Path, slt_grok_command: Command, kind: str) -> Run:
    """Import the checkpoints, measure, and write the page, each by one command."""
    loss = ("--loss", "kinds.py:mse") if kind == "regression" else ()
    options = ("--module", f"kinds.py:{kind}", "--data", f"kinds.py:{kind}_data", *loss, "--out", "runs/mine")
    for words in (("import", "checkpoints", *options), ("measure", "runs/mine", "--config", "quick.yaml")):
        exit_code, error = slt_grok_command(*words)
        assert exit_code == 0, error
    return Run(home / "runs" / "mine")


def loss_of(kind: str, module: nn.Module, state: dict, samples: tuple) -> float:
    """The mean loss of the module in evaluation mode, in double precision."""
    module.load_state_dict(state)
    inputs, targets = (t.double() if t.is_floating_point() else t for t in samples)
    with torch.no_grad():
        outputs = module.double().eval()(inputs)
    if kind == "regression":
        return (outputs - targets).square().mean().item()
    return nn.functional.cross_entropy(outputs, targets).item()


@pytest.mark.parametrize("kind", [k if k == "batch_norm" else pytest.param(k, marks=pytest.mark.slow) for k in NAMES])
def test_the_whole_page_of_a_kind(home: Path, slt_grok_command: Command, kind: str) -> None:
    module, data, states = trained(home, kind)
    run = brought(home, slt_grok_command, kind)
    curves, llc, landscape = (run.data[label].isel(seed=0) for label in ("training", "llc", "landscape"))
    for step, state in states.items():
        for split in ("train", "test"):
            expected = loss_of(kind, module, state, data[split])
            assert curves[f"{split}_loss"].sel(step=step).item() == pytest.approx(expected, rel=1e-6)
        assert llc.baseline_loss.sel(step=step).item() == pytest.approx(curves.train_loss.sel(step=step).item())
    assert np.isnan(curves.test_accuracy).all() == (kind == "regression")
    assert np.isfinite(llc.llc).all()
    for name in SECOND_DERIVATIVES:
        scales = "unit_scale" in name and kind == "regression"
        assert np.isfinite(landscape[name].sel(step=[0, 20])).all() != scales, name
    assert_the_rest_is_measured(landscape)
    page = (run.path / "report.html").read_text()
    for text in ("Local learning coefficient", "Loss landscape", "Train loss"):
        assert text in page
    assert "could not be drawn" not in page
    assert "no second derivatives" not in page
    for text in (
        "Frozen (requires_grad=False): 0.bias and 0.weight do not move",
        "Without requires_grad, and fixed: 0.weight, 0.bias.",
    ):
        assert (text in page) == (kind == "frozen"), text


def assert_the_rest_is_measured(landscape: xr.Dataset) -> None:
    for name in ("weight_norm", "gradient_norm", "gradient_noise_scale", "spectral_norm", "loss_barrier"):
        assert np.isfinite(landscape[name].sel(step=[10, 20])).all(), name
    for name in ("sharpness", "average_sharpness", "radial_log_volume_bound"):
        assert np.isfinite(landscape[name].sel(step=[0, 20])).all(), name


def test_without_second_derivatives_the_rest_is_measured(home: Path, slt_grok_command: Command) -> None:
    trained(home, "rough")
    (home / "quick.yaml").write_text(QUICK + "curvature: {eigenvalues: 1}")
    run = brought(home, slt_grok_command, "rough")
    landscape = run.data["landscape"].isel(seed=0)
    for name in SECOND_DERIVATIVES:
        assert np.isnan(landscape[name]).all(), name
    assert np.isfinite(landscape.logit_standard_deviation.sel(step=[0, 20])).all()
    assert_the_rest_is_measured(landscape)
    assert np.isfinite(run.data["llc"].llc).all()
    page = (run.path / "report.html").read_text()
    for text in ("Hessian and Gauss-Newton matrix were not measured", "Not measured: the network has no second deriv"):
        assert text in page
    assert "could not be drawn" not in page


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("name", ["0.weight", "5.bias"])
def test_checkpoints_of_mixed_precision_are_imported(
    home: Path, slt_grok_command: Command, name: str, dtype: torch.dtype
) -> None:
    _, _, states = trained(home, "batch_norm")
    for step, state in states.items():
        torch.save({**state, name: state[name].to(dtype)}, home / "checkpoints" / f"{step}.pt")
    assert slt_grok_command("import", "checkpoints", *BATCH_NORM)[0] == 0


def test_a_checkpoint_without_a_finite_loss_is_named(home: Path, slt_grok_command: Command) -> None:
    _, _, states = trained(home, "batch_norm")
    torch.save({**states[10], "1.running_var": torch.tensor([-1.0, 1.0])}, home / "checkpoints" / "10.pt")
    exit_code, error = slt_grok_command("import", "checkpoints", *BATCH_NORM)
    assert exit_code == 2
    assert "expected a finite loss" in error
    assert "checkpoints/10.pt" in error
