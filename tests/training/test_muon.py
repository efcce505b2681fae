"""Muon on stacks: torch's Muon on each matrix, torch's AdamW on the rest, a training that resumes in the same bits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models.network import Network
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.training import TrainingSettings, loop, train
from slt_grok.training.muon import Muon, hidden_matrices, orthogonalized

SHAPES = [(2, 4, 6), (2, 6, 4), (3, 2, 5, 5), (1, 7, 3)]  # (seeds, ..., m, n)


def gradients(shape: tuple[int, ...], steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_matrix_of_a_batch_steps_as_by_torch(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.clone)  # torch's iterations in our precision
    start = gradients(shape, 1)[0]
    stacked = start.clone().requires_grad_()
    ours = Muon([stacked], [], 0.03, 0.9, (0.9, 0.98), 0.7)
    singles = [matrix.clone().requires_grad_() for matrix in start.flatten(0, -3)]
    theirs = torch.optim.Muon(
        singles, lr=0.03, weight_decay=0.7, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for gradient in gradients(shape, 5):
        stacked.grad = gradient.clone()
        for single, own in zip(singles, gradient.flatten(0, -3), strict=True):
            single.grad = own.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(stacked.detach().flatten(0, -3), torch.stack(singles).detach(), rtol=1e-4, atol=1e-5)
    assert (stacked - start).abs().max() > 0.05  # they went somewhere


def test_the_rest_steps_as_by_adamw() -> None:
    start = gradients((2, 5), 1)[0]
    one, other = start.clone().requires_grad_(), start.clone().requires_grad_()
    ours = Muon([], [one], 0.03, 0.9, (0.8, 0.95), 0.7)
    theirs = torch.optim.AdamW([other], 0.03, betas=(0.8, 0.95), weight_decay=0.7)
    for gradient in gradients((2, 5), 5):
        one.grad, other.grad = gradient.clone(), gradient.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(one, other)


def test_singular_vectors_stay_and_singular_values_come_near_one() -> None:
    matrices = torch.stack(gradients((3, 6, 9), 1)[0].unbind())
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    assert float((s[..., 0] / s[..., -1]).min()) > 2  # they are not near one another before
    found = torch.einsum("sij,sia,saj->sa", orthogonalized(matrices), u, v)
    assert 0.65 < float(found.min()) <= float(found.max()) < 1.25
    torch.testing.assert_close((u * found[..., None, :]) @ v, orthogonalized(matrices), atol=1e-4, rtol=1e-4)


def test_what_tokens_index_is_not_muons() -> None:
    transformer = models.build("transformer", 7, d_model=8, n_heads=2, d_mlp=16)
    assert hidden_matrices(transformer) == ["W_Q", "W_K", "W_V", "W_O", "W_in", "W_out"]
    with pytest.raises(SltGrokError, match="hidden matrices"):
        hidden_matrices(models.build("quadratic", 7))


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_a_killed_training_resumes_in_the_same_bits(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"transformer": {"d_model": 8, "n_heads": 2, "d_mlp": 16}, "mlp": {"d_embed": 4, "d_mlp": 8}}
    task = ModularTask(7, train_fraction=0.6)
    network = Network(models.build(kind, 7, **sizes[kind]), task)
    settings = TrainingSettings.model_validate(
        {"steps": 30, "optimizer": "muon", "momentum": 0.95, "evaluate_every": 10, "learning_rate": 0.01}
    )
    through = train(RunDirectory(tmp_path / "through"), network, settings, [3, 4])
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0)

    def kill(fraction: float, note: str = "") -> None:
        if fraction == 20 / 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RunDirectory(tmp_path / "killed"), network, settings, [3, 4], kill)
    resumed = train(RunDirectory(tmp_path / "killed"), network, settings, [3, 4])
    np.testing.assert_array_equal(through.train_loss, resumed.train_loss)
    alone = train(RunDirectory(tmp_path / "alone"), network, settings, [4])
    np.testing.assert_allclose(through.train_loss.sel(seed=4), alone.train_loss.sel(seed=4), rtol=1e-4)
    assert float(through.train_loss[-1, 0]) < float(through.train_loss[0, 0])


def test_muon_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum: expected a number above 0 with muon"):
        TrainingSettings.model_validate({"steps": 10, "optimizer": "muon"})
