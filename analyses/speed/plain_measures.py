"""The Fourier measures of one network, one frequency at a time, in plain PyTorch as the papers' formulas read.

The peer of workload 4, and a second implementation that `slt_grok.circuits.measure` must agree with. Names and
definitions are those of the measurement `circuits`. Here are those of logits, weights and circles; neurons and heads
are in `plain_neurons`. Sources: Nanda et al. 2301.05217, sections 4 and 5; Zhong et al. 2306.17844, section 4; Furuta
et al. 2402.16726, section 4.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .plain_neurons import Grid, Weights, along, amplitude, forward, of_heads, of_neurons


def measure(weights: Weights, train: Tensor, circuit: list[bool]) -> dict[str, Tensor | float]:
    """Every measure of one network.

    Parameters
    ----------
    weights : Weights
        Of the one-layer transformer on [a, b, =] with addition, float64.
    train : Tensor
        Rows of the p^2 pairs (a slow, b fast) that it was trained on.
    circuit : list[bool]
        Which of the frequencies 1..(p-1)/2 the restricted, excluded and trig losses use.
    """
    grid = Grid(weights["W_U"].shape[1], train)
    sites = forward(weights, grid)
    kept = [k for k, used in enumerate(circuit, 1) if used]
    neurons = of_neurons(weights, sites, grid)
    return {
        **neurons,
        **of_logits(sites["logits"], grid, kept),
        **of_weights(weights, grid, neurons["key_frequency"]),
        **of_heads(weights, sites["pattern"], grid),
        **of_circles(weights, grid),
    }


# -- logits ---------------------------------------------------------------------------------------------------


def of_logits(logits: Tensor, grid: Grid, kept: list[int]) -> dict[str, Tensor | float]:
    """Losses with parts of the logits kept or taken away, fits of clock and pizza, margins, distance irrelevance."""
    p, everywhere = grid.p, torch.arange(grid.p**2)
    mean = logits.mean(0).expand_as(logits)
    centered = logits - mean
    summed, two, three, excluded = mean.clone(), mean.clone(), mean.clone(), logits.clone()
    clock, explained, pizza = mean.clone(), 0.0, 0.0
    constant = torch.ones(p * p, dtype=torch.float64) / p
    for k in kept:
        part = along(grid.of_sum(k), logits)
        summed, excluded = summed + part, excluded - part
        in_a, in_b = grid.waves(k, grid.a), grid.waves(k, grid.b)
        products = [p * x * y for x in in_a for y in in_b]
        lines = [p * constant * x for x in (*in_a, *in_b)]
        two = two + along(products, logits)
        three = three + along([*products, *lines], logits)
        turn = 2 * math.pi * k / p
        cosine = (turn * (grid.labels[:, None] - grid.tokens).double()).cos()
        ring = (turn / 2 * (grid.a - grid.b).double()).cos().abs()[:, None]
        size = (centered * cosine).sum() / cosine.square().sum()
        clock = clock + size * cosine
        explained += size**2 * cosine.square().sum()
        pizza += (centered * ring * cosine).sum() ** 2 / (ring * cosine).square().sum()
    right = logits[everywhere, grid.labels]
    others = logits.clone()
    others[everywhere, grid.labels] = -math.inf
    wrong, rival = others.max(1)
    train, by_frequency, margin_by = grid.splits["train"], [], []
    for k in range(1, grid.half + 1):
        part = along(grid.of_sum(k), logits)
        by_frequency.append(cross_entropy(logits[train] - part[train], grid.labels[train]))
        margin_by.append((part[everywhere, grid.labels] - part[everywhere, rival]).mean())
    variance = centered.square().sum()
    trained = {(int(grid.a[row]), int(grid.b[row])) for row in train}
    unmirrored = [row for row in everywhere.tolist() if trained.isdisjoint({(row // p, row % p), (row % p, row // p)})]
    return {
        "loss": grid.losses(logits),
        "accuracy": grid.accuracies(logits),
        "unmirrored_test_accuracy": (logits[unmirrored].argmax(1) == grid.labels[unmirrored]).double().mean(),
        "restricted_loss_sum": grid.losses(summed),
        "restricted_loss_2x2": grid.losses(two),
        "restricted_loss_3x3": grid.losses(three),
        "excluded_loss": grid.losses(excluded),
        "excluded_loss_by_frequency": torch.stack(by_frequency),
        "excluded_loss_largest": max(by_frequency),
        "trig_loss": grid.losses(clock),
        "clock_fve": explained / variance,
        "pizza_fve": pizza / variance,
        "margin": torch.stack([(right - wrong)[rows].mean() for rows in grid.splits.values()]),
        "margin_smallest": (right - wrong).min(),
        "margin_by_frequency": torch.stack(margin_by),
        "distance_irrelevance": irrelevance(right, grid),
        "distance_irrelevance_top_wrong": irrelevance(wrong, grid),
    }


def irrelevance(logit: Tensor, grid: Grid) -> Tensor:
    """Mean over the distances of the standard deviation at one distance, over that of all pairs."""
    distance = (grid.a - grid.b) % grid.p
    spreads = [logit[distance == d].std(correction=0) for d in range(grid.p)]
    return torch.stack(spreads).mean() / logit.std(correction=0)


# -- weights --------------------------------------------------------------------------------------------------


def of_weights(w: Weights, grid: Grid, by_neurons: Tensor) -> dict[str, Tensor | float]:
    """Spectra, their Gini coefficients, density and ratio of cosines and sines, rank."""
    found: dict[str, Tensor | float] = {}
    masks = [by_neurons]
    to_logits = w["W_out"] @ w["W_U"]
    for name, table in (("embedding", w["W_E"][: grid.p]), ("neuron_logit_map", to_logits.T)):
        norms = torch.stack(
            [
                torch.stack([(wave @ table).norm() for wave in grid.waves(k, grid.tokens)])
                for k in range(1, grid.half + 1)
            ]
        )
        share = norms.square().sum(1) / norms.square().sum()
        masks.append(share > 3 / grid.half)
        ordered, n = norms.flatten().sort().values, 2 * grid.half
        rank = torch.arange(1, n + 1)
        found |= {
            f"{name}_spectrum": share,
            f"key_frequency_{name}": masks[-1],
            f"gini_{name}": ((2 * rank - n - 1) * ordered).sum() / (n * ordered.sum()),
            f"frequency_density_{name}": (norms > norms.max(0).values / 2).double().mean(),
            f"coefficient_ratio_{name}": (norms.min(1).values / norms.max(1).values).mean(),
        }
    pairs = [(masks[i], masks[j]) for i in range(3) for j in range(i)]
    jaccard = [(x & y).sum().item() / (x | y).sum().item() if (x | y).any() else 1.0 for x, y in pairs]
    power = torch.linalg.svdvals(to_logits - to_logits.mean(1, keepdim=True)).square()
    return found | {
        "key_frequency_agreement": sum(jaccard) / 3 if any(mask.any() for mask in masks) else math.nan,
        "sum_of_squared_weights": sum(tensor.square().sum().item() for tensor in w.values()),
        "neuron_logit_map_rank": int((power.cumsum(0) < 0.99 * power.sum()).sum()) + 1,
    }


# -- circles --------------------------------------------------------------------------------------------------


def of_circles(w: Weights, grid: Grid) -> dict[str, Tensor]:
    """Circularity of the embedding, and the network with some principal components of it alone."""
    embedding = w["W_E"][: grid.p]
    mean = embedding.mean(0)
    left, size, directions = torch.linalg.svd(embedding - mean, full_matrices=False)
    scores = left * size
    power = torch.stack([amplitude(scores, k).abs().square() * grid.p / 2 for k in range(1, grid.half + 1)])

    def alone(first: int, last: int) -> Tensor:
        return forward(w, grid, mean + scores[:, first:last] @ directions[first:last])["logits"]

    frequency, clock, pizza, accuracy = [], [], [], []
    for circle in range(3):
        k = int(power[:, 2 * circle : 2 * circle + 2].sum(1).argmax()) + 1
        logits = alone(2 * circle, 2 * circle + 2)
        turn = 2 * math.pi * k / grid.p
        cosine = (turn * (grid.labels[:, None] - grid.tokens).double()).cos()
        ring = (turn / 2 * (grid.a - grid.b).double()).cos().abs()[:, None]
        for found, ideal in ((clock, cosine), (pizza, ring * cosine)):
            z = [(values - values.mean()) / values.std(correction=0) for values in (logits, ideal)]
            found.append(1 - (z[0] - z[1]).square().mean())
        frequency.append(k)
        accuracy.append(grid.accuracies(logits)[-1])
    return {
        "circularity": (power / scores.square().sum(0)).max(0).values[:4].mean(),
        "circle_frequency": torch.tensor(frequency),
        "circle_clock_fve": torch.stack(clock),
        "circle_pizza_fve": torch.stack(pizza),
        "circle_accuracy": torch.stack(accuracy),
        "accuracy_principal_components_1_6": grid.accuracies(alone(0, 6))[-1],
        "accuracy_principal_components_7_12": grid.accuracies(alone(6, 12))[-1],
    }
