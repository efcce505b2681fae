"""A network with one hidden layer as tables over its tokens, and the weights of their rows for each pair.

    h(a, b) = sum_t w_t(a, b) T_t[a or b],    logits(a, b) = act(h) W_L + sum_t w_t(a, b) D_t[a or b]

The rows T_t and D_t each depend on one token: what it contributes to the neurons, and directly to the logits. A network
without attention has one row per token, with weight 1, computed by the network on 2 n + 1 pairs. A network with
attention has one per head and token, whose w_t is the attention pattern, and one for the residual stream: they are
computed by the network with its pattern replaced by one head's attention to one position, and by none.
"""

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from slt_grok.errors import SltGrokError
from slt_grok.models import Network, record
from slt_grok.models.model import Parameters, activation_name
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.reading import on_all_pairs, single
from slt_grok.program.tokens import Tokens
from slt_grok.trajectories import Trajectory

NO_ATTENTION = torch.zeros(())


class TokenTables:
    """A network on the pairs that have angles; see the module docstring. Tokens are the elements j of the group.

    Parameters
    ----------
    trajectory : Trajectory
        A single network.

    Attributes
    ----------
    tokens : Tokens
        Tokens of the network's task.
    activation : str
        Name of the activation.
    is_first : ndarray
        Whether row t belongs to a rather than b, (term,).
    weights : ndarray
        Weights w_t, (term, a, b).
    values : ndarray
        Rows T_t, (term, token, width).
    past : ndarray
        Rows D_t, (term, token, class).
    output : ndarray
        Neuron-logit map W_L, (width, class). Classes are the elements j, then the one without an angle, if any.

    Raises
    ------
    SltGrokError
        There are several networks, the task has no angles, the network is under an intervention, or its model does not
        declare `token_sums` or has an unknown activation.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        stack, network = single(trajectory, torch.float64), trajectory.network
        tokens = Tokens.of(trajectory.task)
        activation = activation_name(getattr(network.module, "activation", None))
        if tokens is None:
            raise SltGrokError("certificate: the labels are not the sum of angles of their tokens")
        if network.call is not functional_call:
            raise SltGrokError("certificate: expected an unmodified network, got one under an intervention")
        kind = type(network.module).__name__
        if not network.declares("token_sums"):
            raise SltGrokError(
                "certificate: expected a model that declares `token_sums`, such as mlp, quadratic or transformer, got "
                f"{kind}"
            )
        if activation not in ACTIVATIONS:
            raise SltGrokError(f"certificate: expected {kind}.activation to be one of {', '.join(ACTIVATIONS)}")
        self.tokens, self.activation = tokens, activation
        output = network.module.neuron_logit_map(stack)[0]  # pyright: ignore
        is_first, weights, rows = _rows(network, stack, torch.from_numpy(tokens.token), output)
        self.is_first, self.weights = is_first.numpy(), weights.numpy()
        self.values, past = np.split(rows.numpy(), [len(output)], -1)
        classes = np.concatenate([tokens.token, np.flatnonzero(tokens.position < 0)])
        self.past, self.output = past[..., classes], output.numpy()[:, classes]

    def sum(self, rows: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute sum_t w_t rows_t for m pairs of elements, (m, columns), with rows (term, token, columns)."""
        token = np.where(self.is_first[:, None], a, b)
        return np.einsum("tm,tmc->mc", self.weights[:, a, b], rows[np.arange(len(rows))[:, None], token])

    def range(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bound that sum over all pairs, (columns,) each."""
        weights = np.stack([self.weights.min((1, 2)), self.weights.max((1, 2))])
        ends = np.stack([rows.min(1), rows.max(1)])
        corners = (weights[:, None, :, None] * ends).reshape(4, *ends.shape[1:])
        return corners.min(0).sum(0), corners.max(0).sum(0)


def _rows(network: Network, stack: Parameters, element: Tensor, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `is_first`, `weights` and the rows [T_t, D_t], (term, token, width + class), classes not reordered."""
    parameters, n, zero = {name: tensor[0] for name, tensor in stack.items()}, len(element), element[:1]

    def parts(first: Tensor, second: Tensor, attention: Tensor = NO_ATTENTION) -> Tensor:
        """Compute [h, logits - act(h) W_L] for n pairs under a given attention pattern."""
        sites: dict[str, Tensor] = {}
        recorded = record(sites, "neurons_pre", "neurons_post", "logits")

        def at(name: str, value: Tensor) -> Tensor:
            return recorded(name, attention.expand_as(value) if name == "attention_pattern" else value)

        network.outputs(parameters, torch.stack(torch.broadcast_tensors(first, second), -1), at=at)
        return torch.cat([sites["neurons_pre"], sites["logits"] - sites["neurons_post"] @ output], -1)

    if not network.declares("attention_pattern"):
        rows = torch.stack([parts(element, zero), parts(zero, element) - parts(zero, zero)])
        return torch.tensor([True, False]), torch.ones(2, n, n), rows
    pattern = network.stacked_sites(stack, zero.expand(1, 2), "attention_pattern")["attention_pattern"][0, 0]
    units = torch.eye(pattern.numel()).view(-1, *pattern.shape)  # of one head to one position
    last = parts(element, element)
    attended = torch.stack([parts(element, element, unit) for unit in units]) - last
    to_a, to_b, *to_equals = attended.unflatten(0, pattern.shape).unbind(1)
    for constant in to_equals:  # the attention to '=' is what a and b leave of a constant sum
        last = last + (pattern.sum(-1)[:, None, None] * constant).sum(0)
        to_a, to_b = to_a - constant, to_b - constant
    grid = on_all_pairs(network, stack, "attention_pattern")["attention_pattern"][0, ..., :2]
    on_group = grid.unflatten(0, (-1, network.module.tokens))[element][:, element]  # pyright: ignore
    weights = torch.cat([on_group.permute(3, 2, 0, 1).flatten(0, 1), torch.ones(1, n, n)])
    return torch.arange(len(weights)) < len(pattern), weights, torch.cat([to_a, to_b, last[None]])
