"""The certificate is never above the true accuracy, and reaches it where the program is the network."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, Model, OneLayerTransformer, QuadraticNetwork, planted
from slt_grok.models.planting import plant
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.certification import Comparison, certificate
from slt_grok.program.token_tables import TokenTables
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.gromov import gromov, sufficient_width
from tests.program import networks
from tests.program.networks import AMPLITUDES

P, KEYS = 23, np.array(list(AMPLITUDES))


def transformer(layout: str, attention: float = 0.0, seed: int = 0) -> Model:
    """A planted pizza whose heads attend by random scores; what the '=' has for them, the circuit does not read."""
    module = OneLayerTransformer(P, 32, 2, 200, layout="a_b_equals" if layout == "equals" else "a_b").double()
    module.load_state_dict(plant(module, "pizza", AMPLITUDES))
    generator = torch.Generator().manual_seed(seed)
    for weights in (module.W_Q.data, module.W_K.data, module.W_E.data[P:, 6 * len(AMPLITUDES) :]):
        weights += attention * torch.randn(weights.shape, generator=generator, dtype=weights.dtype)
    return module


PLANTED = {
    "clock": lambda: planted.quadratic_clock(P, AMPLITUDES),
    "clock of an embedding": lambda: planted.clock(P, AMPLITUDES),
    "pizza": lambda: planted.pizza(P, AMPLITUDES),
    "gromov": lambda: gromov(P, KEYS.tolist(), sufficient_width(P, KEYS.tolist())),
    "transformer": lambda: transformer("two tokens"),
    "transformer with =": lambda: transformer("equals"),
}


def accuracy(trajectory: Trajectory) -> float:
    task = trajectory.task
    logits = trajectory.network.stacked_outputs(trajectory.stacked(torch.float64), task.inputs)[0]
    return (logits.argmax(-1) == task.labels).double().mean().item()


def noisy(module: Model, noise: float, seed: int) -> Model:
    """Noise on all weights, as a share of each tensor's own size."""
    generator = torch.Generator().manual_seed(seed)
    for weights in module.parameters():
        spread = noise * weights.data.square().mean().sqrt()
        weights.data += spread * torch.randn(weights.shape, generator=generator, dtype=weights.dtype)
    return module


@pytest.mark.parametrize("name", PLANTED)
def test_planted_networks_are_certified(name: str) -> None:
    found = certificate(Trajectory.of(PLANTED[name](), ModularTask(P)), KEYS)
    assert found.accuracy_bound >= 0.99
    assert found.tightness < 1e-6


@pytest.mark.parametrize("layout", ["equals", "two tokens"])
def test_attention_that_moves_is_followed(layout: str) -> None:
    """Tables of the keys alone, whatever the pattern: the program is the network, errors and all."""
    network = Trajectory.of(transformer(layout, 0.5), ModularTask(P))
    assert np.ptp(TokenTables(network).weights, axis=(1, 2)).max() > 0.5
    found = certificate(network, KEYS)
    assert found.certified == 1
    assert found.accuracy_bound == accuracy(network)
    assert 0.1 < found.accuracy_bound < 0.999


def test_subtraction_is_certified() -> None:
    network = Trajectory.of(planted.quadratic_clock(P, AMPLITUDES, -1), ModularTask(P, "subtraction"))
    assert certificate(network, KEYS).accuracy_bound == 1


def test_multiplication_is_certified_but_for_pairs_with_a_0() -> None:
    p = 13
    found = certificate(networks.logarithmic(p), np.arange(1, 7))  # a lookup table has every frequency
    assert found.accuracy_bound == pytest.approx((p - 1) ** 2 / p**2)


def test_the_answer_without_angle_is_no_surprise() -> None:
    """A network of multiplication that answers 0 everywhere: right on 2 p - 1 pairs, none of which is certified."""
    network = networks.logarithmic(13)
    network.parameters["W_U"][:, 0] += 20
    assert accuracy(network) == pytest.approx(25 / 169)
    found = certificate(network, np.arange(1, 7))
    assert found.certified > 0.8
    assert found.accuracy_bound == 0


def test_certified_answers_need_not_be_right() -> None:
    module = transformer("equals", 0.2)
    shifted = {"W_U": module.get_parameter("W_U").roll(1, -1)}
    module.load_state_dict(shifted, strict=False)
    network = Trajectory.of(module, ModularTask(P))
    found = certificate(network, KEYS)
    assert found.certified == 1
    assert found.accuracy_bound == 0 == accuracy(network)


