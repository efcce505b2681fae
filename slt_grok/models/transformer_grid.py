"""Sites of a stack of one-layer transformers on all p^2 pairs, with one product over the pairs.

As in `transformer_gradient`, products with W_in and W_U are computed for the p tokens. On the entire grid no row has to
be looked up: the first token's rows are constant along one axis of the grid, the second token's along the other,

    [pre, direct][a, b] = base[b] + sum_h pattern_ah[a, b] T_ah[a] + sum_h pattern_bh[a, b] T_bh[b],

so each of the sums is a batch of p matrix products, whose inner dimension is the number of heads.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from slt_grok.models.transformer_gradient import patterns, tables

NUMBERS = 5 << 17  # neurons and logits computed at once: enough to amortize an operation, few enough for the cache
GRID_SITES = ("attention_pattern", "neurons_pre", "neurons_post", "neurons_read", "logits")


def stacked_grid(
    stack: Mapping[str, Tensor], names: Collection[str], activation: Callable[[Tensor], Tensor], attention_rate: float
) -> dict[str, Tensor]:
    """Compute values at sites of N networks on all pairs, a slow and b fast, at the precision of the stack.

    Parameters
    ----------
    stack : Mapping[str, Tensor]
        Parameters of `OneLayerTransformer`, (N, ...).
    names : Collection[str]
        Names of sites among `GRID_SITES`.
    activation, attention_rate : callable, float
        Activation and attention rate of the model; all other settings follow from the shapes of the weights.

    Returns
    -------
    dict[str, Tensor]
        `neurons_pre` and `neurons_post` (N, p^2, d_mlp), `logits` (N, p^2, p), `neurons_read`, the component post W_L
        of the logits, (N, p^2, p), and `attention_pattern` (N, p^2, head, 2) to a and to b.
    """
    (d_mlp, _), p = stack["W_out"].shape[1:], stack["W_U"].shape[-1]
    networks, equals, n_heads = len(stack["W_E"]), stack["W_E"].shape[1] > p, stack["W_Q"].shape[1]
    rows, base, scores, readout = tables(stack, attention_rate, equals)
    tokens = torch.arange(p, device=rows.device)
    pairs = torch.cartesian_prod(tokens, tokens).expand(networks, -1, 2)
    pattern = patterns(scores, pairs, attention_rate, equals).unflatten(1, (p, p))
    to_a, to_b = pattern.split(n_heads, -1)  # (N, a, b, head)
    to_b = pad(to_b, (0, 1), value=1.0).transpose(1, 2).contiguous()  # the 1 is the weight of the base
    rows_a, rows_b = ((rows[:, :, :p] + rows[:, :, p + k, None]).transpose(1, 2) for k in range(2))
    rows_b = torch.cat([rows_b, base.expand(-1, p, -1)[:, :, None]], 2)  # (N, token, head and base, columns)
    widths = {"neurons_pre": d_mlp, "neurons_post": d_mlp, "neurons_read": p, "logits": p}
    blocks = {name: rows_a.new_empty(networks, p, p, widths[name]) for name in names if name in widths}
    piece = max(1, NUMBERS // (p * rows_a.shape[-1]))
    for network in range(networks):
        for start in range(0, p, piece):
            some = slice(start, start + piece)
            both = to_a[network, some] @ rows_a[network, some]  # (a, b, columns)
            both.transpose(0, 1).baddbmm_(to_b[network, :, some], rows_b[network])
            pre, direct = both[..., :d_mlp], both[..., d_mlp : d_mlp + p]
            post = activation(pre)
            read = post @ readout[network]
            values = {"neurons_pre": pre, "neurons_post": post, "neurons_read": read, "logits": direct + read}
            for name, whole in blocks.items():
                whole[network, some] = values[name]
    sites = {name: whole.flatten(1, 2) for name, whole in blocks.items()}
    if "attention_pattern" in names:
        sites["attention_pattern"] = pattern.flatten(1, 2).unflatten(-1, (2, n_heads)).transpose(-1, -2)
    return sites
