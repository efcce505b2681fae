"""The two networks as a person writes them in plain PyTorch: every position, every layer, one network at a time.

The weights are those of this package's models, under the same names.
"""

import numpy as np
import torch
from torch import Tensor, nn


class NotebookMLP(nn.Module):
    """The MLP of devinterp's grokking notebook: embedding, two maps whose outputs add up, GELU, unembedding."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        p, d_embed = weights["W_E"].shape
        d_mlp = len(weights["b_in"])
        self.embedding = nn.Embedding(p, d_embed)
        self.left = nn.Linear(d_embed, d_mlp, bias=False)
        self.right = nn.Linear(d_embed, d_mlp)
        self.activation = nn.GELU()
        self.unembedding = nn.Linear(d_mlp, p, bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(weights["W_E"])
            self.left.weight.copy_(weights["W_left"].T)
            self.right.weight.copy_(weights["W_right"].T)
            self.right.bias.copy_(weights["b_in"])
            self.unembedding.weight.copy_(weights["W_U"].T)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (n, p) of pairs (n, 2)."""
        hidden = self.left(self.embedding(pairs[:, 0])) + self.right(self.embedding(pairs[:, 1]))
        return self.unembedding(self.activation(hidden))


class Transformer(nn.Module):
    """One block on [a, b, =] with causal attention, computed at all three positions (arXiv:2301.05217, section 3)."""

    W_E: nn.Parameter
    W_pos: nn.Parameter
    W_Q: nn.Parameter
    W_K: nn.Parameter
    W_V: nn.Parameter
    W_O: nn.Parameter
    W_in: nn.Parameter
    b_in: nn.Parameter
    W_out: nn.Parameter
    b_out: nn.Parameter
    W_U: nn.Parameter
    causal: Tensor

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in weights.items():
            self.register_parameter(name, nn.Parameter(tensor.clone()))
        self.register_buffer("causal", torch.tril(torch.ones(3, 3, dtype=torch.bool)))

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (n, p) of pairs (n, 2), read at the last position."""
        equals = torch.full_like(pairs[:, :1], self.W_E.shape[0] - 1)
        residual = self.W_E[torch.cat([pairs, equals], 1)] + self.W_pos
        query, key, value = (torch.einsum("bpd,hdk->bhpk", residual, w) for w in (self.W_Q, self.W_K, self.W_V))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        pattern = scores.masked_fill(~self.causal, float("-inf")).softmax(-1)
        residual = residual + torch.einsum("bhpk,hkd->bpd", pattern @ value, self.W_O)
        neurons = torch.relu(residual @ self.W_in + self.b_in)
        residual = residual + neurons @ self.W_out + self.b_out
        return (residual @ self.W_U)[:, -1]


NETWORKS = {"mlp": NotebookMLP, "transformer": Transformer}


class Material:
    """What a job names: networks and their data.

    checkpoint(i) : a plain network at the i-th checkpoint.
    pairs, labels : the train set.
    baselines : L(w*) of each checkpoint on the train set, float64.
    """

    def __init__(self, job: dict) -> None:
        with np.load(job["material"]) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files}
        self.kind = NETWORKS[job["network"]]
        self.pairs, self.labels = tensors.pop("pairs"), tensors.pop("labels")
        self.baselines = tensors.pop("baselines").tolist()
        self.weights = tensors

    def checkpoint(self, index: int) -> nn.Module:
        """Return a plain network at the index-th checkpoint."""
        return self.kind({name: tensor[index] for name, tensor in self.weights.items()})
