"""Training: seeds side by side are seeds alone, a resume is bit-exact, the optimizers are torch's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.models import build
from slt_grok.models.network import Network
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.training import CheckpointSchedule, TrainingSettings, train

TASK = ModularTask(11, train_fraction=0.5)
NETWORK = Network(build("transformer", 11, d_model=16, n_heads=2, d_mlp=32), TASK)
SETTINGS = TrainingSettings(steps=60, evaluate_every=20, checkpoints=CheckpointSchedule(linear=4), learning_rate=3e-3)


def states(path: Path, settings: TrainingSettings = SETTINGS, seeds: tuple[int, ...] = (0,)):
    run = RunDirectory(path)
    curves = train(run, NETWORK, settings, seeds)
    return curves, {step: run.read_checkpoint(step, NETWORK.shapes) for step in run.steps}


@pytest.mark.parametrize("batch_size", [None, 16])
def test_seeds_side_by_side_are_seeds_alone(tmp_path: Path, batch_size: int | None) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": batch_size})
    together, both = states(tmp_path / "both", settings, (3, 5))
    alone, one = states(tmp_path / "one", settings, (5,))
    np.testing.assert_allclose(together.train_loss.sel(seed=5), alone.train_loss.sel(seed=5), rtol=1e-4)
    torch.testing.assert_close(both[20]["W_E"][1], one[20]["W_E"][0], rtol=1e-3, atol=1e-5)
    assert not torch.equal(both[0]["W_E"][0], both[0]["W_E"][1])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_the_optimizer_is_the_textbook_one(tmp_path: Path, optimizer: str) -> None:
    """Against a plain float32 loop over one module with torch's default implementation."""
    settings = SETTINGS.model_copy(
        update={"optimizer": optimizer, "warmup_steps": 5, "momentum": 0.9, "learning_rate": 1e-3, "weight_decay": 0.5}
    )
    _, found = states(tmp_path, settings)
    module = build("transformer", 11, d_model=16, n_heads=2, d_mlp=32)
    module.load_state_dict({k: v[0] for k, v in found[0].items()})
    plain = {
        "adamw": lambda w: torch.optim.AdamW(w, 1e-3, betas=(0.9, 0.98), weight_decay=0.5, foreach=False),
        "adam": lambda w: torch.optim.Adam(w, 1e-3, betas=(0.9, 0.98), weight_decay=0.5, foreach=False),
        "sgd": lambda w: torch.optim.SGD(w, 1e-3, momentum=0.9, weight_decay=0.5, foreach=False),
    }[optimizer](module.parameters())
    inputs, labels = TASK.data("train")
    for step in range(20):
        for group in plain.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 5)
        plain.zero_grad()
        nn.functional.cross_entropy(module(inputs).double(), labels).backward()
        plain.step()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[20][name][0], parameter.detach(), rtol=1e-3, atol=2e-5)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every seed a group, in two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr("slt_grok.training.groups.LARGEST_GROUP", 1)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("batch_size", [pytest.param(None, marks=pytest.mark.slow), 16])
def test_groups_of_seeds_are_seeds_alone(tmp_path: Path, batch_size: int | None) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": batch_size})
    together, all_four = states(tmp_path / "all", settings, (3, 5, 7, 8))
    for i, seed in enumerate((3, 5, 7, 8)):
        alone, one = states(tmp_path / str(seed), settings, (seed,))
        np.testing.assert_allclose(together.train_loss.sel(seed=seed), alone.train_loss.sel(seed=seed), rtol=1e-4)
        torch.testing.assert_close(all_four[20]["W_E"][i], one[20]["W_E"][0], rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("small_groups")
def test_a_stopped_training_of_groups_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_a_stopped_training_resumes_bit_for_bit(tmp_path, monkeypatch, 16, "adamw")


@pytest.mark.usefixtures("small_groups")
def test_a_group_that_diverges_is_one_sentence(tmp_path: Path) -> None:
    network = Network(build("quadratic", 5, width=8), ModularTask(5, train_fraction=1.0))
    settings = TrainingSettings(steps=500, optimizer="sgd", learning_rate=1e4, warmup_steps=0)
    with pytest.raises(SltGrokError, match=r"not finite at step \d+.*learning_rate"):
        train(RunDirectory(tmp_path), network, settings, [0, 1, 2])


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stopped_training_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int | None, optimizer: str
) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": batch_size, "optimizer": optimizer, "momentum": 0.9})
    curves, through = states(tmp_path / "through", settings, (0, 1))
    monkeypatch.setattr("slt_grok.training.loop.SAVE_SECONDS", 0)
    run = RunDirectory(tmp_path / "stopped")

    class Stopped(Exception):
        pass

    def stop_at(when: int):
        def on_progress(fraction: float, note: str = "") -> None:
            if fraction * SETTINGS.steps >= when - 0.5:
                raise Stopped

        return on_progress

    for when in (20, 40, 60):
        with pytest.raises(Stopped):
            train(run, NETWORK, settings, (0, 1), stop_at(when))
    again = train(run, NETWORK, settings, (0, 1))
    assert (run.state("training") / "state.safetensors").is_file()
    for step, tensors in through.items():
        for name, tensor in run.read_checkpoint(step, NETWORK.shapes).items():
            assert torch.equal(tensor, tensors[name]), (step, name)
    assert again.identical(curves)


