"""Gradient symmetricity: whether a logit changes alike with the embeddings of both tokens.

Zhong et al. 2306.17844, section 4: the mean over triples (a, b, c) of cos(dQ_abc/dE_a, dQ_abc/dE_b), Q_abc the logit
of c on the pair (a, b); the gradients are taken at the embedding before positions are added, for the first and the
second token apart also where a = b. It is 1 by construction where a network sees only E_a + E_b, and close to 1 in
untrained transformers that answer at '=': it falls from there for a clock. Where the answer is read at the second
token, that token has the residual stream besides the attention, and an untrained network starts near 1/2.

A model computes from one row a token, so that the gradients of pairs with a token in common add up. Here every pair
has two tokens of its own, a vocabulary of 2n for n pairs, and one backward pass gives all gradients apart.
"""

import copy
import random
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.models.network import Parameters

# Pairs at a time, with all p classes and with one. A transformer without '=' tabulates the scores of all its 2n
# queries on all its 2n keys: larger n spends its time there, smaller n on calls.
PAIRS_WITH_ALL_CLASSES, PAIRS_WITH_ONE_CLASS = 16, 128
SHUFFLE_SEED = 42  # the order in which published values were computed


@cache
def triples(modulus: int, number: int) -> Tensor:
    """Return the first of all p^3 triples (a, b, c) in an order shuffled by `random.Random(42)`, (number, 3).

    Before the shuffle the order is lexicographic.

    Raises
    ------
    SltGrokError
        `number` is not in 2..p^3.
    """
    size = modulus**3
    if not 2 <= number <= size:
        raise SltGrokError(f"gradient_triples: expected 2 to {size} triples, got {number}")
    order = list(range(size))
    random.Random(SHUFFLE_SEED).shuffle(order)
    index = torch.tensor(order[:number])
    return torch.stack([index // modulus**2, index // modulus % modulus, index % modulus], -1)


def symmetricity(module: Model, parameters: Parameters, number: int) -> tuple[float, float]:
    """Mean and standard error of cos(dQ_abc/dE_a, dQ_abc/dE_b).

    Parameters
    ----------
    module, parameters : Model, Parameters
        One network, in the precision to compute in.
    number : int
        How many of `triples`.

    Returns
    -------
    tuple[float, float]
        The mean over the triples whose two gradients are not zero, in [-1, 1], NaN where there are not two; its
        standard error as that of a sample without replacement, sd sqrt((1 - n/p^3) / n): 0 for all triples.

    Raises
    ------
    SltGrokError
        `number` is not in 2..p^3.
    """
    p = module.tokens
    if number == p**3:
        cosine, left_out = all_cosines(module, parameters), 0.0
    else:
        cosine, left_out = cosines(module, parameters, triples(p, number)), 1 - number / p**3
    found = cosine[~cosine.isnan()]
    if len(found) < 2:
        return float("nan"), float("nan")
    return found.mean().item(), found.std().item() * (left_out / len(found)) ** 0.5


def cosines(module: Model, parameters: Parameters, at: Tensor) -> Tensor:
    """Return the cosine at each triple, (n, 3) -> (n,); NaN where a gradient is zero."""
    found = []
    for part in at.split(PAIRS_WITH_ONE_CLASS):
        logits, gradients = _of_pairs(module, parameters, part[:, :2])
        found.append(_cosine(*gradients(torch.zeros_like(logits).scatter_(1, part[:, 2:], 1))))
    return torch.cat(found)


def all_cosines(module: Model, parameters: Parameters) -> Tensor:
    """Return the cosine at every triple, (p^2, p); NaN where a gradient is zero."""
    p, found = module.tokens, []
    for part in torch.cartesian_prod(torch.arange(p), torch.arange(p)).split(PAIRS_WITH_ALL_CLASSES):
        logits, gradients = _of_pairs(module, parameters, part)
        each_class = torch.eye(p, dtype=logits.dtype)[:, None].expand(p, *logits.shape)
        found.append(_cosine(*vmap(gradients)(each_class)).T)
    return torch.cat(found)


def _of_pairs(
    module: Model, parameters: Parameters, pairs: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Logits (n, p), and the map from a cotangent of them to the gradients (n, d) at the first and second token."""
    n, p = len(pairs), module.tokens
    own_tokens = copy.copy(module)  # shares everything but the number of its tokens
    own_tokens.modulus = 2 * n
    rows = torch.arange(n)
    inputs = torch.stack([rows, rows + n], -1)
    # tokens with a table each see the other one's half of the embedding not at all
    tables = len([role for role in module.token_roles() if not role.startswith("output")])

    def logits(embedded: Tensor) -> Tensor:
        def at(name: str, value: Tensor) -> Tensor:
            return torch.cat([embedded, value[p:]]) if name == "embedding" else value  # rows from p on are no tokens

        return functional_call(own_tokens, dict(parameters), (inputs,), {"at": at})

    value, pull, *_ = vjp(logits, module.token_embedding(parameters)[pairs.T.flatten()])

    def gradients(cotangent: Tensor) -> tuple[Tensor, Tensor]:
        first, second = pull(cotangent)[0].chunk(2)
        return first.chunk(tables, -1)[0], second.chunk(tables, -1)[-1]

    return value, gradients


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(-1) / (first.norm(dim=-1) * second.norm(dim=-1))  # 0/0 is NaN
