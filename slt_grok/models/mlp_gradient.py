"""Hand-written gradients of many embedding MLPs at once.

Each token is mapped once per network, so the n pairs only look up rows; the gradient with respect to a row is the sum
over the pairs with its token. Automatic differentiation is the reference.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from slt_grok.models.backward import ACTIVATION_BACKWARD, mean_cross_entropy


def loss_and_gradients(
    stack: Mapping[str, Tensor],
    pairs: Tensor,
    labels: Tensor,
    own_data: bool,
    wanted: Collection[str],
    sides: Sequence[tuple[str, str]],
    biases: Sequence[str],
    activation: Callable[[Tensor], Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute mean losses (N,) in float64, and gradients (N, ...) with respect to the wanted parameters.

    Parameters
    ----------
    stack : Mapping[str, Tensor]
        All parameters by name, (N, ...).
    pairs, labels : Tensor
        Tokens (n, 2) and labels (n,), or with `own_data` (N, n, 2) and (N, n).
    sides : Sequence[tuple[str, str]]
        Names of the embedding (p, d_embed) and the map (d_embed, d_mlp) for the left and the right token.
    biases : Sequence[str]
        Names of the biases added to the pre-activations.
    activation : callable
        A key of `ACTIVATION_BACKWARD`.
    """
    unembedding = stack["W_U"]
    networks, d_mlp, p = unembedding.shape
    if not own_data:
        pairs, labels = pairs.expand(networks, -1, 2), labels.expand(networks, -1)
    n = labels.shape[1]
    tables = unembedding.new_empty(2, networks, p, d_mlp)  # one per side
    for table, (embedding, weights) in zip(tables, sides, strict=True):
        torch.bmm(stack[embedding], stack[weights], out=table)
    for bias in biases:
        tables[0] += stack[bias][:, None]
    first_rows = p * torch.arange(2 * networks, device=pairs.device).view(2, networks)
    rows = pairs + first_rows.T[:, None]  # rows of the tables, (N, n, 2)
    pre = embedding_bag(rows.reshape(-1, 2), tables.view(-1, d_mlp), mode="sum")
    post = activation(pre).view(networks, n, d_mlp)
    logits = torch.bmm(unembedding.mT, post.mT)  # samples last, since softmax is faster across rows than along them
    if "b_U" in stack:
        logits += stack["b_U"][..., None]
    losses, by_logits = mean_cross_entropy(logits, labels)

    by_post = torch.bmm(by_logits.mT, unembedding.mT)
    by_pre = ACTIVATION_BACKWARD[activation](by_post.view(-1, d_mlp), pre)
    by_tables = torch.zeros_like(tables)
    for side in rows.flatten(0, 1).unbind(1):
        by_tables.view(-1, d_mlp).index_add_(0, side, by_pre)
    gradients: dict[str, Tensor] = {}

    def add(name: str, left: Tensor, right: Tensor) -> None:
        if name in gradients:
            gradients[name].baddbmm_(left, right)
        elif name in wanted:
            gradients[name] = torch.bmm(left, right)

    for by_table, (embedding, weights) in zip(by_tables, sides, strict=True):
        add(embedding, by_table, stack[weights].mT)
        add(weights, stack[embedding].mT, by_table)
    by_bias = by_tables[0].sum(1)  # every pair has one left token
    gradients |= dict.fromkeys(biases, by_bias)
    if "W_U" in wanted:
        gradients["W_U"] = torch.bmm(post.mT, by_logits.mT)
    if "b_U" in wanted:
        gradients["b_U"] = by_logits.sum(2)
    return losses, {name: gradients[name] for name in wanted}
