"""A lower bound on a network's accuracy from the margins of its neuron-level program and a bound on their difference.

The network is act(h) W + D, given by tables over its tokens (`slt_grok.program.token_tables`). The program is act(h')
W', built from the key frequencies and their second harmonics in the tables, weighted by the network's attention, and
from the key frequencies of W_L. With constants lambda_n and g(x) = act(x) - lambda x,

    L = [lambda h W + D + g(h') W' + m (W - W')] + (g(h') - m) (W - W') + [g(h) - g(h')] W.

The bracket is known with its sign: lambda h W + D is linear in the tables and m is a constant. The program's answer q
is certified where its lead over every other answer c exceeds the other two parts, bounded by the Cauchy-Schwarz
inequality over the neurons:

    output    |alpha (g(h') - m)| |((W - W')_q - (W - W')_c) / alpha|
    neurons   (|rho dh_a| + |rho dh_b|) |gamma (W_q - W_c) / rho|,    h - h' = dh_a + dh_b, split by the row's token

Then q is the network's answer. lambda_n -+ gamma_n are the least and largest slopes of act over all values that h_n and
h'_n can take. The weights alpha, rho > 0 balance the neurons; any choice is valid. The fraction of pairs with a correct
and certified answer therefore never exceeds the true accuracy, for any network.

The network's neurons are never computed on a pair, only its attention: |rho dh_a| is a norm in the space of the heads.
With T rows per pair, one of them the residual stream, this takes about width (T + 2 K + 2) multiplications per pair for
the program and width (T + 2 + 2 T (4 K + T + 2) / p) for the tables; the network takes width (T + p) with such tables.
On bounds from a mechanism and their cost versus tightness: Gross et al. 2406.11779; this bound is ours.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
from scipy.spatial.distance import cdist

from slt_grok.errors import SltGrokError
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.token_tables import TokenTables
from slt_grok.trajectories import Trajectory

ROUNDING = 1e-12  # relative to the largest sum of |slope h_n W_nc|: the rounding error allowed for in float64


class Comparison:
    """A network and its program, in the symbols of the module docstring.

    Parameters
    ----------
    network : TokenTables
        The network, as tables over its tokens.
    keys : ndarray
        Frequencies of the program.

    Attributes
    ----------
    slope : ndarray
        lambda, (width,).
    rows : ndarray
        The tables of h' and of lambda h W + D, (term, token, width + class).
    readout : tuple of ndarray
        W' as a product (width, r) (r, class).
    middle, middle_logits : ndarray
        m of shape (width,) and m (W - W') of shape (class,).
    alpha : ndarray
        Weights of the neurons, (width,).
    deviation : ndarray
        |rho dh_a| + |rho dh_b|, (a, b).
    neuron_distances, output_distances : ndarray
        |gamma (W_q - W_c) / rho| and |((W - W')_q - (W - W')_c) / alpha|, (class, class).
    slack : float
        Bound on the rounding error of a logit difference.
    """

    def __init__(self, network: TokenTables, keys: np.ndarray) -> None:
        self.network = network
        values, output, n = network.values, network.output, network.tokens.order
        waves = _waves(network, np.unique(np.concatenate([keys, 2 * keys % n])))
        kept = waves.T @ (np.linalg.pinv(waves, rcond=1e-9).T @ values)
        dropped = values - kept
        self.readout = _readout(network, keys)
        rest = output - self.readout[0] @ self.readout[1]

        act = ACTIVATIONS[network.activation]
        low, high = (np.stack(ends) for ends in zip(network.range(values), network.range(kept), strict=True))
        least, largest = act.slopes(low.min(0), high.max(0))
        self.slope, spread = (least + largest) / 2, (largest - least) / 2
        self.rows = np.concatenate([kept, values @ (self.slope[:, None] * output) + network.past], -1)

        # the constant and the weights, from n roughly evenly spaced pairs
        pre = network.sum(kept, np.arange(n), np.arange(n) * round(0.618 * n) % n)
        nonlinear = act.function(pre) - self.slope * pre
        self.middle, self.alpha = nonlinear.mean(0), _balance(nonlinear.std(0), rest.std(1))
        self.middle_logits = self.middle @ rest
        typical = np.einsum("tab,tjn->n", np.square(network.weights) / n**2, np.square(dropped) / n, optimize=True)
        rho = _balance(np.sqrt(typical), spread * output.std(1))
        first, weights = network.is_first, network.weights
        second = _norms(weights[~first].swapaxes(1, 2), rho * dropped[~first]).T
        self.deviation = _norms(weights[first], rho * dropped[first]) + second
        self.neuron_distances = _distances((spread / rho)[:, None] * output)
        self.output_distances = _distances(rest / self.alpha[:, None])
        inputs, kept_inputs, past = (
            np.abs(weights).max((1, 2)) @ np.abs(rows).max(1) for rows in (values, kept, network.past)
        )
        steepest = np.maximum(np.abs(least), np.abs(largest)) * (inputs + kept_inputs)
        self.slack = ROUNDING * (steepest @ np.abs(output) + past).max()

    def line(self, a: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """For all b: the signed part, (b, class), and the two bounds where the program answers q."""
        b = np.arange(self.network.tokens.order)
        pre, linear = np.split(self.network.sum(self.rows, np.full_like(b, a), b), [len(self.slope)], -1)
        nonlinear = ACTIVATIONS[self.network.activation].function(pre) - self.slope * pre
        logits = linear + nonlinear @ self.readout[0] @ self.readout[1] + self.middle_logits
        best, size = logits.argmax(-1), np.linalg.norm(self.alpha * (nonlinear - self.middle), axis=-1)
        return logits, {
            "neurons": self.deviation[a][:, None] * self.neuron_distances[best],
            "output": size[:, None] * self.output_distances[best],
        }


@dataclass(frozen=True)
class Certificate:
    """What the neuron-level program proves about its network.

    Parameters
    ----------
    accuracy_bound : float
        Fraction of all pairs that are certified and that the program answers correctly.
    certified : float
        Fraction of all pairs on which the network provably gives the program's answer; pairs without angles do not
        count.
    margin : float
        Difference between the largest and second-largest logit in the signed part, averaged over the pairs.
    bound_neurons, bound_output : float
        Each part of the bound on the difference at the program's second answer, averaged over the pairs.
    tightness : float
        Median over the pairs of the largest bound / margin over the other answers; a pair below 1 is certified.
    """

    accuracy_bound: float
    certified: float
    margin: float
    bound_neurons: float
    bound_output: float
    tightness: float


def certificate(trajectory: Trajectory, keys: np.ndarray) -> Certificate:
    """Compute what the neuron-level program proves about its network.

    Parameters
    ----------
    trajectory : Trajectory
        A single network whose model declares `token_sums`, on addition, subtraction or multiplication.
    keys : ndarray
        Frequencies of the program. More of them give a tighter bound at a higher cost; all of them give the network
        itself.

    Raises
    ------
    SltGrokError
        See `TokenTables`; also for an empty set of frequencies or one that does not exist.
    """
    network = TokenTables(trajectory)
    if not len(keys) or not np.isin(keys, network.tokens.frequencies).all():
        most = network.tokens.frequencies[-1]
        raise SltGrokError(f"certificate: expected frequencies of 1..{most}, got {[int(k) for k in keys]}")
    comparison, tokens = Comparison(network, keys), network.tokens
    j, lines = np.arange(tokens.order), []
    for a in range(tokens.order):
        logits, bound = comparison.line(a)
        best = logits.argmax(-1)
        others = np.arange(logits.shape[1]) != best[:, None]
        margin = np.where(others, logits.max(-1, keepdims=True) - logits, np.inf)
        total = bound["neurons"] + bound["output"] + comparison.slack
        second, certified = (j, margin.argmin(-1)), (margin > total).all(-1)
        correct = best == (a + tokens.sign * j) % tokens.order
        with np.errstate(divide="ignore", over="ignore"):  # two equal answers
            ratio = (total / margin).max(-1)
        parts = margin[second], bound["neurons"][second], bound["output"][second]
        lines.append([certified & correct, certified, *parts, ratio])
    proven, certified, margin, neurons, output, ratio = np.swapaxes(lines, 0, 1)
    return Certificate(
        accuracy_bound=float(proven.sum() / tokens.p**2),
        certified=float(certified.sum() / tokens.p**2),
        margin=float(margin.mean()),
        bound_neurons=float(neurons.mean()),
        bound_output=float(output.mean()),
        tightness=float(np.median(ratio)),
    )


def _waves(network: TokenTables, frequencies: np.ndarray) -> np.ndarray:
    constant = np.ones((1, network.tokens.order))
    return np.concatenate([constant, network.tokens.answer_waves(frequencies)])


def _readout(network: TokenTables, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor W_L at the constant and the keys, leaving the class without angle unchanged: (width, r), (r, class)."""
    n, output, waves = network.tokens.order, network.output, _waves(network, keys)
    outside = output[:, n:]
    parts = np.concatenate([output[:, :n] @ np.linalg.pinv(waves, rcond=1e-9), outside], 1)
    return parts, np.asarray(block_diag(waves, np.eye(outside.shape[1])))


def _norms(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """|sum_t w_t rows_t| over the neurons, (own token, other token), from the QR factor of each token's rows."""
    factors = np.linalg.qr(rows.transpose(1, 2, 0), mode="r")  # (token, term, term)
    return np.linalg.norm(factors @ weights.transpose(1, 0, 2), axis=1)


def _distances(columns: np.ndarray) -> np.ndarray:
    """Euclidean distances between all columns, computed from differences since squares and products would cancel."""
    return cdist(columns.T, columns.T)


def _balance(sizes: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Compute the alpha that minimize the mean of |alpha x| |y / alpha|, given the norms of x and y per neuron."""
    x, y = (size / (size.max() or 1.0) + 1e-9 for size in (sizes, partners))
    return np.sqrt(y / x)
