"""What the plain measures of `plain_measures` see within one network: its values on the pairs, neurons and heads.

A function of the pair (a, b) is a vector of the p^2 pairs, and its part along a wave is an inner product with that
wave. Sources: Nanda et al. 2301.05217, sections 3 and 4.2; Gromov 2301.02679; Doshi et al. 2310.13061; McCracken et al.
2505.18266.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Weights = dict[str, Tensor]


class Grid:
    """The p^2 pairs, their answers and their waves."""

    def __init__(self, p: int, train: Tensor) -> None:
        self.p, self.half = p, (p - 1) // 2
        self.a, self.b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
        self.labels = (self.a + self.b) % p
        test = torch.ones(p * p, dtype=torch.bool)
        test[train] = False
        self.splits = {"train": train, "test": test.nonzero()[:, 0], "all": torch.arange(p * p)}
        self.tokens = torch.arange(p)

    def waves(self, k: int, token: Tensor) -> list[Tensor]:
        """Return cos w_k t and sin w_k t as vectors of norm 1, t a token or a function of the pair."""
        angle = 2 * math.pi * k / self.p * token.double()
        return [wave / wave.norm() for wave in (angle.cos(), angle.sin())]

    def of_sum(self, k: int) -> list[Tensor]:
        """Return cos w_k (a + b) and sin w_k (a + b)."""
        return self.waves(k, self.a + self.b)

    def losses(self, logits: Tensor) -> Tensor:
        """Mean loss on train, test and all pairs."""
        each = cross_entropy(logits, self.labels, reduction="none")
        return torch.stack([each[rows].mean() for rows in self.splits.values()])

    def accuracies(self, logits: Tensor) -> Tensor:
        """Share of right answers on train, test and all pairs."""
        right = (logits.argmax(-1) == self.labels).double()
        return torch.stack([right[rows].mean() for rows in self.splits.values()])


def along(waves: list[Tensor], values: Tensor) -> Tensor:
    """Return the part of functions of the pair, (p^2, n), along orthonormal waves."""
    return sum((torch.outer(wave, wave @ values) for wave in waves), torch.zeros_like(values))


# -- the network ----------------------------------------------------------------------------------------------


def forward(w: Weights, grid: Grid, embedding: Tensor | None = None) -> dict[str, Tensor]:
    """Attention, neurons and logits at the last of all three positions, for every pair."""
    table = w["W_E"] if embedding is None else torch.cat([embedding, w["W_E"][grid.p :]])
    tokens = torch.stack([grid.a, grid.b, torch.full_like(grid.a, grid.p)], 1)
    residual = table[tokens] + w["W_pos"]
    query, key, value = (torch.einsum("bpd,hdk->bhpk", residual, w[name]) for name in ("W_Q", "W_K", "W_V"))
    scores = query @ key.mT / query.shape[-1] ** 0.5
    future = torch.ones(3, 3, dtype=torch.bool).triu(1)
    pattern = scores.masked_fill(future, -math.inf).softmax(-1)
    residual = (residual + torch.einsum("bhpk,hkd->bpd", pattern @ value, w["W_O"]))[:, -1]
    pre = residual @ w["W_in"] + w["b_in"]
    sites = {"pattern": pattern[:, :, -1], "residual": residual, "pre": pre, "post": pre.relu()}
    return {**sites, "logits": read_out(w, sites, sites["post"])}


def read_out(w: Weights, sites: dict[str, Tensor], post: Tensor) -> Tensor:
    """Logits with these neurons."""
    return (sites["residual"] + post @ w["W_out"] + w["b_out"]) @ w["W_U"]


# -- neurons and heads ----------------------------------------------------------------------------------------


def variance_explained(values: Tensor, grid: Grid) -> Tensor:
    """Share of the variance of functions (p^2, n) in the 3 x 3 block of each frequency, ((p-1)/2, n)."""
    centered = values - values.mean(0)
    constant = torch.ones(grid.p**2, dtype=torch.float64) / grid.p
    shares = []
    for k in range(1, grid.half + 1):
        in_a, in_b = grid.waves(k, grid.a), grid.waves(k, grid.b)
        block = [grid.p * x * y for x in (constant, *in_a) for y in (constant, *in_b)][1:]
        shares.append(sum((wave @ centered).square() for wave in block))
    return torch.stack(shares) / centered.square().sum(0)


def amplitude(line: Tensor, k: int) -> Tensor:
    """Return a e^{i phi} of the part A cos(w_k t + phi) of functions of one token, (p, n) -> (n,)."""
    p = len(line)
    angle = 2 * math.pi * k / p * torch.arange(p).double()
    return 2 / p * torch.complex(angle.cos() @ line, -angle.sin() @ line)


def of_neurons(w: Weights, sites: dict[str, Tensor], grid: Grid) -> dict[str, Tensor]:
    """Clusters by frequency, phases and how they align, fits in place of the neurons."""
    p, pre, post = grid.p, sites["pre"], sites["post"]
    to_logits, width = w["W_out"] @ w["W_U"], pre.shape[1]
    fve, frequency = variance_explained(post, grid).nan_to_num(0).max(0)
    frequency, counted = frequency + 1, fve > 0.85
    spread = post.std(0)
    lines = [pre.reshape(p, p, width).mean(1), pre.reshape(p, p, width).mean(0), to_logits.T]
    waves = torch.stack([torch.stack([amplitude(line, k) for line in lines]) for k in range(1, grid.half + 1)])
    power = waves.abs().square()  # (frequency, line, neuron)
    own = waves[frequency - 1, :, torch.arange(width)].angle().T
    turns = torch.polar(torch.ones(width, dtype=torch.float64), own[2] - own[0] - own[1])
    sizes, residual = [], []
    for k in range(1, grid.half + 1):
        members = counted & (frequency == k)
        sizes.append(members.sum())
        residual.append(turns[members].mean().abs() if members.any() else torch.tensor(math.nan).double())
    size, by_frequency = torch.stack(sizes), torch.stack(residual)
    polynomial, simple, fits = torch.empty_like(post), torch.empty_like(pre), []
    for i in range(width):
        in_a, in_b = (grid.waves(int(frequency[i]), token) for token in (grid.a, grid.b))
        ones = torch.ones(p * p, dtype=torch.float64) / p
        block = [p * x * y for x in (ones, *in_a) for y in (ones, *in_b)]
        polynomial[:, i] = along(block, post[:, i : i + 1])[:, 0]
        fit = (power[:, 0, i] + power[:, 1, i]) / 2 / pre[:, i].var(correction=0)
        best = int(fit.argmax()) + 1
        fits.append(fit.max())
        waves_of_both = [*grid.waves(best, grid.a), *grid.waves(best, grid.b)]
        simple[:, i] = pre[:, i].mean() + along(waves_of_both, pre[:, i : i + 1])[:, 0]
    pair = pre.argmax(0)
    left, right = frequency * grid.a[pair] % p, frequency * grid.b[pair] % p
    torus = torch.minimum((left - right) % p, (right - left) % p)
    participation = (power.square().sum(0) / power.sum(0).square()).mean(0)
    directions = []
    for k in range(1, grid.half + 1):
        read = [post @ (to_logits @ wave) for wave in grid.waves(k, grid.tokens)]
        parts = [(wave @ u) ** 2 for wave, u in zip(grid.of_sum(k), read, strict=True)]
        directions.append(torch.stack([x / (u - u.mean()).square().sum() for x, u in zip(parts, read, strict=True)]))
    logits = {"polynomial": read_out(w, sites, polynomial), "simple": read_out(w, sites, simple.relu())}
    return {
        "neuron_cluster_size": size,
        "key_frequency": size > 0,
        "neuron_share": counted[spread > 1e-5 * spread.max()].double().mean(),
        "neuron_frequency": frequency,
        "neuron_fve": fve,
        **{f"neuron_phase_{name}": phase for name, phase in zip(("left", "right", "output"), own, strict=True)},
        "phase_alignment_residual_by_frequency": by_frequency,
        "phase_alignment_residual": (by_frequency.nan_to_num(0) * size).sum() / size.sum(),
        "neuron_alignment_left": left,
        "neuron_alignment_right": right,
        "neuron_torus_distance": torus,
        "torus_distance": torus[counted].double().mean(),
        "simple_neuron_r2": torch.stack(fits),
        "inverse_participation_ratio_rfft": participation,
        "inverse_participation_ratio_dft": participation / 2,
        "neuron_logit_direction_fve": torch.stack(directions),
        **{f"{name}_neurons_loss": grid.losses(values) for name, values in logits.items()},
        **{f"{name}_neurons_accuracy": grid.accuracies(values) for name, values in logits.items()},
    }


def of_heads(w: Weights, pattern: Tensor, grid: Grid) -> dict[str, Tensor]:
    """Frequencies of the attention to the first token, and of what each head writes into the neurons."""
    looked, looked_at = variance_explained(pattern[:, :, 0], grid).nan_to_num(0).max(0)
    written = []
    for head in range(len(w["W_V"])):
        table = w["W_E"][: grid.p] @ w["W_V"][head] @ w["W_O"][head] @ w["W_in"]
        power = [sum((x @ table).square().sum() for x in grid.waves(k, grid.tokens)) for k in range(1, grid.half + 1)]
        written.append(torch.stack([torch.as_tensor(value) for value in power]))
    share, index = (torch.stack(written) / torch.stack(written).sum(1, keepdim=True)).max(1)
    return {"attention_fve": looked, "attention_frequency": looked_at + 1, "ov_fve": share, "ov_frequency": index + 1}