BROKEN = {
    "clock": PLANTED["clock of an embedding"],
    "pizza": PLANTED["pizza"],
    "gromov": lambda: gromov(P, KEYS.tolist(), 400),
    "too few neurons": lambda: gromov(P, KEYS.tolist(), 30),  # wrong on many pairs before any noise
    "transformer": lambda: transformer("two tokens", 0.1),
    "transformer with =": lambda: transformer("equals", 0.2),
}


@pytest.mark.parametrize("name", BROKEN)
def test_never_above_the_accuracy_of_broken_networks(name: str) -> None:
    """Noise on all weights, from almost none to one that leaves nothing."""
    bounds, truths = [], []
    for i, noise in enumerate([1e-4, 1e-3, 0.01, 0.02, 0.035, 0.05, 0.1, 0.3, 2.0]):
        network = Trajectory.of(noisy(BROKEN[name](), noise, i), ModularTask(P))
        bounds.append(certificate(network, KEYS).accuracy_bound)
        truths.append(accuracy(network))
    assert (np.array(bounds) <= np.array(truths)).all()
    assert min(truths) < 0.5  # some are broken
    assert bounds[0] > 0.95 * truths[0]
    assert any(0.01 < bound < 0.99 * bounds[0] for bound in bounds)  # and the bound is neither all nor nothing


@pytest.mark.parametrize("name", BROKEN)
def test_wrong_keys_and_permuted_answers(name: str) -> None:
    module = BROKEN[name]()
    for keys in ([1, 3, 4], [2]):
        network = Trajectory.of(module, ModularTask(P))
        assert certificate(network, np.array(keys)).accuracy_bound <= accuracy(network)
    output = module.W_U if hasattr(module, "W_U") else module.W
    assert isinstance(output, torch.Tensor)
    output.data = output.data[:, torch.randperm(P, generator=torch.Generator().manual_seed(0))]
    network = Trajectory.of(module, ModularTask(P))
    assert certificate(network, KEYS).accuracy_bound <= accuracy(network) < 0.3


KINDS = {
    "sum": lambda p, width, act: EmbeddingMLP(p, 4, width, "sum", act),
    "concatenation": lambda p, width, act: EmbeddingMLP(p, 4, width, "concatenation", act),
    "quadratic": lambda p, width, act: QuadraticNetwork(p, width, act),
    "equals": lambda p, width, act: OneLayerTransformer(p, 8, 2, width, act),
    "two tokens": lambda p, width, act: OneLayerTransformer(p, 8, 2, width, act, layout="a_b"),
    "half attention": lambda p, width, act: OneLayerTransformer(p, 8, 2, width, act, "a_b", 0.5),
}


