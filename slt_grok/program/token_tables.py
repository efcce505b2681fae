"""A network with one hidden layer as tables over its tokens, and the weights of their rows for each pair.

    h(a, b) = sum_t w_t(a, b) T_t[a or b],    logits(a, b) = act(h) W_L + sum_t w_t(a, b) D_t[a or b]

The rows T_t and D_t each depend on one token: what it contributes to the neurons, and directly to the logits. An MLP or
a quadratic network has one row per token, with weight 1, computed by the network on 2 p - 1 pairs. A transformer has
one per head and token, computed from the weights, whose w_t is the attention pattern, and one for the residual stream.
The attention scores are also tables over tokens: see `slt_grok.models.transformer_gradient`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.func import functional_call

from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, Model, Network, OneLayerTransformer, QuadraticNetwork
from slt_grok.models.model import Parameters, activation_name
from slt_grok.models.transformer_gradient import patterns, tables
from slt_grok.program.reading import single
from slt_grok.program.tokens import Tokens
from slt_grok.trajectories import Trajectory

Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # of_first .. output, classes not reordered


@dataclass(frozen=True)
class TokenTables:
    """A network on the pairs that have angles; see the module docstring. Tokens are the elements j of the group.

    Parameters
    ----------
    tokens : Tokens
        Tokens of the network's task.
    activation : str
        Name of the activation.
    of_first : ndarray
        Whether row t belongs to a rather than b, (term,).
    weights : ndarray
        Weights w_t, (term, a, b).
    values : ndarray
        Rows T_t, (term, token, width).
    past : ndarray
        Rows D_t, (term, token, class).
    output : ndarray
        Neuron-logit map W_L, (width, class). Classes are the elements j, then the one without an angle, if any.
    """

    tokens: Tokens
    activation: str
    of_first: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    past: np.ndarray
    output: np.ndarray

    @classmethod
    def of(cls, one: Trajectory) -> "TokenTables":
        """Build the tables of one network.

        Raises
        ------
        SltGrokError
            There are several networks, the task has no angles, the network is under an intervention, or it is not an
            MLP with one hidden layer, a quadratic network, or a one-layer transformer of this package.
        """
        stack, network, module = single(one, torch.float64), one.network, one.network.module
        tokens = Tokens.of(one.task)
        if tokens is None:
            raise SltGrokError("certificate: the labels are not the sum of angles of their tokens")
        if network.call is not functional_call:
            raise SltGrokError("certificate: expected an unmodified network, got one under an intervention")
        # a derived class may have another forward
        if isinstance(module, OneLayerTransformer) and network.declares("stacked_grid"):
            of_first, weights, values, past, output = _of_transformer(module, stack, tokens)
        elif isinstance(module, Model) and type(module) in (EmbeddingMLP, QuadraticNetwork):
            of_first, weights, values, past, output = _of_sum(network, module, stack, tokens)
        else:
            raise SltGrokError(
                f"certificate: expected an MLP with one hidden layer, a quadratic network or a one-layer transformer, "
                f"got {type(module).__name__}"
            )
        activation = activation_name(module.activation)
        assert activation is not None  # every module above is built with one of these
        classes = np.concatenate([tokens.token, np.flatnonzero(tokens.position < 0)])
        return cls(tokens, activation, of_first, weights, values, past[..., classes], output[:, classes])

    def sum(self, rows: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute sum_t w_t rows_t for m pairs of elements, (m, columns), with rows (term, token, columns)."""
        token = np.where(self.of_first[:, None], a, b)
        return np.einsum("tm,tmc->mc", self.weights[:, a, b], rows[np.arange(len(rows))[:, None], token])

    def range(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bound that sum over all pairs, (columns,) each."""
        weights = np.stack([self.weights.min((1, 2)), self.weights.max((1, 2))])
        ends = np.stack([rows.min(1), rows.max(1)])
        corners = (weights[:, None, :, None] * ends).reshape(4, *ends.shape[1:])
        return corners.min(0).sum(0), corners.max(0).sum(0)


def _of_sum(network: Network, module: Model, stack: Parameters, tokens: Tokens) -> Found:
    """Read the tables off the network on the pairs (a, 0) and (0, b)."""
    element, n = torch.from_numpy(tokens.token), tokens.order
    zero = element[:1].expand(n)
    inputs = torch.cat([torch.stack([element, zero], -1), torch.stack([zero, element], -1)])
    sites = network.stacked_sites(stack, inputs, "neurons_pre", "neurons_post", "logits")
    output = module.neuron_logit_map(stack)[0]
    pre, past = sites["neurons_pre"][0], sites["logits"][0] - sites["neurons_post"][0] @ output
    values, past = (np.stack([x[:n].numpy(), (x[n:] - x[n]).numpy()]) for x in (pre, past))
    return np.array([True, False]), np.ones((2, n, n)), values, past, output.numpy()


def _of_transformer(module: OneLayerTransformer, stack: Parameters, tokens: Tokens) -> Found:
    """Read the tables off the weights; the residual stream at the last position, b or '=', counts as a row of b."""
    width, p, n = module.W_in.shape[1], module.tokens, tokens.order
    equals = module.layout == "a_b_equals"
    found = tables(stack, module.attention_rate, equals)
    element = torch.from_numpy(tokens.token)
    pairs = torch.cartesian_prod(element, element)[None]
    pattern = patterns(found.scores, pairs, module.attention_rate, equals)[0].T.unflatten(1, (n, n))
    of_head, base = found.rows[0], found.base[0].expand(p, -1)[element]
    rows = torch.cat([of_head[:, element] + of_head[:, p + k, None] for k in range(2)] + [base[None]]).numpy()
    weights = torch.cat([pattern, torch.ones(1, n, n)]).numpy()
    of_first = np.arange(len(rows)) < len(of_head)
    return of_first, weights, rows[..., :width], rows[..., width : width + p], found.readout[0].numpy()
