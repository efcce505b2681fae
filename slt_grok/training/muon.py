"""Muon on a stack of networks: each hidden matrix's step is its momentum, orthogonalized by Newton-Schulz iterations.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the factor that makes AdamW's
learning rate and weight decay suitable for both is from Liu et al. 2502.16982, section 2.2. torch.optim.Muon only takes
single matrices; here every leading dimension (seeds, and heads of W_Q, W_K, W_V, W_O) is a batch of matrices.

As in the source, Muon is only for hidden matrices. Embeddings and unembeddings (indexed by tokens), positions and
biases are trained by AdamW with the same learning rate and weight decay.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.models import Model

QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of each iteration, for the steepest slope at zero (Jordan et al.)
ITERATIONS = 5
SMALLEST_NORM = 1e-7
RMS = 0.2  # root mean square of AdamW's steps (Liu et al.)


def hidden_matrices(module: Model) -> list[str]:
    """List the parameters that Muon trains: matrices, or batches of them, that are not indexed by tokens.

    Raises
    ------
    SltGrokError
        The network has none.
    """
    tables = {name for name, _ in module.token_roles().values()} | {module.positions}
    names = [name for name, tensor in module.named_parameters() if tensor.ndim > 1 and name not in tables]
    if not names:
        raise SltGrokError("training.optimizer: expected a network with hidden matrices for muon, this one has none")
    return names


def orthogonalized(matrices: Tensor) -> Tensor:
    """Compute U S' V^T for matrices U S V^T of shape (..., m, n), with singular values S' between about 0.7 and 1.2.

    X <- a X + (b X X^T + c (X X^T)^2) X, five times from X / |X|, on the side with fewer rows. Singular values far
    below |X|, by a factor of 1,000 or more, stay below that range.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=SMALLEST_NORM)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """Muon for hidden matrices, AdamW for the rest, in one optimizer.

    m <- mu m + (1 - mu) g;  u = (1 - mu) g + mu m (Nesterov);  w <- (1 - lr wd) w - 0.2 lr sqrt(max(m, n)) orth(u)

    Parameters
    ----------
    hidden : sequence of Tensor
        Tensors (..., m, n), each a batch of matrices.
    rest : sequence of Tensor
        Tensors of any shape.
    learning_rate : float
        Learning rate of both, since the factor 0.2 sqrt(max(m, n)) gives Muon's steps the size of AdamW's.
    momentum : float
        Momentum mu.
    betas : tuple of float
        Decay rates of AdamW.
    weight_decay : float
        Weight decay of both, decoupled.
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        rest: Sequence[Tensor],
        learning_rate: float,
        momentum: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        groups = [{"params": list(hidden), "momentum": momentum}, {"params": list(rest)}]
        nonempty = [group for group in groups if group["params"]]
        super().__init__(nonempty, learning_rate, betas, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step with the gradients stored in the parameters; those of hidden matrices are consumed."""
        for group in self.param_groups:
            if "momentum" in group:
                for matrices in group["params"]:
                    self._step_hidden(matrices, group)
                    matrices.grad = None  # AdamW skips parameters without a gradient
        super().step()

    def _step_hidden(self, matrices: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[matrices], matrices.grad
        assert gradient is not None
        if not state:  # AdamW expects a step count in every state that it restores
            state |= {"step": torch.zeros(()), "momentum_buffer": torch.zeros_like(matrices)}
        mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonalized(gradient.lerp(mean, group["momentum"]))
        matrices.mul_(1 - group["lr"] * group["weight_decay"])
        matrices.sub_(update, alpha=RMS * max(matrices.shape[-2:]) ** 0.5 * group["lr"])
