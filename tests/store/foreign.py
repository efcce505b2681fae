"""Networks from elsewhere in plain torch: their state dicts in their own layouts, and their logits by their formulas.

Nothing here is from the package. Every function of a state dict returns logits (p^2, p) on all pairs in lexicographic
order; transformers are computed at every position with a mask, one head at a time.
"""

import json
import math

import torch

P, D, HEADS, D_HEAD, MLP, SECOND = 7, 8, 2, 4, 12, 10
PAIRS = torch.cartesian_prod(torch.arange(P), torch.arange(P))
ACTIVATIONS = {"ReLU": lambda x: x.clamp(min=0), "GeLU": lambda x: x * (1 + (x / 2**0.5).erf()) / 2}


def normal(generator, *shape, scale=0.4):
    return torch.randn(shape, generator=generator) * scale


def block(x, heads, w_in, b_in, w_out, b_out, act, rate, causal):
    """One layer with weights that act from the right; `heads` holds (W_Q, W_K, W_V, W_O) of each head."""
    n = x.shape[1]
    mask = torch.ones(n, n, dtype=x.dtype)
    mask = mask.tril() if causal else mask
    total = x
    for q, k, v, o in heads:
        scores = torch.einsum("nqe,nke->nqk", x @ q, x @ k) / math.sqrt(q.shape[-1])
        weights = (scores - scores.amax(-1, keepdim=True)).exp() * mask
        pattern = rate * weights / weights.sum(-1, keepdim=True) + (1 - rate) * mask
        total = total + pattern @ (x @ v) @ o
    return total + act(total @ w_in + b_in) @ w_out + b_out


# -- transformers: the code of 2301.05217 and 2306.17844 -------------------------------------------------------


def own_code(depth, equals, seed=0, d=D, d_head=D_HEAD, separate=False):
    g = torch.Generator().manual_seed(seed)
    vocabulary, context = (P + 1, 3) if equals else (P * (1 + separate), 2)
    state = {"embed.W_E": normal(g, d, vocabulary), "pos_embed.W_pos": normal(g, context, d)}
    for i in range(depth):
        state |= {f"blocks.{i}.attn.W_{x}": normal(g, HEADS, d_head, d) for x in "KQV"}
        state[f"blocks.{i}.attn.W_O"] = normal(g, d, d_head * HEADS)
        state[f"blocks.{i}.attn.mask"] = torch.ones(context, context).tril()
        state |= {f"blocks.{i}.mlp.W_in": normal(g, MLP, d), f"blocks.{i}.mlp.b_in": normal(g, MLP)}
        state |= {f"blocks.{i}.mlp.W_out": normal(g, d, MLP), f"blocks.{i}.mlp.b_out": normal(g, d)}
    return state | {"unembed.W_U": normal(g, d, vocabulary)}


def own_code_logits(state, equals, rate=1.0, act="ReLU", p=P, separate=False):
    w = {name: tensor.double() for name, tensor in state.items()}
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    tokens = torch.cat([pairs, torch.full((p * p, 1), p)], 1) if equals else pairs + torch.tensor([0, p * separate])
    x = w["embed.W_E"].T[tokens] + w["pos_embed.W_pos"]
    for i in range(sum(name.endswith("attn.W_Q") for name in w)):
        b = {name.split(".")[-1]: w[name] for name in w if name.startswith(f"blocks.{i}.")}
        size = b["W_Q"].shape[1]
        heads = [
            (b["W_Q"][h].T, b["W_K"][h].T, b["W_V"][h].T, b["W_O"][:, h * size : (h + 1) * size].T)
            for h in range(len(b["W_Q"]))
        ]
        x = block(x, heads, b["W_in"].T, b["b_in"], b["W_out"].T, b["b_out"], ACTIVATIONS[act], rate, equals)
    return (x @ w["unembed.W_U"])[:, -1, :p]


PIZZA = {"C": P, "act_fn": "ReLU", "attn_coeff": 0.25, "frac": 0.8, "epoch": 20000, "runid": "abc1"}


def pizza_file(folder, state, name="abc1", **changes):
    path = folder / f"model_{name}.pt"
    torch.save(state, path)
    config = PIZZA | {"funcs": f"lambda x: (x[0]+x[1])%{P}"} | changes
    (folder / f"config_{name}.json").write_text(json.dumps(config))
    return path


# -- TransformerLens -------------------------------------------------------------------------------------------


