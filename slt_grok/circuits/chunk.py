"""Every circuit variable of a stack of networks that fits in memory at once: one forward pass, then the measures."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from slt_grok import fourier
from slt_grok.circuits import (
    attention,
    clock_pizza,
    geometry,
    gradient_symmetricity,
    margins,
    neurons,
    phases,
    progress,
    spectrum,
)
from slt_grok.circuits.forward import Forward, Values
from slt_grok.models import DeepTransformer, Model, OneLayerTransformer, QuadraticNetwork
from slt_grok.models.network import Network
from slt_grok.tasks import ModularTask

CIRCLES = 3  # pairs of principal components that are taken for circles
# Accompanying circles (2306.17844, section 5): principal components 1 to 6 alone, and 7 to 12 alone.
COMPONENT_GROUPS = {"1_6": slice(0, 6), "7_12": slice(6, 12)}


@dataclass(frozen=True)
class Chunk:
    """A stack of networks and what one forward pass gives.

    Parameters
    ----------
    forward : Forward
        The networks, their parameters in float64, and the values at their sites.
    kept : Tensor
        The frequencies of the circuit, a bool mask (N, (p-1)/2).
    """

    forward: Forward
    kept: Tensor

    @property
    def module(self) -> Model:
        """What the networks have in common."""
        return self.forward.module

    @property
    def task(self) -> ModularTask:
        """What they learned."""
        return self.forward.task

    @property
    def stack(self) -> Values:
        """Their parameters."""
        return self.forward.stack

    @property
    def sites(self) -> Values:
        """Values on the grid."""
        return self.forward.sites

    @property
    def sign(self) -> int:
        """The answer depends on s = a + sign b."""
        return -1 if self.task.operation == "subtraction" else 1

    def by_split(self, per_sample: Tensor) -> Tensor:
        """Means over train, test and all pairs: (N, p^2) -> (N, 3)."""
        rows = [self.task.indices(split) for split in ("train", "test", "all")]
        return torch.stack([per_sample[:, index].double().mean(-1) for index in rows], -1)

    def losses(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy by split: (N, p^2, p) -> (N, 3)."""
        return self.by_split(progress.sample_losses(logits, self.task.labels))

    def losses_of_table(self, table: Tensor) -> Tensor:
        """Mean cross-entropy by split of logits that depend on s alone: (N, s, c) -> (N, 3)."""
        sums = fourier.grid_sum(self.task.modulus, self.sign)
        return self.by_split(-table.log_softmax(-1)[:, sums, self.task.labels])

    def accuracies(self, logits: Tensor) -> Tensor:
        """Share of right answers by split: (N, p^2, p) -> (N, 3)."""
        return self.by_split(logits.argmax(-1) == self.task.labels)

    def unmirrored_test_accuracy(self, logits: Tensor) -> Tensor:
        """Share of right answers on test pairs (a, b) whose (b, a) is not trained on: (N, p^2, p) -> (N,)."""
        p = self.task.modulus
        trained = torch.zeros(p, p, dtype=torch.bool)
        trained.view(-1)[self.task.indices("train")] = True
        rows = (~trained & ~trained.T).flatten()
        return (logits.argmax(-1) == self.task.labels)[:, rows].double().mean(-1)


def measure_chunk(network: Network, stack: Values, kept: Tensor, triples: int) -> Values:
    """Every variable of `circuits.measure` but `circuit_frequency`: name -> (N, ...); see there for the arguments."""
    chunk = Chunk(Forward.of(network, stack), kept)
    found = _neurons(chunk)
    return {
        **_logits(chunk),
        **_weights(chunk, found["key_frequency"]),
        **found,
        **_heads(chunk),
        **_circles(chunk),
        **_gradients(chunk, triples),
    }


