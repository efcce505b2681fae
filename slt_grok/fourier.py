"""The real Fourier basis on Z_p and what it says about functions of one and of two tokens.

Rows of the basis: the constant 1/sqrt(p), then for k = 1..(p-1)/2 the pair sqrt(2/p) cos(w_k t) and
sqrt(2/p) sin(w_k t) with w_k = 2 pi k / p; row 2k-1 is the cosine and row 2k the sine of frequency k. The basis
is orthonormal, so that squared norms of components add up to squared norms of functions. Everything is float64.
Source: Nanda et al. 2301.05217, section 4.1 and appendix B.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.tasks import is_prime


def frequencies(modulus: int) -> np.ndarray:
    """Return the frequencies 1..(p-1)/2, int64.

    Raises
    ------
    SltGrokError
        p is not an odd prime. Only then is every frequency k a relabeling t -> k t of frequency 1.
    """
    if modulus < 3 or not is_prime(modulus):
        raise SltGrokError(f"modulus: the Fourier measures need an odd prime, got {modulus}")
    return np.arange(1, (modulus - 1) // 2 + 1)


@cache
def _basis(modulus: int) -> Tensor:
    k = torch.from_numpy(frequencies(modulus))
    turns = (k[:, None] * torch.arange(modulus)) % modulus  # reduced in integers, so that no digit is lost
    angle = 2 * math.pi / modulus * turns.double()
    pairs = torch.stack([angle.cos(), angle.sin()], 1).flatten(0, 1) * math.sqrt(2 / modulus)
    return torch.cat([torch.full((1, modulus), modulus**-0.5, dtype=torch.float64), pairs])


def basis(modulus: int) -> Tensor:
    """Return the orthonormal basis, (component, token), p x p; see the module's docstring for the order of the rows.

    Raises
    ------
    SltGrokError
        p is not an odd prime.
    """
    return _basis(modulus).clone()


def transform(table: Tensor) -> Tensor:
    """Fourier components of a function of one token: (..., p, d) -> (..., component, d)."""
    return _basis(table.shape[-2]) @ table


def project(table: Tensor, frequencies: Tensor) -> Tensor:
    """P_K f, the part of functions of t in span{cos w_k t, sin w_k t : k in K}.

    Parameters
    ----------
    table : Tensor
        Functions of t, (..., p, d).
    frequencies : Tensor
        K as a bool mask, ((p-1)/2,), or (..., (p-1)/2) with a K for each table.
    """
    rows = _basis(table.shape[-2])[1:].to(table.dtype)
    return rows.T @ ((rows @ table) * frequencies.repeat_interleave(2, -1)[..., None])


def transform_grid(grid: Tensor) -> Tensor:
    """Components F[i, j] = sum_ab basis[i, a] basis[j, b] grid[a, b] of functions on the grid, (..., p, p)."""
    rows = _basis(grid.shape[-1])
    return rows @ grid @ rows.T


def inverse_grid(components: Tensor) -> Tensor:
    """Return the functions on the grid with these components, (..., p, p): the inverse of `transform_grid`."""
    rows = _basis(components.shape[-1])
    return rows.T @ components @ rows


def frequency_power(components: Tensor) -> Tensor:
    """Squared norm at each frequency, cosine and sine together: (..., component, d) -> (..., (p-1)/2), >= 0."""
    return components[..., 1:, :].square().sum(-1).unflatten(-1, (-1, 2)).sum(-1)


def frequency_norm(components: Tensor) -> Tensor:
    """Norm at each frequency, the square root of `frequency_power`."""
    return frequency_power(components).sqrt()


def grid_sum(modulus: int, sign: int = 1) -> Tensor:
    """Return a + sign b mod p for every cell of the grid, int64 of shape (p^2,), a slow and b fast."""
    a = torch.arange(modulus)
    return ((a[:, None] + sign * a) % modulus).flatten()


def sum_table(values: Tensor, sign: int = 1) -> Tensor:
    """Means over the p cells with the same a + sign b: (..., p^2, d) -> (..., p, d).

    The component of `values` along a direction of `sum_directions` is sqrt(p) times the component of this table of
    one variable along the same row of the basis, so that no p^2 x p^2 matrix is needed.
    """
    p = math.isqrt(values.shape[-2])
    table = values.new_zeros(*values.shape[:-2], p, values.shape[-1])
    return table.index_add_(-2, grid_sum(p, sign), values) / p


def sum_directions(modulus: int, sign: int = 1) -> Tensor:
    """Return the normalized functions cos w_k(a + sign b) and sin w_k(a + sign b) on the grid.

    Shape ((p-1)/2, 2, p^2); the rows are orthonormal. `sign` is -1 for subtraction.
    """
    on_tokens = _basis(modulus)[1:] / math.sqrt(modulus)
    return on_tokens[:, grid_sum(modulus, sign)].unflatten(0, (-1, 2))


def clock(modulus: int) -> Tensor:
    """Return cos w_k(s - c), not normalized, of shape ((p-1)/2, s, c).

    With s = a + b looked up by `grid_sum` it is cos w_k(a + b - c), the logits of the clock (2301.05217, section 4.1).
    """
    pairs = _basis(modulus)[1:].unflatten(0, (-1, 2))
    return torch.einsum("kis,kic->ksc", pairs, pairs) * (modulus / 2)