def lens(depth, context=3, answers=P, seed=0, d=D, causal=True):
    g = torch.Generator().manual_seed(seed)
    state = {"embed.W_E": normal(g, P + (context == 3), d), "pos_embed.W_pos": normal(g, context, d)}
    for i in range(depth):
        state |= {f"blocks.{i}.attn.W_{x}": normal(g, HEADS, d, D_HEAD) for x in "QKV"}
        state[f"blocks.{i}.attn.W_O"] = normal(g, HEADS, D_HEAD, d)
        state |= {f"blocks.{i}.attn.b_{x}": torch.zeros(HEADS, D_HEAD) for x in "QKV"}
        mask = torch.ones(context, context, dtype=torch.bool)
        state |= {f"blocks.{i}.attn.b_O": torch.zeros(d), f"blocks.{i}.attn.mask": mask.tril() if causal else mask}
        state[f"blocks.{i}.attn.IGNORE"] = torch.tensor(-torch.inf)
        state |= {f"blocks.{i}.mlp.W_in": normal(g, d, MLP), f"blocks.{i}.mlp.b_in": normal(g, MLP)}
        state |= {f"blocks.{i}.mlp.W_out": normal(g, MLP, d), f"blocks.{i}.mlp.b_out": normal(g, d)}
    return state | {"unembed.W_U": normal(g, d, answers), "unembed.b_U": torch.zeros(answers)}


def lens_logits(state, act="ReLU", causal=True):
    w = {name: tensor.double() for name, tensor in state.items()}
    context = len(w["pos_embed.W_pos"])
    tokens = torch.cat([PAIRS, torch.full((P * P, 1), P)], 1)[:, :context]
    x = w["embed.W_E"][tokens] + w["pos_embed.W_pos"]
    for i in range(sum(name.endswith("attn.W_Q") for name in w)):
        b = {name.split(".")[-1]: w[name] for name in w if name.startswith(f"blocks.{i}.")}
        heads = [tuple(b[name][h] for name in ("W_Q", "W_K", "W_V", "W_O")) for h in range(HEADS)]
        x = block(x, heads, b["W_in"], b["b_in"], b["W_out"], b["b_out"], ACTIVATIONS[act], 1.0, causal)
    return (x @ w["unembed.W_U"])[:, -1, :P]


# -- networks without attention --------------------------------------------------------------------------------


def linear(letter, seed=0):
    """The modules of the code of 2306.17844's linear models, by their letters there."""
    torch.manual_seed(seed)
    nn = torch.nn
    parts = {"embed1": nn.Embedding(P, D), "embed2": nn.Embedding(P, D)} if letter == "X" else {}
    parts = parts or {"embed": nn.Embedding(P, D)}
    parts["l1"] = nn.Linear(2 * D if letter == "D" else D, MLP)
    if letter in "BC":
        parts["l2"] = nn.Linear(MLP, SECOND)
    parts["unembed"] = nn.Embedding(P, SECOND if letter in "BC" else MLP)
    return nn.ModuleDict(parts)


def linear_logits(modules, letter):
    m, (a, b) = modules.double(), PAIRS.T
    match letter:
        case "A":
            x = m["l1"](m["embed"](a) + m["embed"](b)).relu()
        case "B":
            x = m["l2"](m["l1"](m["embed"](a) + m["embed"](b)).relu()).relu()
        case "C":
            x = m["l2"]((m["l1"](m["embed"](a)) + m["l1"](m["embed"](b))).relu()).relu()
        case "D":
            x = m["l1"](torch.cat([m["embed"](a), m["embed"](b)], 1)).relu()
        case "X":
            x = m["l1"](m["embed1"](a) + m["embed2"](b)).relu()
    return (x @ m["unembed"].weight.T).detach()


class NotebookMLP(torch.nn.Module):
    """The MLP of devinterp's grokking notebook."""

    def __init__(self, bias=False):
        super().__init__()
        self.embedding = torch.nn.Embedding(P, D)
        self.linear1r, self.linear1l = torch.nn.Linear(D, MLP), torch.nn.Linear(D, MLP)
        self.linear2 = torch.nn.Linear(MLP, P, bias=bias)

    def forward(self, x):
        left, right = self.linear1l(self.embedding(x[..., 0])), self.linear1r(self.embedding(x[..., 1]))
        return self.linear2(torch.nn.functional.gelu(left + right))


def notebook(seed=0, bias=False):
    torch.manual_seed(seed)
    return NotebookMLP(bias)
