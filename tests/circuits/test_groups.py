"""Circuit measures on groups other than Z_p: composite and even orders, and the symmetric group S_3."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from slt_grok import circuits
from slt_grok.circuits import causal, clock_pizza, intervened, maps, neurons, phases, progress, spectrum, topology
from slt_grok.circuits.measure import CircuitMeasure
from slt_grok.errors import SltGrokError
from slt_grok.groups import Group, cyclic
from slt_grok.interventions import relabel, remove, rotate
from slt_grok.measurement import Variable
from slt_grok.models import EmbeddingMLP, QuadraticNetwork
from slt_grok.models.planted import lookup_table
from slt_grok.tasks import GroupTask, ModularTask, Task
from slt_grok.trajectories import Trajectory

from .planted import clock_loss
from .test_relabeling import no_ties

S3 = Group.of_permutations([(1, 0, 2), (1, 2, 0)])


@dataclass(frozen=True, kw_only=True)
class SymmetricTask(GroupTask):
    """Composition in S_3; it has no name and is not registered."""

    group = S3  # pyright: ignore[reportAssignmentType]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def trained(task: Task, seed: int = 0) -> Trajectory:
    """A small network with random weights."""
    module = EmbeddingMLP(task.tokens, d_embed=6, d_mlp=10)
    module.initialize(torch.Generator().manual_seed(seed))
    return Trajectory.of(module.double(), task)


def quadratic_clock(n: int, keys: list[int], scale: float, **task: str) -> Trajectory:
    """Logits 8 scale sum_k cos w_k(a + sign b - c) of 16 neurons a frequency, all pairs of phases in quarter turns."""
    learned = ModularTask(modulus=n, **task)  # pyright: ignore[reportArgumentType]
    t, module = torch.arange(n, dtype=torch.float64)[:, None], QuadraticNetwork(n, 16 * len(keys)).double()
    left, right = (
        x.flatten().double() * math.pi / 2 for x in torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    )
    waves = [2 * math.pi * k / n * t for k in keys]
    with torch.no_grad():
        module.U.copy_(torch.cat([(x + left).cos() for x in waves], 1))
        module.V.copy_(torch.cat([(learned.sign * x + right).cos() for x in waves], 1))
        module.W.copy_(torch.cat([scale * (x + left + right).cos() for x in waves], 1).T)
    return Trajectory.of(module, learned)


# -- composite and even n ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("n", "keys"), [(9, [1, 3]), (9, [2, 4]), (12, [1, 5]), (12, [2, 5])])
def test_planted_cosines_are_found_and_are_everything(n: int, keys: list[int], sign: int) -> None:
    operation = "addition" if sign == 1 else "subtraction"
    data = circuits.measure(quadratic_clock(n, keys, 0.3, operation=operation), gradient_triples=2)
    assert data.frequency.values.tolist() == list(range(1, n // 2 + 1))
    assert data.frequency.values[data.key_frequency].tolist() == keys
    loss = clock_loss(n, dict.fromkeys(keys, 2.4))
    for name in ("loss", "restricted_loss_sum", "restricted_loss_2x2", "restricted_loss_3x3", "trig_loss"):
        np.testing.assert_allclose(data[name], loss, rtol=1e-12, err_msg=name)
    for name in ("polynomial_neurons_loss", "simple_neurons_loss"):
        np.testing.assert_allclose(data[name], loss, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(data.excluded_loss, math.log(n), rtol=1e-12)
    np.testing.assert_allclose(data.clock_fve, 1, rtol=1e-12)
    np.testing.assert_allclose(data.embedding_spectrum.sel(frequency=keys), 1 / len(keys), rtol=1e-12)
    np.testing.assert_allclose(data.gini_embedding, 1 - 4 / (n - 1), rtol=1e-9)
    np.testing.assert_allclose(data.frequency_density_embedding, 4 / (n - 1), rtol=1e-12)
    np.testing.assert_allclose(data.coefficient_ratio_embedding, 1, rtol=1e-9)
    np.testing.assert_allclose(data.simple_neuron_r2, 1, rtol=1e-12)
    np.testing.assert_allclose(data.inverse_participation_ratio_dft, 1 / 2, rtol=1e-12)
    np.testing.assert_allclose(data.phase_alignment_residual, 1, rtol=1e-12)
    assert data.neuron_logit_map_rank == 2 * len(keys)
    assert "gradient_symmetricity" in data


@pytest.mark.parametrize("n", [8, 9, 12, 13])
def test_fve_of_lines_is_that_of_the_whole_transform(n: int) -> None:
    values = random(2, n * n, 3)
    group = cyclic(n)
    by_definition = neurons.fraction_of_variance_explained(values, Group(group.table))  # not known to be cyclic
    of_lines = neurons.fraction_of_variance_explained(values, group)
    torch.testing.assert_close(of_lines.sort(-1).values, by_definition.sort(-1).values)
    # and the polynomials explain just that
    frequency = torch.tensor([[1, n // 2, 2], [n // 2, 1, 3]])
    left = values - neurons.polynomials(values, frequency)
    explained = 1 - left.square().sum(1) / (values - values.mean(1, keepdim=True)).square().sum(1)
    torch.testing.assert_close(explained, of_lines.gather(2, frequency[..., None] - 1)[..., 0])
    lines, places = neurons.Lines.of(values), [torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)]
    places += [group.products(), group.products(-1)]
    waves = sum(wave[:, place] for wave, place in zip(lines.waves(frequency).unbind(1), places, strict=True))
    torch.testing.assert_close(waves + lines.mean[:, None], neurons.polynomials(values, frequency))


def test_the_sign_character_is_a_frequency_of_its_own() -> None:
    n, k = 8, 4
    character = (-1.0) ** torch.arange(n, dtype=torch.float64)
    pre = (2 * character[:, None] + character + 5).flatten()[None, :, None]
    waves = phases.Waves.of(pre, 3 * character[None, None])
    torch.testing.assert_close(waves.power_fractions()[0, :, 0], torch.eye(k, dtype=torch.float64)[k - 1])
    torch.testing.assert_close(waves.fitted(torch.tensor([[k]])), pre)
    for full in (False, True):
        torch.testing.assert_close(
            phases.inverse_participation_ratio(waves, full), torch.ones(1, 1, dtype=torch.float64)
        )
    table = character[None, :, None] * torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(spectrum.power_fraction(table, cyclic(n))[0, k - 1].item(), 1.0)
    components = clock_pizza.PrincipalComponents.of(table)
    torch.testing.assert_close(clock_pizza.circularity(components).item(), 1.0)
    assert clock_pizza.circle_frequency(components, 0).tolist() == [k]
    assert spectrum.coefficient_ratio(table).isnan().all()
    logits = 3 * character[:, None, None] * character[:, None] * character
    kept = torch.arange(1, k + 1) == k
    means = cyclic(n).means_by_product(logits.reshape(1, n * n, n))
    fitted, explained = progress.clock_fit(logits.reshape(1, n * n, n), means, kept[None], cyclic(n))
    torch.testing.assert_close(fitted[:, cyclic(n).products()], logits.reshape(1, n * n, n))
    torch.testing.assert_close(explained.item(), 1.0)


@pytest.mark.parametrize("n", [8, 9])
def test_pizzas_of_composite_order(n: int) -> None:
    t = torch.arange(n, dtype=torch.float64)
    a, b, c = torch.meshgrid(t, t, t, indexing="ij")
    for k in range(1, n // 2 + 1):
        w = 2 * math.pi * k / n
        clock = (w * (a + b - c)).cos().flatten(0, 1)
        pizza = (w * (a - b) / 2).cos().abs().flatten(0, 1) * clock
        kept = torch.arange(1, n // 2 + 1)[None] == k
        fve = clock_pizza.pizza_fit(3 * pizza[None] + 2, kept).item()
        assert fve == pytest.approx(0 if 2 * k == n else 1, abs=1e-12)
        correlation = torch.corrcoef(torch.stack([clock.flatten(), pizza.flatten()]))[0, 1].item()
        found = clock_pizza.fits_of_one_frequency(pizza, k)
        assert found.tolist() == pytest.approx([2 * correlation - 1, 1], abs=1e-9)


def test_maps_topology_and_causal_tests_of_even_order() -> None:
    n, keys = 12, [1, 5]
    one = quadratic_clock(n, keys, 0.6)
    drawn = maps.measure(one)
    assert drawn.component_a.values.tolist()[-2:] == ["sin 5", "cos 6"]
    expected = np.zeros((n, n))
    for k in keys:
        expected[2 * k - 1 : 2 * k + 1, 2 * k - 1 : 2 * k + 1] = 4.8 * (n / 2) ** 1.5
    np.testing.assert_allclose(drawn.logit_fourier_norm, expected, atol=1e-5)
    assert np.isnan(drawn.embedding_plane.sel(frequency=6)).all()  # the sign character spans no plane
    found = topology.measure(one, landmarks=60)
    assert np.isfinite(found.betti.sel(frequency=keys)).all()
    tests = causal.measure(one, np.isin(np.arange(1, 7), keys), settings=causal.CausalSettings(draws=2, others=2))
    removed = tests.sel(test="all removed, logits")
    np.testing.assert_allclose(removed.effect, math.log(n) / clock_loss(n, dict.fromkeys(keys, 4.8)), rtol=1e-9)
    np.testing.assert_allclose(removed.control_effect.sel(control="all other frequencies"), 1, rtol=1e-9)
    circuit = intervened.planes_of(
        intervened.INTERVENTIONS["planes and accompanying rotated"], np.isin(np.arange(1, 7), [2, 6]), n
    )
    assert circuit.nonzero()[0].tolist() == [1, 3, 5]  # 2, 4 and 6, whose double is the constant


UNITS = {9: [2, 4, 5, 7, 8], 12: [5, 7, 11], 8: [3, 5, 7]}
UNSIGNED = {  # unchanged up to the sign of sines; triples and positions of ties are taken in another order
    "neuron_phase", "neuron_alignment", "neuron_torus", "torus_distance", "neuron_frequency", "circle",
    "accuracy_principal", "gradient_symmetricity",
    "gini", "frequency_density", "coefficient_ratio", "circuit_frequency",
}  # fmt: skip


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), n=st.sampled_from([8, 9, 12]), seed=st.integers(0, 99))
def test_automorphisms_of_cyclic_groups_rename_frequencies(data: st.DataObject, n: int, seed: int) -> None:
    m = data.draw(st.sampled_from(UNITS[n]), label="m")
    k = np.arange(1, n // 2 + 1)
    image = pow(m, -1, n) * k % n
    image = np.minimum(image, n - image)
    kept = np.isin(k, list(data.draw(st.sets(st.sampled_from(k.tolist())), label="kept")))
    moved = np.zeros_like(kept)
    moved[image - 1] = kept
    before = trained(ModularTask(modulus=n, train_fraction=0.5), seed)
    assume(no_ties(before))
    after = relabel(before, np.arange(n) * m % n)
    old, new = (circuits.measure(x, y, gradient_triples=2) for x, y in ((before, kept), (after, moved)))
    for name in old:
        if str(name).startswith(tuple(UNSIGNED)):
            continue
        found = new[name].sel(frequency=image) if "frequency" in old[name].dims else new[name]
        np.testing.assert_allclose(found, old[name], rtol=1e-8, atol=1e-8, err_msg=str(name))


# -- S_3 --------------------------------------------------------------------------------------------------------------


def test_spectrum_of_a_known_table_on_s3() -> None:
    sign, standard = S3.planes
    table = (2 * sign.T @ torch.ones(1, 3, dtype=torch.float64) + standard[:2].T @ random(2, 3) + 7)[None]
    power = torch.tensor([12.0, random(2, 3).square().sum()], dtype=torch.float64)
    torch.testing.assert_close(spectrum.power_fraction(table, S3)[0], power / power.sum())
    alone = (sign.T + 1)[None]
    assert spectrum.key_by_power(spectrum.power_fraction(alone, S3), S3).tolist() == [[True, False]]
    assert spectrum.gini_of_components(alone, S3).item() == pytest.approx(1 - 1 / 5)


@pytest.mark.parametrize("places", [[0], [1], [0, 1]])
def test_losses_on_s3_see_the_planes_they_keep(places: list[int]) -> None:
    """Logits that are kernels of the product, with a part of the mean and one that no product has."""
    product, amplitudes = S3.products(), torch.tensor([3.0, 5.0], dtype=torch.float64)
    mean, rest = random(1, 6), (S3.planes[0].T @ S3.planes[0]).flatten()[:, None] * random(1, 6, seed=1)
    rest = rest - S3.means_by_product(rest)[product]
    kept = torch.isin(torch.arange(2), torch.tensor(places))
    parts = (amplitudes[:, None, None] * S3.kernels)[:, product]
    logits = (mean + rest + parts.sum(0))[None]
    table, expected = S3.means_by_product(logits), mean + parts[kept].sum(0)
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(progress.restricted_sum(table, kept[None], S3)[0, product], expected, **close)
    fitted, explained = progress.clock_fit(logits, table, kept[None], S3)
    torch.testing.assert_close(fitted[0, product], expected, **close)
    variation = (logits - logits.mean(1, keepdim=True)).square().sum()
    torch.testing.assert_close(explained[0], parts[kept].sum(0).square().sum() / variation)
    excluded = progress.excluded_by_frequency(logits, table, product, product, S3)[0]
    for place in range(2):
        left = (logits[0] - parts[place]).log_softmax(-1)[torch.arange(36), product]
        torch.testing.assert_close(excluded[place], -left.mean())


def test_a_network_on_s3_has_every_measure_that_needs_no_cosine() -> None:
    logits = 2 * (S3.kernels.sum(0)[S3.products()]).unflatten(0, (6, 6))
    found = circuits.measure(Trajectory.of(lookup_table(logits), SymmetricTask()), np.array([True, True]))
    np.testing.assert_allclose(found.accuracy, 1)
    for name in ("restricted_loss_sum", "restricted_loss_2x2", "trig_loss"):
        np.testing.assert_allclose(found[name], found.loss, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.excluded_loss, math.log(6), rtol=1e-9)
    np.testing.assert_allclose(found.clock_fve, 1, rtol=1e-9)
    np.testing.assert_allclose(found.margin_by_frequency.sum(), found.margin.sel(split="all"), rtol=1e-9)
    data = circuits.measure(trained(SymmetricTask()))
    omitted = json.loads(data.attrs["omitted"])
    assert set(omitted) == {
        "normalized_margins", "density", "neuron_logit_directions", "polynomial_neurons", "phases", "simple_neurons",
        "peak_positions", "geometry", "clock_pizza", "circles", "attention_pattern", "ov_circuit",
    }  # fmt: skip
    assert omitted["phases"] == "a task on a cyclic group Z_n"
    assert {"embedding_spectrum", "gini_embedding", "key_frequency", "neuron_fve", "gradient_symmetricity"} <= set(data)
    null = circuits.null(trained(SymmetricTask()))
    np.testing.assert_allclose(null.loss, data.loss, rtol=1e-12)


def test_interventions_on_s3() -> None:
    before, every = trained(SymmetricTask()), np.ones(2, dtype=bool)
    table = remove(before, every, "embedding").parameters["W_E"]
    torch.testing.assert_close(table, table.mean(0).expand_as(table))
    g = 3
    both = (before, rotate(before, every, g))
    logits, moved = (x.network.outputs(x.parameters, x.task.inputs).unflatten(0, (6, 6)) for x in both)
    torch.testing.assert_close(moved, logits[S3.table[:, g]])


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(g=st.integers(0, 5), seed=st.integers(0, 99))
def test_automorphisms_of_s3_change_nothing(g: int, seed: int) -> None:
    """Conjugation keeps the planes, but turns their bases: what depends on single rows may change."""
    before = trained(SymmetricTask(train_fraction=0.5), seed)
    conjugate = S3.table[S3.table[g], S3.inverses[g]]
    kept = np.array([True, False])
    old, new = (circuits.measure(x, kept, gradient_triples=2) for x in (before, relabel(before, conjugate)))
    for name in old:
        if str(name).startswith(("gini", "gradient_symmetricity")):
            continue
        np.testing.assert_allclose(new[name], old[name], rtol=1e-8, atol=1e-8, err_msg=str(name))


# -- what a network lacks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Parity(Task):
    """A task without a group: whether two of four tokens are the same."""

    inputs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    labels = (inputs[:, 0] == inputs[:, 1]).long()  # pyright: ignore[reportAssignmentType]
    classes = 2


def test_without_a_group_there_is_what_needs_none() -> None:
    task = Parity(train_fraction=0.5)
    module = EmbeddingMLP(4, d_embed=3, d_mlp=5, classes=2)
    module.initialize(torch.Generator().manual_seed(0))
    data = circuits.measure(Trajectory.of(module, task))
    assert set(data) == {
        "accuracy", "loss", "sum_of_squared_weights", "margin", "margin_smallest", "neuron_logit_map_rank",
    }  # fmt: skip
    assert json.loads(data.attrs["omitted"])["progress"] == "a task whose tokens form a group"
    with pytest.raises(SltGrokError, match=r"expected a task whose tokens form a group, got a Parity task$"):
        circuits.key_frequencies(Trajectory.of(module, task))


def test_a_measure_from_elsewhere_joins_the_dataset() -> None:
    class Spread(CircuitMeasure):
        name = "spread_for_a_test"
        after = ("answers",)
        variables = {"loss_range": Variable(("end",), "range of the loss", "smallest and largest over the splits")}
        coords = {"end": ("low", "high")}

        def compute(self, chunk):
            losses = chunk.values["loss"]
            return {"loss_range": torch.stack([losses.amin(-1), losses.amax(-1)], -1)}

    try:
        trajectory = Trajectory.of(QuadraticNetwork(5, 4), ModularTask(modulus=5, train_fraction=1.0))
        data = circuits.measure(trajectory)
        assert data.loss_range.end.values.tolist() == ["low", "high"]
        assert data.loss_range.attrs["long_name"] == "range of the loss"
    finally:
        del CircuitMeasure.registry["spread_for_a_test"]
