"""Losses and gradients of a stack of one-layer transformers, with few products over the n pairs.

At the last position the residual stream is a sum of rows that depend on one token each, weighted by the attention
pattern (the network of Nanda et al. 2301.05217, section 3, and Zhong et al. 2306.17844, section 2):

    residual = last + sum_k sum_h pattern_kh value_kh[token_k] W_O_h,

so its products with W_in and W_U can be computed for the p tokens before the rows are looked up for the pairs:

    [pre, direct] = base + sum_k sum_h pattern_kh T_kh[token_k],    T_kh = value_kh W_O_h [W_in, W_U],
    logits        = direct + act(pre) W_L,                          W_L  = W_out W_U.

Of the products over the pairs, only the one with W_L remains; the sum over positions k and heads h is a weighted bag of
rows. A head's pattern sums to a constant, so '=' drops out of the sum if its value is subtracted from the other two.
Everything that depends only on tokens and weights is differentiated automatically, the neurons of the pairs by hand.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from slt_grok.models.backward import ACTIVATION_BACKWARD, mean_cross_entropy

Activation = Callable[[Tensor], Tensor]

PIECE = 5 << 18  # neurons and logits computed at once: enough to amortize an operation, few enough for the cache
LINE = 16  # float32 numbers per cache line: the tables' rows are padded to a multiple of it


class Tables(NamedTuple):
    """Quantities that depend on single tokens or on the weights alone, for N networks.

    Parameters
    ----------
    rows : Tensor
        T, (N, head, p + 2, columns): of the p tokens, then of the positions of a and b, which add to those of the
        tokens there; columns are d_mlp neurons, p logits and zeros.
    base : Tensor
        (N, 1, columns), or (N, p, columns) by b where b is the last token.
    scores : list of Tensor
        Scores of the positions of a and b, (N, rows, head): by a, or by b p + a where b is the last token; and by b.
    readout : Tensor
        W_L, (N, d_mlp, p).
    """

    rows: Tensor
    base: Tensor
    scores: list[Tensor]
    readout: Tensor


def stacked_gradients(
    stack: Mapping[str, Tensor],
    pairs: Tensor,
    labels: Tensor,
    own_data: bool,
    wanted: Collection[str],
    activation: Activation,
    attention_rate: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute mean cross-entropies (N,) in float64 and gradients, see `Model.stacked_gradients`.

    Parameters
    ----------
    activation, attention_rate : Activation, float
        Activation and attention rate of the model; all other settings follow from the shapes of the weights.
    """
    networks = len(stack["W_E"])
    columns = stack["W_in"].shape[-1] + stack["W_U"].shape[-1]
    together = _even(networks, PIECE // (labels.shape[-1] * -(-columns // LINE) * LINE))
    losses, gradients = [], []
    for start in range(0, networks, together):
        some = slice(start, start + together)
        weights = {name: tensor[some].detach().requires_grad_(name in wanted) for name, tensor in stack.items()}
        count = len(weights["W_E"])
        x, y = (pairs[some], labels[some]) if own_data else (pairs.expand(count, -1, 2), labels.expand(count, -1))
        loss, gradient = _gradients(weights, x, y, wanted, activation, attention_rate)
        losses.append(loss)
        gradients.append(gradient)
    if len(gradients) == 1:  # avoid a copy
        return losses[0], dict(zip(wanted, gradients[0], strict=True))
    whole = [torch.cat(parts) for parts in zip(*gradients, strict=True)]
    return torch.cat(losses), dict(zip(wanted, whole, strict=True))


def _even(count: int, most: int) -> int:
    """Compute a piece size of at most `most` but at least 1 that divides `count` into roughly equal pieces."""
    pieces = math.ceil(count / max(1, most))
    return math.ceil(count / pieces)


def _gradients(
    weights: Mapping[str, Tensor],
    pairs: Tensor,
    labels: Tensor,
    wanted: Collection[str],
    activation: Activation,
    attention_rate: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute losses and gradients for pairs (N, n, 2) and labels (N, n)."""
    equals = weights["W_E"].shape[1] > weights["W_U"].shape[2]
    with torch.enable_grad():
        rows, base, scores, readout = tables(weights, attention_rate, equals)
        pattern = patterns(scores, pairs, attention_rate, equals)
    losses, gradients = through_neurons(
        rows.detach(), base.detach(), pattern.detach(), readout.detach(), pairs, labels, activation
    )
    if not wanted:
        return losses, ()
    values = (rows, base, pattern, readout)
    used = [(value, gradient) for value, gradient in zip(values, gradients, strict=True) if value.requires_grad]
    outputs, output_gradients = zip(*used, strict=True)
    leaves = [weights[name] for name in wanted]
    return losses, torch.autograd.grad(outputs, leaves, output_gradients, materialize_grads=True)


def tables(weights: Mapping[str, Tensor], attention_rate: float, equals: bool) -> Tables:
    """Compute the tables of N networks; `equals` if the last token is '=' rather than b."""
    w = weights
    p, d_head = w["W_U"].shape[-1], w["W_Q"].shape[-1]
    number, position = w["W_E"][:, :p], w["W_pos"]
    last = (w["W_E"][:, p:] if equals else number) + position[:, -1:]
    # keys and values relative to those of '=', so its score is 0
    offsets = position[:, :2] - last if equals else position
    streams = torch.cat([number, offsets], 1)[:, None]

    query = last[:, None] @ w["W_Q"] / d_head**0.5  # (N, head, 1 or p, d_head)
    if equals:
        by_row = (query @ w["W_K"].mT @ streams.mT)[:, :, 0]
        scores = [(by_row[..., :p] + by_row[..., p + k, None]).mT for k in range(2)]
    else:
        key = streams @ w["W_K"]
        to_a, to_b = (key[:, :, :p] + key[:, :, p + k, None] for k in range(2))
        scores = [(query @ to_a.mT).flatten(2).mT, (query * to_b).sum(-1).mT]

    unembedding = pad(w["W_U"], (0, -(w["W_in"].shape[-1] + p) % LINE))
    maps = torch.cat([w["W_in"], unembedding], -1)
    through = (w["W_O"].flatten(1, 2) @ maps).unflatten(1, (-1, d_head))  # (N, head, d_head, columns)
    base = last @ maps + torch.cat([w["b_in"][:, None], w["b_out"][:, None] @ unembedding], -1)
    if equals:
        total = attention_rate + 3 * (1 - attention_rate)
        base = base + total * (last[:, None] @ w["W_V"] @ through).sum(1)
    return Tables(streams @ w["W_V"] @ through, base, scores, w["W_out"] @ w["W_U"])


def patterns(scores: list[Tensor], pairs: Tensor, attention_rate: float, equals: bool) -> Tensor:
    """Compute the attention to the positions of a and b, (N, n, 2 head), for pairs (N, n, 2)."""
    a, b = pairs.unbind(-1)
    parts = [_look_up(scores[0], a if equals else b * scores[1].shape[1] + a), _look_up(scores[1], b)]
    if equals:
        parts.append(torch.zeros_like(parts[0]))
    # positions first: a softmax over a short last axis is not vectorized
    pattern = attention_rate * torch.stack(parts).softmax(0) + (1 - attention_rate)
    return torch.cat([pattern[0], pattern[1]], -1)


def through_neurons(
    rows: Tensor, base: Tensor, pattern: Tensor, readout: Tensor, pairs: Tensor, labels: Tensor, activation: Activation
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Compute losses (N,) and gradients with respect to the first four arguments, see `Tables` and `patterns`."""
    networks, n = labels.shape
    _, n_heads, length, columns = rows.shape
    d_mlp, p = readout.shape[1:]
    heads = torch.arange(networks * n_heads, device=rows.device).view(networks, 1, 1, n_heads)
    members = (heads * length + pairs[..., None]).flatten(2)  # rows of the table, (N, n, 2 head)
    table = rows.reshape(-1, columns)
    positions = rows[:, :, p:].transpose(1, 2).flatten(1, 2)
    d_columns, d_pattern = rows.new_empty(networks, n, columns), torch.empty_like(pattern)
    d_columns[..., d_mlp + p :] = 0
    d_readout = torch.zeros_like(readout.mT, memory_format=torch.contiguous_format)
    losses = torch.zeros(networks, dtype=torch.float64, device=rows.device)
    piece = _even(n, PIECE // (networks * columns))
    for start in range(0, n, piece):
        some = slice(start, start + piece)
        bags, weights = members[:, some].flatten(0, 1), pattern[:, some].flatten(0, 1)
        out = embedding_bag(bags, table, mode="sum", per_sample_weights=weights).view(networks, -1, columns)
        out.baddbmm_(pattern[:, some], positions)
        out += base if base.shape[1] == 1 else _look_up(base, pairs[:, some, 1])
        pre, direct, _ = out.split([d_mlp, p, columns - d_mlp - p], -1)
        post = activation(pre)
        loss, d_logits = mean_cross_entropy(torch.baddbmm(direct.mT, readout.mT, post.mT), labels[:, some])
        share = out.shape[1] / n
        losses += share * loss
        d_logits *= share
        d_readout.baddbmm_(d_logits, post)
        d_out = d_columns[:, some]
        d_out[..., :d_mlp] = ACTIVATION_BACKWARD[activation](d_logits.mT @ readout.mT, pre)
        d_out[..., d_mlp : d_mlp + p] = d_logits.mT
        d_weights = _dots(d_out.flatten(0, 1), table, bags).view(networks, -1, 2 * n_heads)
        d_pattern[:, some] = d_weights.baddbmm_(d_out, positions.mT)
    d_rows = _sum_by_token(d_columns, pattern, pairs, length)
    d_rows[:, :, p:] = (pattern.mT @ d_columns).unflatten(1, (2, n_heads)).transpose(1, 2)
    if base.shape[1] == 1:
        d_base = d_columns.sum(1, keepdim=True)
    else:
        d_base = _sum_by_token(d_columns, torch.ones_like(pattern[..., :1]), pairs[..., 1:], p)[:, 0]
    return losses, (d_rows, d_base, d_pattern, d_readout.mT)


def _sum_by_token(columns: Tensor, weights: Tensor, tokens: Tensor, length: int) -> Tensor:
    """For each token t, sum the rows (N, n, columns) that have it at a position, times that position's weight.

    weights (N, n, position and head), tokens (N, n, position) -> (N, head, length, columns).
    """
    networks, n, positions = tokens.shape
    tokens, weights = tokens.mT.flatten(1), weights.unflatten(-1, (positions, -1))
    order = tokens.argsort(-1)  # of (position, sample)
    shares = weights.permute(0, 3, 2, 1).flatten(2)  # (N, head, position and sample)
    n_heads = shares.shape[1]
    order = order[:, None].expand(-1, n_heads, -1)
    first = torch.arange(networks, device=tokens.device).view(-1, 1, 1) * n
    counts = tokens.new_zeros(networks, length).scatter_add_(1, tokens, torch.ones_like(tokens))
    counts = counts[:, None].expand(-1, n_heads, -1).flatten()
    samples, offsets, weights = (first + order % n).flatten(), counts.cumsum(0) - counts, shares.gather(-1, order)
    sums = embedding_bag(samples, columns.flatten(0, 1), offsets, mode="sum", per_sample_weights=weights.flatten())
    return sums.view(networks, n_heads, length, -1)


def _dots(columns: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """Compute columns[i] . table[rows[i, j]], the gradient of a bag with respect to its weights: (samples, j)."""
    size = rows.shape[1]
    offsets = torch.arange(0, rows.numel(), size, device=rows.device)
    bags = torch.arange(len(rows), device=rows.device).repeat_interleave(size)
    backward = torch.ops.aten._embedding_bag_per_sample_weights_backward
    return backward(columns, table, rows.flatten(), offsets, bags, 0).view(rows.shape)


def _look_up(tables: Tensor, rows: Tensor) -> Tensor:
    """Look up row `rows[i, j]` of table i: (N, rows, d) and (N, n) -> (N, n, d)."""
    first = torch.arange(len(tables), device=rows.device)[:, None] * tables.shape[1]
    return tables.flatten(0, 1).index_select(0, (first + rows).flatten()).view(*rows.shape, -1)