def test_checkpoint_schedule_is_the_union_with_both_ends() -> None:
    schedule = CheckpointSchedule(linear=3, logarithmic=4, steps=[7])
    assert schedule.at(1000) == [0, 1, 7, 10, 100, 500, 1000]


def test_the_stop_criterion_ends_training_at_an_evaluation(tmp_path: Path) -> None:
    easy = SETTINGS.model_copy(update={"steps": 400, "stop": None})
    curves, _ = states(tmp_path / "long", easy)
    limit = float(curves.test_loss.isel(seed=0).sel(step=200)) * 1.0000001
    below = curves.step.values[(curves.test_loss < limit).values[:, 0]]
    stopped, kept = states(tmp_path / "short", TrainingSettings(**{**easy.model_dump(), "stop": {"loss": limit}}))
    assert stopped.step.values[-1] == below[0]
    assert max(kept) == below[0]


def test_evaluations_are_what_they_say(tmp_path: Path) -> None:
    curves, found = states(tmp_path)
    module = build("transformer", 11, d_model=16, n_heads=2, d_mlp=32)
    module.load_state_dict({k: v[0] for k, v in found[40].items()})
    for split in ("train", "test"):
        inputs, labels = TASK.data(split)
        with torch.no_grad():
            logits = module(inputs).double()
        at = curves.sel(step=40, seed=0)
        assert at[f"{split}_loss"].item() == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
        assert at[f"{split}_accuracy"].item() == (logits.argmax(-1) == labels).double().mean().item()


def test_no_test_set_gives_nan(tmp_path: Path) -> None:
    network = Network(build("quadratic", 5, width=8), ModularTask(5, train_fraction=1.0))
    curves = train(RunDirectory(tmp_path), network, TrainingSettings(steps=5, learning_rate=0.1), [0])
    assert np.isnan(curves.test_loss).all()
    assert np.isfinite(curves.train_loss).all()


def test_a_training_that_diverges_is_one_sentence(tmp_path: Path) -> None:
    network = Network(build("quadratic", 5, width=8), ModularTask(5, train_fraction=1.0))
    settings = TrainingSettings(steps=500, optimizer="sgd", learning_rate=1e4, warmup_steps=0)
    with pytest.raises(SltGrokError, match=r"not finite at step \d+.*learning_rate"):
        train(RunDirectory(tmp_path), network, settings, [0])


def test_a_batch_larger_than_the_train_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SltGrokError, match="batch_size"):
        states(tmp_path, SETTINGS.model_copy(update={"batch_size": 1000}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_a_sentence_says_so(tmp_path: Path) -> None:
    settings = TrainingSettings(steps=2, device="cuda")
    with pytest.raises(SltGrokError, match="device: expected null, since torch finds no CUDA device"):
        train(RunDirectory(tmp_path), NETWORK, settings, [0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_as_the_cpu_does(tmp_path: Path) -> None:
    """Some steps only: later the order of sums decides."""
    curves = [
        train(RunDirectory(tmp_path / str(device)), NETWORK, TrainingSettings(steps=20, device=device), [0, 1])
        for device in (None, "cuda")
    ]
    np.testing.assert_allclose(curves[1].train_loss, curves[0].train_loss, rtol=1e-4)
