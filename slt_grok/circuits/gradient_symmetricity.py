"""Gradient symmetricity: whether a logit responds equally to the embeddings of both tokens.

Zhong et al. 2306.17844, section 4: the mean over triples (a, b, c) of cos(dQ_abc/dE_a, dQ_abc/dE_b), where Q_abc is the
logit of c on the pair (a, b); gradients are taken at the embedding before positions are added, separately for the first
and the second token even if a = b. It is 1 by construction if a network sees only E_a + E_b, and close to 1 in
untrained transformers that answer at '='; a clock falls from there. If the answer is read at the second token, that
token has the residual stream in addition to attention, and an untrained network starts near 1/2.

A model computes with one row per token, so gradients of pairs that share a token would add up. Here every pair has two
tokens to itself, a vocabulary of 2n for n pairs, and one backward pass gives all gradients separately.
"""

import copy
import math
import random
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call

from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.measure import ZHONG, CircuitMeasure
from slt_grok.errors import SltGrokError
from slt_grok.measurement import Variable
from slt_grok.models import Model
from slt_grok.models.network import Parameters
from slt_grok.models.vectorized import vectorized

# Pairs per batch, with all classes and with one. A transformer without '=' tabulates the scores of all 2n queries and
# 2n keys: larger n spends its time there, smaller n on call overhead.
PAIRS_WITH_ALL_CLASSES, PAIRS_WITH_ONE_CLASS = 16, 128
SHUFFLE_SEED = 42  # the published values use this shuffle


class GradientSymmetricity(CircuitMeasure):
    """Cosines between the gradients with respect to the two token embeddings."""

    name = "gradient_symmetricity"
    needs = ("group", "logits", "embedding", "token_embedding", "token_roles")
    variables = {
        "gradient_symmetricity": Variable((), "gradient symmetricity",
            "mean over triples (a, b, c) of cos(dQ_abc/dE_a, dQ_abc/dE_b), gradients at the embedding before "
            "positions; the triples are the first ones (attribute gradient_triples of the dataset) of all n^3 in "
            "lexicographic order shuffled by random.Random(42); 1 by construction where the network sees E_a + E_b "
            "alone; NaN where an intervention changes what happens inside the network", f"{ZHONG}, section 4"),
        "gradient_symmetricity_se": Variable((), "standard error of gradient symmetricity",
            "sd of the cosines sqrt((1 - n/N) / n) for n of N triples"),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        if chunk.network.call is not functional_call:  # an intervention that knows the n tokens alone
            return dict.fromkeys(self.variables, torch.full((len(chunk.kept),), torch.nan, dtype=torch.float64))
        networks = ({name: w[i] for name, w in chunk.stack.items()} for i in range(len(chunk.kept)))
        values = [symmetricity(chunk.module, network, chunk.gradient_triples) for network in networks]
        return dict(zip(self.variables, torch.tensor(values, dtype=torch.float64).unbind(-1), strict=True))


def number_of_triples(module: Model, wanted: int | None) -> int:
    """Determine the number of triples: as many as wanted, up to all of them; all for None.

    Raises
    ------
    SltGrokError
        Fewer than two triples are wanted.
    """
    size = module.tokens**2 * module.classes
    if wanted is not None and wanted < 2:
        raise SltGrokError(f"gradient_triples: expected 2 to {size} triples, got {wanted}")
    return size if wanted is None else min(wanted, size)


@cache
def triples(tokens: int, classes: int, number: int) -> Tensor:
    """List the first of all n^2 m triples (a, b, c) in an order shuffled by `random.Random(42)`, (number, 3).

    Before the shuffle, the order is lexicographic.
    """
    order = list(range(tokens**2 * classes))
    random.Random(SHUFFLE_SEED).shuffle(order)
    index = torch.tensor(order[:number])
    return torch.stack([index // (tokens * classes), index // classes % tokens, index % classes], -1)


def symmetricity(module: Model, parameters: Parameters, number: int | None) -> tuple[float, float]:
    """Compute mean and standard error of cos(dQ_abc/dE_a, dQ_abc/dE_b).

    Parameters
    ----------
    module, parameters : Model, Parameters
        One network, at the precision to compute in.
    number : int or None
        Number of `triples`, at most all; None for all.

    Returns
    -------
    tuple of float
        The mean over the triples with nonzero gradients, in [-1, 1], NaN if there are fewer than two; and its standard
        error for a sample without replacement, sd sqrt((1 - n/N) / n): 0 for all N triples.

    Raises
    ------
    SltGrokError
        Fewer than two triples are wanted.
    """
    n, m = module.tokens, module.classes
    number = number_of_triples(module, number)
    if number == n**2 * m:
        cosine, omitted = all_cosines(module, parameters), 0.0
    else:
        cosine, omitted = cosines(module, parameters, triples(n, m, number)), 1 - number / (n**2 * m)
    defined = cosine[~cosine.isnan()]
    if len(defined) < 2:
        return math.nan, math.nan
    return defined.mean().item(), defined.std().item() * (omitted / len(defined)) ** 0.5


def cosines(module: Model, parameters: Parameters, triples: Tensor) -> Tensor:
    """Compute the cosine at each triple, (n, 3) -> (n,); NaN if a gradient is zero."""
    parts = []
    for part in triples.split(PAIRS_WITH_ONE_CLASS):
        logits, cosine = _logits_and_cosine(module, parameters, part[:, :2])
        parts.append(cosine(torch.zeros_like(logits).scatter_(1, part[:, 2:], 1)))
    return torch.cat(parts)


def all_cosines(module: Model, parameters: Parameters) -> Tensor:
    """Compute the cosine at every triple, (n^2, classes); NaN if a gradient is zero."""
    tokens, classes, parts = torch.arange(module.tokens), module.classes, []
    for part in torch.cartesian_prod(tokens, tokens).split(PAIRS_WITH_ALL_CLASSES):
        logits, cosine = _logits_and_cosine(module, parameters, part)
        each_class = torch.eye(classes, dtype=logits.dtype)[:, None].expand(classes, *logits.shape)
        parts.append(vectorized(cosine, each_class)(each_class).T)
    return torch.cat(parts)


def _logits_and_cosine(
    module: Model, parameters: Parameters, pairs: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Compute the logits of n pairs (n, classes), and the function from their cotangent to the cosines (n,)."""
    n, p = len(pairs), module.tokens
    pairwise = copy.copy(module)  # shares everything except the number of tokens
    pairwise.tokens = 2 * n
    rows = torch.arange(n)
    inputs = torch.stack([rows, rows + n], -1)
    # with one table per token, each has zeros for the other's half of the embedding
    tables = len([role for role in module.token_roles() if not role.startswith("output")])

    def logits(embedded: Tensor) -> Tensor:
        def at(name: str, value: Tensor) -> Tensor:
            return torch.cat([embedded, value[p:]]) if name == "embedding" else value  # rows from p on are no tokens

        return functional_call(pairwise, dict(parameters), (inputs,), {"at": at})

    embedded = module.token_embedding(parameters)[pairs.T.flatten()].detach().requires_grad_()
    with torch.enable_grad():
        value = logits(embedded)

    def cosine(cotangent: Tensor) -> Tensor:
        first, second = torch.autograd.grad(value, embedded, cotangent, retain_graph=True)[0].chunk(2)
        first, second = first.chunk(tables, -1)[0], second.chunk(tables, -1)[-1]
        return (first * second).sum(-1) / (first.norm(dim=-1) * second.norm(dim=-1))  # 0/0 is NaN

    return value.detach(), cosine