def _logits(chunk: Chunk) -> Values:
    logits, kept, sign, task = chunk.sites["logits"], chunk.kept, chunk.sign, chunk.task
    sums, labels, train = fourier.grid_sum(task.modulus, sign), task.labels, task.indices("train")
    table = fourier.sum_table(logits, sign)
    fitted, clock_fve = progress.clock_fit(logits, table, kept)
    without_one = progress.excluded_by_frequency(logits[:, train], table, sums[train], labels[train])
    right, wrong, rival = margins.margins(logits, labels)
    return {
        "accuracy": chunk.accuracies(logits),
        "unmirrored_test_accuracy": chunk.unmirrored_test_accuracy(logits),
        "loss": chunk.losses(logits),
        "restricted_loss_sum": chunk.losses_of_table(progress.restricted_sum(table, kept)),
        "restricted_loss_2x2": chunk.losses(progress.restricted_blocks(logits, kept, 2)),
        "restricted_loss_3x3": chunk.losses(progress.restricted_blocks(logits, kept, 3)),
        "excluded_loss": chunk.losses(logits - progress.project(table, kept)[:, sums]),
        "excluded_loss_by_frequency": without_one,
        "excluded_loss_largest": without_one.amax(-1),
        "trig_loss": chunk.losses_of_table(fitted),
        "clock_fve": clock_fve,
        "pizza_fve": clock_pizza.pizza_fit(logits, kept, sign),
        "margin": chunk.by_split(right - wrong),
        "margin_smallest": (right - wrong).amin(-1),
        "margin_by_frequency": margins.by_frequency(table, rival, sums, labels),
        "distance_irrelevance": clock_pizza.distance_irrelevance(right, sign),
        "distance_irrelevance_top_wrong": clock_pizza.distance_irrelevance(wrong, sign),
    } | _normalized_margin(chunk, (right - wrong).amin(-1))


def _normalized_margin(chunk: Chunk, smallest: Tensor) -> Values:
    activation = margins.ACTIVATION_DEGREE.get(chunk.module.activation)
    if not isinstance(chunk.module, QuadraticNetwork) or activation is None:
        return {}  # not homogeneous, see `margins`
    found = margins.normalized(smallest, *(chunk.stack[name] for name in "UVW"), degree=activation + 1)
    return dict(zip(("normalized_margin", "normalized_margin_l2"), found, strict=True))


def _weights(chunk: Chunk, key_frequency: Tensor) -> Values:
    embedding, to_logits = chunk.module.token_embedding(chunk.stack), chunk.module.neuron_logit_map(chunk.stack)
    by_answer = to_logits.mT
    shares = [spectrum.power_share(table) for table in (embedding, by_answer)]
    by_power = [spectrum.key_by_power(share) for share in shares]
    return {
        "embedding_spectrum": shares[0],
        "neuron_logit_map_spectrum": shares[1],
        "key_frequency_embedding": by_power[0],
        "key_frequency_neuron_logit_map": by_power[1],
        "key_frequency_agreement": spectrum.agreement(key_frequency, *by_power),
        "gini_embedding": spectrum.gini_of_components(embedding),
        "gini_neuron_logit_map": spectrum.gini_of_components(by_answer),
        "frequency_density_embedding": spectrum.frequency_density(embedding),
        "frequency_density_neuron_logit_map": spectrum.frequency_density(by_answer),
        "coefficient_ratio_embedding": spectrum.coefficient_ratio(embedding),
        "coefficient_ratio_neuron_logit_map": spectrum.coefficient_ratio(by_answer),
        "sum_of_squared_weights": torch.stack([w.flatten(1).square().sum(-1) for w in chunk.stack.values()]).sum(0),
        "neuron_logit_map_rank": spectrum.rank(to_logits),
    }


def _neurons(chunk: Chunk) -> Values:
    pre, post, sign = chunk.sites["neurons_pre"], chunk.sites["neurons_post"], chunk.sign
    to_logits, activation = chunk.module.neuron_logit_map(chunk.stack), chunk.module.activation
    lines = neurons.Lines.of(post)
    fve = lines.fraction_of_variance_explained()
    belongs = neurons.in_cluster(fve, activation is torch.square)
    sizes = neurons.cluster_sizes(fve, belongs)
    largest, frequency = fve.max(-1)
    frequency = frequency + 1
    waves = phases.Waves.of(pre, to_logits)
    left, right, output = waves.phases(frequency)
    fitted, of_fit = waves.power_shares().max(1)
    polynomial = chunk.forward.with_polynomials(lines, frequency)
    simple = chunk.forward.with_pre(waves.fitted(of_fit + 1))
    ratio = phases.inverse_participation_ratio(waves)
    aligned = geometry.phase_alignment(pre, frequency)
    torus = phases.torus_distance(aligned, chunk.task.modulus, sign)
    members = (frequency[:, None] == torch.arange(1, fve.shape[-1] + 1)[:, None]) & belongs[:, None]
    residual = phases.alignment_residual((left, right, output), members, sign)
    alignment = [x.double().masked_fill(~belongs, torch.nan) for x in aligned]
    return {
        "neuron_cluster_size": sizes,
        "key_frequency": sizes > 0,
        "neuron_share": neurons.share_in_cluster(lines.variance, belongs),
        "neuron_frequency": frequency,
        "neuron_fve": largest,
        "neuron_phase_left": left,
        "neuron_phase_right": right,
        "neuron_phase_output": output,
        "phase_alignment_residual": (residual * sizes).nansum(-1) / sizes.sum(-1),
        "phase_alignment_residual_by_frequency": residual,
        "neuron_alignment_left": alignment[0],
        "neuron_alignment_right": alignment[1],
        "neuron_torus_distance": torus,
        "torus_distance": torus.double().masked_fill(~belongs, torch.nan).nanmean(-1),
        "neuron_logit_direction_fve": neurons.direction_fve(chunk.sites["neurons_read"], sign),
        "polynomial_neurons_loss": chunk.losses(polynomial),
        "polynomial_neurons_accuracy": chunk.accuracies(polynomial),
        "simple_neuron_r2": fitted,
        "simple_neurons_loss": chunk.losses(simple),
        "simple_neurons_accuracy": chunk.accuracies(simple),
        "inverse_participation_ratio_rfft": ratio,
        "inverse_participation_ratio_dft": ratio / 2,
        **geometry.shapes(chunk.sites, to_logits, frequency, belongs, sign),
    }


