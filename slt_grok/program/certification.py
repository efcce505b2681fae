"""A lower bound on a network's accuracy from the margins of its neuron-level program and a bound on their difference.

The network is act(h) W + D by tables over its tokens (`slt_grok.program.token_tables`). The program is act(h') W': the
key frequencies and their second harmonics of the tables, weighed by the network's attention, the key frequencies of
W_L. With constants lambda_n and g(x) = act(x) - lambda x,

    L = [lambda h W + D + g(h') W' + m (W - W')] + (g(h') - m) (W - W') + [g(h) - g(h')] W.

The bracket is known with its signs: lambda h W + D is linear in the tables, m a constant. Where its answer q
exceeds every other answer c by more than the two other parts can be, by the Cauchy-Schwarz inequality over the neurons,

    output    |alpha (g(h') - m)| |((W - W')_q - (W - W')_c) / alpha|
    neurons   (|rho dh_a| + |rho dh_b|) |gamma (W_q - W_c) / rho|,    h - h' = dh_a + dh_b by which token a row is of,

q is the network's answer: lambda_n -+ gamma_n are the least and largest slope of act on all that h_n and h'_n can be.
The weights alpha, rho > 0 balance the neurons; any are right. So the fraction of pairs with an answer that is right and
certified is never above the true accuracy, whatever the network.

No neuron of the network is computed on a pair, but its attention is: |rho dh_a| is a norm in the space of the heads.
With T rows a pair, one of them the residual stream, that takes about width (T + 2 K + 2) multiplications a pair for the
program and width (T + 2 + 2 T (4 K + T + 2) / p) for the tables, where the network takes width (T + p) by such tables.
Bounds from a mechanism, and what they cost against how tight they are: Gross et al. 2406.11779; this one is ours.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
from scipy.spatial.distance import cdist
from scipy.stats import norm

from slt_grok.errors import SltGrokError
from slt_grok.program.program import ACTIVATIONS
from slt_grok.program.token_tables import TokenTables
from slt_grok.trajectories import Trajectory

ROUNDING = 1e-12  # of the sum of the largest |slope h_n W_nc|, what float64 may lose


@dataclass(frozen=True)
class Comparison:
    """A network and its program, in the symbols of the module.

    Parameters
    ----------
    network : TokenTables
        By its tables.
    slope : ndarray
        lambda, (width,).
    rows : ndarray
        The tables of h' and of lambda h W + D, (term, token, width + class).
    readout : tuple of ndarray
        W' as a product (width, r) (r, class).
    middle, middle_logits : ndarray
        m and m (W - W'), (width,) and (class,).
    alpha : ndarray
        (width,).
    off : ndarray
        |rho dh_a| + |rho dh_b|, (a, b).
    apart_neurons, apart_output : ndarray
        |gamma (W_q - W_c) / rho| and |((W - W')_q - (W - W')_c) / alpha|, (class, class).
    slack : float
        What a difference of logits may lose by rounding.
    """

    network: TokenTables
    slope: np.ndarray
    rows: np.ndarray
    readout: tuple[np.ndarray, np.ndarray]
    middle: np.ndarray
    middle_logits: np.ndarray
    alpha: np.ndarray
    off: np.ndarray
    apart_neurons: np.ndarray
    apart_output: np.ndarray
    slack: float

    @classmethod
    def of(cls, network: TokenTables, keys: np.ndarray) -> "Comparison":
        """With the frequencies of the program."""
        values, output, n = network.values, network.output, network.tokens.order
        waves = _waves(network, np.unique(np.concatenate([keys, 2 * keys % n])))
        kept = waves.T @ (np.linalg.pinv(waves, rcond=1e-9).T @ values)
        off = values - kept
        readout = _readout(network, keys)
        rest = output - readout[0] @ readout[1]

        low, high = (np.stack(ends) for ends in zip(network.range(values), network.range(kept), strict=True))
        least, largest = slope_range(network.activation, low.min(0), high.max(0))
        slope, spread = (least + largest) / 2, (largest - least) / 2
        rows = np.concatenate([kept, values @ (slope[:, None] * output) + network.past], -1)

        # the constant and the weights from n pairs that lie about evenly
        pre = network.sum(kept, np.arange(n), np.arange(n) * round(0.618 * n) % n)
        bent = ACTIVATIONS[network.activation](pre) - slope * pre
        middle, alpha = bent.mean(0), _balance(bent.std(0), rest.std(1))
        typical = np.einsum("tab,tjn->n", np.square(network.weights) / n**2, np.square(off) / n, optimize=True)
        rho = _balance(np.sqrt(typical), spread * output.std(1))
        norms = [
            _norms(weights[some], rho * off[some])
            for some, weights in (
                (network.of_first, network.weights),
                (~network.of_first, network.weights.swapaxes(1, 2)),
            )
        ]
        largest_of = (np.abs(network.weights).max((1, 2)) @ np.abs(x).max(1) for x in (values, kept, network.past))
        inputs, inputs_kept, past = largest_of
        steepest = np.maximum(np.abs(least), np.abs(largest)) * (inputs + inputs_kept)
        return cls(
            network=network,
            slope=slope,
            rows=rows,
            readout=readout,
            middle=middle,
            middle_logits=middle @ rest,
            alpha=alpha,
            off=norms[0] + norms[1].T,
            apart_neurons=_distances((spread / rho)[:, None] * output),
            apart_output=_distances(rest / alpha[:, None]),
            slack=ROUNDING * (steepest @ np.abs(output) + past).max(),
        )

    def line(self, a: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """For all b: what is known with its signs, (b, class), and the two bounds where its answer is q, alike."""
        b = np.arange(self.network.tokens.order)
        pre, linear = np.split(self.network.sum(self.rows, np.full_like(b, a), b), [len(self.slope)], -1)
        bent = ACTIVATIONS[self.network.activation](pre) - self.slope * pre
        logits = linear + bent @ self.readout[0] @ self.readout[1] + self.middle_logits
        best, size = logits.argmax(-1), np.linalg.norm(self.alpha * (bent - self.middle), axis=-1)
        return logits, {
            "neurons": self.off[a][:, None] * self.apart_neurons[best],
            "output": size[:, None] * self.apart_output[best],
        }


@dataclass(frozen=True)
class Certificate:
    """What the neuron-level program proves about its network.

    Parameters
    ----------
    accuracy_bound : float
        Fraction of all pairs that are certified and answered right by the program.
    certified : float
        Fraction of all pairs whose answer is certain to be the program's; pairs without angles count as not certified.
    margin : float
        Mean over the pairs of the largest logit less the second one, of what is known with its signs.
    bound_neurons, bound_output : float
        Mean over the pairs of each part of the bound on the difference, at the program's second answer.
    tightness : float
        Median over the pairs of the largest bound / margin over the other answers; a pair below 1 is certified.
    """

    accuracy_bound: float
    certified: float
    margin: float
    bound_neurons: float
    bound_output: float
    tightness: float


def certificate(one: Trajectory, keys: np.ndarray) -> Certificate:
    """Return what the neuron-level program proves about its network.

    Parameters
    ----------
    one : Trajectory
        One network of this package with one hidden layer, on addition, subtraction or multiplication.
    keys : ndarray
        The frequencies of the program. More of them bound more tightly, and cost more; all of them are the network.

    Raises
    ------
    SltGrokError
        As `TokenTables.of`; no frequency, or one that does not exist.
    """
    network = TokenTables.of(one)
    if not len(keys) or not np.isin(keys, network.tokens.frequencies).all():
        most = network.tokens.frequencies[-1]
        raise SltGrokError(f"certificate: expected frequencies of 1..{most}, got {[int(k) for k in keys]}")
    compared, tokens = Comparison.of(network, keys), network.tokens
    j = np.arange(tokens.order)
    proven, certain, margins, ratios, parts = [], [], [], [], []
    for a in range(tokens.order):
        logits, bound = compared.line(a)
        best = logits.argmax(-1)
        others = np.arange(logits.shape[1]) != best[:, None]
        margin = np.where(others, logits.max(-1, keepdims=True) - logits, np.inf)
        total = bound["neurons"] + bound["output"] + compared.slack
        second = (j, margin.argmin(-1))
        certain.append((margin > total).all(-1))
        proven.append(certain[-1] & (best == (a + tokens.sign * j) % tokens.order))
        margins.append(margin[second])
        parts.append([bound["neurons"][second], bound["output"][second]])
        with np.errstate(divide="ignore", over="ignore"):  # two answers alike
            ratios.append((total / margin).max(-1))
    neurons, output = np.mean(parts, (0, 2))
    return Certificate(
        accuracy_bound=float(np.sum(proven) / tokens.p**2),
        certified=float(np.sum(certain) / tokens.p**2),
        margin=float(np.mean(margins)),
        bound_neurons=float(neurons),
        bound_output=float(output),
        tightness=float(np.median(ratios)),
    )


def slope_range(activation: str, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest slope of an activation between low and high, each like low."""
    if activation == "relu":
        return (low > 0).astype(float), (high > 0).astype(float)
    if activation == "quadratic":
        return 2 * low, 2 * high
    # GELU's slope grows from -sqrt 2 to sqrt 2 and falls outside
    points = [low, high, np.clip(-np.sqrt(2), low, high), np.clip(np.sqrt(2), low, high)]
    slopes = np.stack([norm.cdf(x) + x * norm.pdf(x) for x in points])
    return slopes.min(0), slopes.max(0)


def _waves(network: TokenTables, frequencies: np.ndarray) -> np.ndarray:
    constant = np.ones((1, network.tokens.order))
    return np.concatenate([constant, network.tokens.answer_waves(frequencies)])


def _readout(network: TokenTables, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the constant and the keys of W_L, and the class without angle as it is: (width, r) and (r, class)."""
    n, output, waves = network.tokens.order, network.output, _waves(network, keys)
    outside = output[:, n:]
    parts = np.concatenate([output[:, :n] @ np.linalg.pinv(waves, rcond=1e-9), outside], 1)
    return parts, np.asarray(block_diag(waves, np.eye(outside.shape[1])))


def _norms(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """|sum_t w_t rows_t| over the neurons, (own token, other token), by the triangular factor of each token's rows."""
    factors = np.linalg.qr(rows.transpose(1, 2, 0), mode="r")  # (token, term, term)
    return np.linalg.norm(factors @ weights.transpose(1, 0, 2), axis=1)


def _distances(columns: np.ndarray) -> np.ndarray:
    """Euclidean distance of each column from each, from the differences: squares and products would cancel."""
    return cdist(columns.T, columns.T)


def _balance(sizes: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Return the alpha that make the mean |alpha x| |y / alpha| least, for neurons of these sizes of x and y."""
    x, y = (size / (size.max() or 1.0) + 1e-9 for size in (sizes, partners))
    return np.sqrt(y / x)
