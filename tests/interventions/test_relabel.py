from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.interventions import relabel
from slt_grok.models import EmbeddingMLP, OneLayerTransformer, QuadraticNetwork
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 13
MODELS = {
    "a_b_equals": lambda: OneLayerTransformer(P, d_model=16, n_heads=2, d_mlp=24),
    "a_b": lambda: OneLayerTransformer(P, d_model=16, n_heads=2, d_mlp=24, layout="a_b", attention_rate=0.3),
    "sum": lambda: EmbeddingMLP(P, combine="sum", output_bias=True),
    "concatenation": lambda: EmbeddingMLP(P),
    "quadratic": lambda: QuadraticNetwork(P, 20),
}


def random_network(name, task, seed=0):
    module = MODELS[name]()
    module.initialize(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in module.parameters():  # biases too
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed + 1)))
    return Trajectory.of(module.double(), task)


def logits(trajectory):
    return trajectory.network.outputs(trajectory.parameters, trajectory.task.inputs).reshape(P, P, P)


@pytest.mark.parametrize("name", list(MODELS))
def test_same_function_under_new_names(name):
    trajectory = random_network(name, ModularTask(P))
    names = np.random.default_rng(0).permutation(P)
    before, after = logits(trajectory), logits(relabel(trajectory, names))
    np.testing.assert_allclose(after[names][:, names][:, :, names], before, atol=1e-12)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize("operation", ["addition", "subtraction", "multiplication", "x^2+xy+y^2", "random_table"])
def test_labels_and_split_are_renamed_with_it(operation):
    task = ModularTask(P, operation)
    names = np.random.default_rng(0).permutation(P)
    new = relabel(random_network("a_b", task), names).task
    table, renamed = task.labels.reshape(P, P), new.labels.reshape(P, P)
    for a in range(P):
        for b in range(P):
            assert renamed[names[a], names[b]] == names[table[a, b]]
    for split in ("train", "test"):
        old = {(names[a], names[b]) for a, b in task.data(split)[0].tolist()}
        assert {tuple(pair) for pair in new.data(split)[0].tolist()} == old
    assert torch.equal(new.indices("all"), torch.arange(P * P))


def test_relabeling_twice_and_back():
    trajectory = random_network("a_b_equals", ModularTask(P))
    first, second = (np.random.default_rng(seed).permutation(P) for seed in (0, 1))
    twice, once = relabel(relabel(trajectory, first), second), relabel(trajectory, second[first])
    back = relabel(relabel(trajectory, first), np.argsort(first))
    for name, weights in trajectory.parameters.items():
        assert torch.equal(twice.parameters[name], once.parameters[name])
        assert torch.equal(back.parameters[name], weights)
    assert torch.equal(twice.task.labels, once.task.labels)
    assert torch.equal(twice.task.indices("train"), once.task.indices("train"))
    assert torch.equal(back.task.labels, trajectory.task.labels)


def test_leading_coordinates_stay():
    trajectory = random_network("sum", ModularTask(P))
    stacked = Trajectory.stack(
        trajectory.network.module, {3: trajectory.parameters, 8: deepcopy(trajectory.parameters)}, trajectory.task
    )
    after = relabel(stacked, np.roll(np.arange(P), 1))
    assert after.dims == ("step",)
    assert after.coords["step"].tolist() == [3, 8]
    alone = relabel(trajectory, np.roll(np.arange(P), 1))
    assert torch.equal(after.parameters["W_E"][1], alone.parameters["W_E"])


@pytest.mark.parametrize("permutation", [[0, 1, 2], list(range(1, P + 1)), [0] * P, np.linspace(0, 1, P)])
def test_something_that_is_no_permutation(permutation):
    with pytest.raises(SltGrokError, match=r"permutation of 0\.\.12"):
        relabel(random_network("sum", ModularTask(P)), permutation)


def test_networks_whose_weights_have_no_known_roles():
    with pytest.raises(SltGrokError, match="Linear"):
        relabel(Trajectory.of(nn.Linear(2, P), ModularTask(P)), list(range(P)))
    with pytest.raises(SltGrokError, match="task"):
        relabel(Trajectory.of(QuadraticNetwork(P, 4)), list(range(P)))


def test_noise_is_renamed_with_the_answers() -> None:
    task = ModularTask(7, train_fraction=0.6, label_noise=0.5)
    module = EmbeddingMLP(7, d_embed=3, d_mlp=4)
    module.initialize(torch.Generator().manual_seed(0))
    names = np.random.default_rng(3).permutation(7)
    renamed = relabel(Trajectory.of(module, task), names).task
    (pairs, taught), (new_pairs, new_taught) = task.data("train"), renamed.data("train")
    assert torch.equal(torch.tensor(names)[pairs], new_pairs)
    assert torch.equal(torch.tensor(names)[taught], new_taught)