def parts(network: TokenTables, compared: Comparison, a: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """For one a: the network's logits, what is known of them with its signs, and both parts from their definition."""
    b = np.arange(network.tokens.order)
    act, slope, width = ACTIVATIONS[network.activation].function, compared.slope, len(compared.slope)
    first = np.full_like(b, a)
    h, own = network.sum(network.values, first, b), network.sum(compared.rows[..., :width], first, b)
    bent, bent_own = act(h) - slope * h, act(own) - slope * own
    rest = network.output - compared.readout[0] @ compared.readout[1]
    logits = act(h) @ network.output + network.sum(network.past, first, b)
    return (
        logits,
        compared.line(a)[0],
        {"neurons": (bent - bent_own) @ network.output, "output": (bent_own - compared.middle) @ rest},
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    activation=st.sampled_from(["relu", "gelu", "quadratic"]),
    operation=st.sampled_from(["addition", "subtraction", "multiplication"]),
    width=st.sampled_from([1, 2, 9]),
    size=st.sampled_from([0.05, 0.5, 3.0]),
    keys=st.sets(st.integers(1, 3), min_size=1),
    seed=st.integers(0, 1000),
)
def test_both_parts_hold_on_any_network(
    kind: str, activation: str, operation: str, width: int, size: float, keys: set[int], seed: int
) -> None:
    p = 7
    module = KINDS[kind](p, width, activation).double()
    generator = torch.Generator().manual_seed(seed)
    for weights in module.parameters():
        weights.data.normal_(0, size, generator=generator)
    trajectory = Trajectory.of(module, ModularTask(p, operation))
    chosen = np.array(sorted(keys))
    network = TokenTables(trajectory)
    compared = Comparison(network, chosen)
    for a in range(network.tokens.order):
        logits, known, true = parts(network, compared, a)
        np.testing.assert_allclose(known + true["neurons"] + true["output"], logits, atol=compared.slack)
        best = known.argmax(-1)[:, None]
        for name, bound in compared.line(a)[1].items():
            apart = np.abs(np.take_along_axis(true[name], best, -1) - true[name])
            assert (apart <= bound + compared.slack).all()
    assert certificate(trajectory, chosen).accuracy_bound <= accuracy(trajectory)


@pytest.mark.parametrize("part", ["neurons", "output"])
@pytest.mark.parametrize("kind", ["quadratic", "two tokens"])
def test_with_one_neuron_nothing_is_lost(kind: str, part: str) -> None:
    """Cauchy-Schwarz is an equality there: half a bound would fail on some pair."""
    ratios = []
    for seed in range(20):
        module = KINDS[kind](7, 1, "relu").double()
        module.initialize(torch.Generator().manual_seed(seed))
        network = TokenTables(Trajectory.of(module, ModularTask(7)))
        compared = Comparison(network, np.array([1]))
        for a in range(7):
            _, known, true = parts(network, compared, a)
            best = known.argmax(-1)[:, None]
            apart = np.abs(np.take_along_axis(true[part], best, -1) - true[part])
            bound = compared.line(a)[1][part]
            ratios.append((apart / np.maximum(bound, 1e-12)).max())
    assert 0.95 < max(ratios) <= 1 + 1e-6


def test_a_program_that_overshoots_its_network() -> None:
    """A square wave has a cosine of 4/pi its height: squares are steeper there than anywhere in the network."""
    module = QuadraticNetwork(P, 1).double()
    wave = torch.sign(torch.cos(2 * torch.pi / P * torch.arange(P).double()))[:, None]
    module.load_state_dict({"U": wave, "V": wave, "W": torch.arange(P).double()[None]})
    network = TokenTables(Trajectory.of(module, ModularTask(P)))
    compared = Comparison(network, np.array([1]))
    _, known, true = parts(network, compared, 0)
    apart = np.abs(np.take_along_axis(true["neurons"], known.argmax(-1)[:, None], -1) - true["neurons"])
    assert (apart <= compared.line(0)[1]["neurons"] + compared.slack).all()
    assert compared.rows[0, :, 0].max() > 1.2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_hold_every_secant(activation: str) -> None:
    act, points = ACTIVATIONS[activation].function, np.linspace(-4, 4, 81)
    for low, high in ((-4.0, 4.0), (-4.0, -1.0), (-1.0, 0.5), (0.3, 1.0), (1.0, 2.0), (-3.0, -2.5)):
        x = points[(points > low) & (points < high)]
        secants = [(act(x[i]) - act(x[j])) / (x[i] - x[j]) for i in range(len(x)) for j in range(i)]
        least, largest = ACTIVATIONS[activation].slopes(np.array([low]), np.array([high]))
        assert least - 1e-9 <= min(secants)
        assert max(secants) <= largest + 1e-9
        if activation == "quadratic":
            assert largest - least == 2 * (high - low)


def test_gelu_is_steepest_at_the_square_root_of_2() -> None:
    """1.1290 there and -0.1290 at minus that, Phi(sqrt 2) + sqrt 2 phi(sqrt 2)."""
    steepest = 0.5 * (1 + math.erf(1)) + math.sqrt(2) * math.exp(-1) / math.sqrt(2 * math.pi)
    least, largest = ACTIVATIONS["gelu"].slopes(np.array([-5.0]), np.array([5.0]))
    assert largest.item() == pytest.approx(steepest) == pytest.approx(1.1290, abs=1e-4)
    assert least.item() == pytest.approx(1 - steepest)


def test_a_table_that_contradicts_its_frequencies_is_not_certified() -> None:
    """Too few neurons of random phases: many errors, which the program has as well."""
    network = Trajectory.of(gromov(P, KEYS.tolist(), 30), ModularTask(P))
    found = certificate(network, KEYS)
    assert found.certified == 1  # the program is the network
    assert found.accuracy_bound == pytest.approx(accuracy(network))
    assert found.accuracy_bound < 1


def test_an_untrained_network_is_not_certified() -> None:
    module = OneLayerTransformer(P, 32, 2, 64)
    module.initialize(torch.Generator().manual_seed(3))
    found = certificate(Trajectory.of(module, ModularTask(P)), KEYS)
    assert found.accuracy_bound == 0
    assert found.tightness > 1


@pytest.mark.parametrize("keys", [[], [0, 3], [12]])
def test_frequencies_that_are_none(keys: list[int]) -> None:
    with pytest.raises(SltGrokError, match=r"frequencies of 1\.\.11"):
        certificate(Trajectory.of(PLANTED["pizza"](), ModularTask(P)), np.array(keys))
