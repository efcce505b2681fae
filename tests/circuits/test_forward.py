"""The quick forward passes of the one-layer transformer against those through the network's own forward."""

import pytest
import torch

from slt_grok.circuits import neurons
from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.forward import Forward, GridForward
from slt_grok.interventions import remove
from slt_grok.models import EmbeddingMLP, OneLayerTransformer
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 11


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


class Doubled(OneLayerTransformer):
    """A class of its own, whose forward is another."""

    def forward(self, pairs, at=lambda name, value: value):
        return 2 * super().forward(pairs, at)


def chunk_of(trajectory):
    return Chunk.of(trajectory.network, trajectory.stacked(torch.float64), torch.zeros(len(trajectory), P // 2) > 0)


@pytest.fixture(params=["a_b_equals", "a_b"])
def both(request):
    module = OneLayerTransformer(P, 12, 3, 20, layout=request.param, attention_rate=0.7)
    states = {}
    for step in range(2):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {name: 2 * tensor.detach().clone() for name, tensor in module.named_parameters()}
        states[step]["b_in"] += 0.1 * torch.arange(20)
        states[step]["b_out"] += 0.1 * torch.arange(12)
    trajectory = Trajectory.stack(module, states, ModularTask(P, operation="subtraction"))
    chunk = chunk_of(trajectory)
    return chunk, Forward(chunk.network, chunk.module, chunk.task, chunk.stack)


def test_sites(both):
    quick, plain = both
    assert isinstance(quick, GridForward)
    assert quick.sites.keys() == plain.sites.keys()
    for name, values in plain.sites.items():
        expected = values[..., :2] if name == "attention_pattern" else values
        close(quick.sites[name], expected)


def test_logits_with_something_else(both):
    quick, plain = both
    generator = torch.Generator().manual_seed(5)
    table = torch.randn(2, P, 12, dtype=torch.float64, generator=generator)
    close(quick.with_embedding(table), plain.with_embedding(table))
    single = quick.with_embedding(table.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, plain.with_embedding(table).float(), rtol=1e-3, atol=1e-3)
    frequency = torch.randint(1, P // 2 + 1, (2, 20), generator=generator)
    lines = neurons.Lines.of(plain.sites["neurons_post"])
    found = [forward.with_polynomials(lines, frequency) for forward in both]
    close(*found)
    assert (found[0] - plain.sites["logits"]).abs().max() > 0.1  # something was replaced
    pre = torch.randn(2, P * P, 20, dtype=torch.float64, generator=generator)
    close(quick.with_pre(pre), plain.with_pre(pre))


def test_others_go_through_their_own_forward():
    task = ModularTask(P)
    trajectory = Trajectory.of(OneLayerTransformer(P, 12, 3, 20), task)
    intervened = remove(trajectory, [True] * (P // 2), "neurons_post")
    mlp, own = Trajectory.of(EmbeddingMLP(P), task), Trajectory.of(Doubled(P, 12, 3, 20), task)
    for other in (intervened, mlp, own):
        assert type(chunk_of(other)) is Chunk
