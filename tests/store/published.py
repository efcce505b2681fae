"""Our own random weights written in the layouts of the two publications, to import them again."""

import json
import math

import torch

from slt_grok.tasks import ModularTask

P, D, HEADS, D_HEAD, MLP = 7, 8, 2, 4, 12


def published_state(equals, seed=0, blocks=1):
    """A random state dict in the layout that both publications use."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary, context = (P + 1, 3) if equals else (P, 2)

    def normal(*shape):
        return torch.randn(shape, generator=generator) / 2

    state = {"embed.W_E": normal(D, vocabulary), "pos_embed.W_pos": normal(context, D)}
    for i in range(blocks):
        state |= {f"blocks.{i}.attn.W_{x}": normal(HEADS, D_HEAD, D) for x in "KQV"}
        state[f"blocks.{i}.attn.W_O"] = normal(D, D_HEAD * HEADS)
        state[f"blocks.{i}.attn.mask"] = torch.ones(context, context).tril()
        state |= {f"blocks.{i}.mlp.W_in": normal(MLP, D), f"blocks.{i}.mlp.b_in": normal(MLP)}
        state |= {f"blocks.{i}.mlp.W_out": normal(D, MLP), f"blocks.{i}.mlp.b_out": normal(D)}
    return state | {"unembed.W_U": normal(D, vocabulary)}


def published_logits(state, equals, rate=1.0):
    """The forward pass that the published layouts mean, for every pair, at the last position."""
    w = {name.split(".")[-1]: tensor.double() for name, tensor in state.items()}
    pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    tokens = torch.cat([pairs, torch.full((P * P, 1), P)], 1) if equals else pairs
    x = w["W_E"].T[tokens] + w["W_pos"]
    q, k, v = (torch.einsum("ihd,bpd->biph", w[name], x) for name in ("W_Q", "W_K", "W_V"))
    scores = torch.einsum("biqh,biph->biqp", q, k) / math.sqrt(D_HEAD)
    if equals:
        scores = scores.masked_fill(w["mask"] == 0, -torch.inf)
    pattern = rate * scores.softmax(-1) + 1 - rate
    z = torch.einsum("biqp,biph->bqih", pattern, v).flatten(-2)
    x = x + z @ w["W_O"].T
    x = x + (x @ w["W_in"].T + w["b_in"]).relu() @ w["W_out"].T + w["b_out"]
    return (x @ w["W_U"])[:, -1, :P]


def mean_loss(logits, task, split):
    rows = task.indices(split)
    return (logits.logsumexp(-1) - logits[range(P * P), task.labels])[rows].mean().item()


CONFIG = {"lr": 1e-3, "p": P, "d_model": D, "fn_name": "add", "frac_train": 0.4, "seed": 3, "weight_decay": 1}
TASK = ModularTask(P, train_fraction=0.4, split_seed=3, split_rule="progress_measures")


def progress_file(path, seed=0, epoch=20, **changes):
    state = published_state(True, seed)
    logits = published_logits(state, True)
    content = {
        "model": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "initial_lr": 1e-3, "weight_decay": 1}]},
        "train_loss": torch.tensor(mean_loss(logits, TASK, "train"), requires_grad=True),
        "test_loss": torch.tensor(mean_loss(logits, TASK, "test")),
        "train_losses": [5 - 0.1 * i for i in range(epoch + 1)],
        "test_losses": [5 - 0.01 * i for i in range(epoch // 10 + 1)],
        "epoch": epoch,
        "config": dict(CONFIG),
    }
    torch.save({name: value for name, value in (content | changes).items() if value is not None}, path)
    return path


PIZZA = {
    "funcs": f"lambda x: (x[0]+x[1])%{P}",
    "C": P,
    "n_layers": 1,
    "act_fn": "ReLU",
    "attn_coeff": 0.25,
    "frac": 0.8,
    "weight_decay": 2.0,
    "lr": 0.001,
    "epoch": 20000,
    "runid": "abc1",
    "diff_vocab": 0,
    "eqn_sign": False,
}


def pizza_file(folder, name="abc1", blocks=1, **changes):
    path = folder / f"model_{name}.pt"
    torch.save(published_state(False, blocks=blocks), path)
    (folder / f"config_{name}.json").write_text(json.dumps(PIZZA | changes))
    return path


def logits_of(network):
    module = network.module.double()
    module.load_state_dict(network.parameters)
    return module(network.task.inputs).detach()