def _heads(chunk: Chunk) -> Values:
    found: Values = {}
    if "attention_pattern" in chunk.sites:
        shares = attention.pattern_shares(chunk.sites["attention_pattern"])
        found["attention_frequency"], found["attention_fve"] = attention.largest(shares)
    if isinstance(chunk.module, OneLayerTransformer | DeepTransformer):
        first = "" if isinstance(chunk.module, OneLayerTransformer) else "blocks.0."
        weights = {name: chunk.stack[first + name] for name in ("W_V", "W_O", "W_in")}
        shares = attention.ov_shares(chunk.module.token_embedding(chunk.stack), weights)
        found["ov_frequency"], found["ov_fve"] = attention.largest(shares)
    return found


def _circles(chunk: Chunk) -> Values:
    components = clock_pizza.PrincipalComponents.of(chunk.module.token_embedding(chunk.stack))

    def alone(group: slice) -> tuple[Tensor, Tensor]:
        """Logits and accuracy of the network with these principal components only."""
        # no loss is taken of these logits: single precision serves, in half the time
        logits = chunk.forward.with_embedding(components.only(group).float())
        return logits.double(), chunk.accuracies(logits)[:, -1].masked_fill(components.absent(group), torch.nan)

    frequency, fve, accuracy = [], [], []
    for circle in range(CIRCLES):
        logits, right = alone(slice(2 * circle, 2 * circle + 2))
        found = clock_pizza.circle_frequency(components, circle)
        fits = [_fits(one, int(k), chunk.sign) for one, k in zip(logits, found, strict=True)]
        frequency.append(found)
        accuracy.append(right)
        fve.append(torch.stack(fits))
    clock, pizza = torch.stack(fve, 1).unbind(-1)
    groups = {f"accuracy_principal_components_{name}": alone(group)[1] for name, group in COMPONENT_GROUPS.items()}
    return {
        "circularity": clock_pizza.circularity(components),
        "circle_frequency": torch.stack(frequency, -1),
        "circle_clock_fve": clock,
        "circle_pizza_fve": pizza,
        "circle_accuracy": torch.stack(accuracy, -1),
        **groups,
    }


def _fits(logits: Tensor, frequency: int, sign: int) -> Tensor:
    """FVE by clock and pizza of one network's logits (p^2, p); NaN without a circle."""
    if not frequency:
        return torch.full((2,), torch.nan, dtype=torch.float64)
    return torch.cat(clock_pizza.fits_of_one_frequency(logits[None], frequency, sign))


def _gradients(chunk: Chunk, triples: int) -> Values:
    if (
        chunk.forward.network.call is not functional_call
    ):  # an intervention on the way through, which knows Z_p's tokens alone
        nothing = torch.full((len(chunk.kept),), torch.nan, dtype=torch.float64)
        return {"gradient_symmetricity": nothing, "gradient_symmetricity_se": nothing}
    networks = [dict(zip(chunk.stack, one, strict=True)) for one in zip(*chunk.stack.values(), strict=True)]
    found = [gradient_symmetricity.symmetricity(chunk.module, network, triples) for network in networks]
    mean, error = torch.tensor(found, dtype=torch.float64).unbind(-1)
    return {"gradient_symmetricity": mean, "gradient_symmetricity_se": error}
