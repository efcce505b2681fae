"""A finite group, its real irreducible representations, and Fourier analysis of functions on it.

For a real irreducible representation rho the *plane* of rho is the span of its matrix elements rho_ij, a two-sided
ideal of the functions on the group (Serre, Linear Representations of Finite Groups, sections 2.4, 2.6 and 6.2).
An orthonormal basis of all planes, the constant first, turns a function into Fourier components. On Z_n the planes are
spanned by cos w_k t and sin w_k t, so that the index of a representation is its frequency k (`slt_grok.groups.cyclic`);
datasets call it `frequency` for every group. Everything is float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError

SAME = 1e-8  # eigenvalues closer than this belong to the same representation


@dataclass(frozen=True, eq=False)
class Group:
    """A finite group by its multiplication table.

    Parameters
    ----------
    table : Tensor
        int64 of shape (n, n); entry [a, b] is the number of the product of elements a and b.

    Raises
    ------
    SltGrokError
        The table is not that of a group.
    """

    table: Tensor

    def __post_init__(self) -> None:
        table, rows = self.table, torch.arange(len(self.table))
        square = table.shape == (len(rows), len(rows)) and len(rows) > 0
        if not square or any(not (lines.sort(-1).values == rows).all() for lines in (table, table.T)):
            raise SltGrokError("group: expected a multiplication table with every element once in each row and column")
        if not torch.equal(table[table], table[rows[:, None, None], table]):  # (a b) c and a (b c)
            raise SltGrokError("group: expected an associative multiplication table")

    @classmethod
    def of_permutations(cls, generators: Sequence[Sequence[int]]) -> "Group":
        """Return the group that some permutations generate; element 0 is the identity.

        Parameters
        ----------
        generators : sequence of sequences of int
            Each the images of 0, 1, ..., m - 1.
        """
        identity = tuple(range(len(generators[0])))
        elements, fresh = [identity], [identity]
        while fresh:
            products = [tuple(g[i] for i in element) for element in fresh for g in generators]
            fresh = [element for element in dict.fromkeys(products) if element not in elements]
            elements += fresh
        number = {element: i for i, element in enumerate(elements)}
        return cls(torch.tensor([[number[tuple(a[i] for i in b)] for b in elements] for a in elements]))

    @property
    def order(self) -> int:
        """Number of elements, n."""
        return len(self.table)

    @cached_property
    def identity(self) -> int:
        """The neutral element."""
        return int((self.table == torch.arange(self.order)).all(1).nonzero()[0, 0])

    @cached_property
    def inverses(self) -> Tensor:
        """The inverse of each element, int64 (n,)."""
        return (self.table == self.identity).int().argmax(1)

    def products(self, sign: int = 1) -> Tensor:
        """Return a b, or a b^(-1) where `sign` is -1, for every cell of the grid: int64 (n^2,), a slow and b fast."""
        return (self.table if sign == 1 else self.table[:, self.inverses]).flatten()

    # -- representations --------------------------------------------------------------------------------------

    @cached_property
    def planes(self) -> list[Tensor]:
        """An orthonormal basis (rows, n) of the plane of each nontrivial real irreducible representation.

        They are the eigenspaces, in the regular representation, of a random element of the center that is symmetric in
        g and g^(-1).
        """
        generator, weights = np.random.default_rng(0), np.zeros(self.order)
        conjugates = self.table[self.table, self.inverses[:, None]]  # [g, h] = g h g^-1
        for h in range(self.order):
            members = conjugates[:, h].unique()
            weights[torch.cat([members, self.inverses[members]]).unique()] += generator.standard_normal()
        spaces = self._eigenspaces(self.table, weights, np.eye(self.order))
        found = [space for space in spaces if abs(space.sum(0)).max() < 0.5]  # the constants are one of them
        return [torch.from_numpy(space.T.copy()) for space in sorted(found, key=lambda space: space.shape[1])]

    @cached_property
    def representations(self) -> list[Tensor]:
        """The orthogonal matrices rho(g) of each nontrivial real irreducible representation, (n, d, d)."""
        generator, found = np.random.default_rng(1), []
        for plane in self.planes:
            weights = generator.standard_normal(self.order)
            # multiplication from the right commutes with that from the left: each eigenspace carries one copy
            copies = self._eigenspaces(self.table.T, weights + weights[self.inverses], plane.numpy().T)
            copy = torch.from_numpy(copies[0])
            found.append(torch.einsum("si,gsj->gij", copy, copy[self.table[self.inverses]]))
        return found

    def _eigenspaces(self, table: Tensor, weights: np.ndarray, within: np.ndarray) -> list[np.ndarray]:
        """Eigenspaces (n, m) of f -> sum_g weights[g] f(g^(-1) t), for `table` [g, t], inside a space that it keeps."""
        elements, operator = np.arange(self.order), np.zeros((self.order, self.order))
        for g in elements:
            operator[table[g], elements] += weights[g]
        values, vectors = np.linalg.eigh(within.T @ operator @ within)
        cuts = np.flatnonzero(np.diff(values) > SAME * abs(values).max()) + 1
        return [within @ part for part in np.split(vectors, cuts, axis=1)]

    # -- Fourier analysis -------------------------------------------------------------------------------------

    @cached_property
    def frequencies(self) -> np.ndarray:
        """The numbers 1, 2, ... of the nontrivial real irreducible representations, int64 (K,)."""
        return np.arange(1, len(self.planes) + 1)

    @cached_property
    def basis(self) -> Tensor:
        """The orthonormal basis of functions, (component, n): the constant, then the rows of each plane."""
        constant = torch.full((1, self.order), self.order**-0.5, dtype=torch.float64)
        return torch.cat([constant, *self.planes])

    @cached_property
    def plane_sizes(self) -> Tensor:
        """Number of rows of each plane, float64 (K,)."""
        return torch.tensor([len(plane) for plane in self.planes], dtype=torch.float64)

    @cached_property
    def plane_of_row(self) -> Tensor:
        """Index into `frequencies` of each row of the basis but the constant, int64 (n - 1,)."""
        return torch.arange(len(self.planes)).repeat_interleave(self.plane_sizes.long())

    def sum_by_plane(self, values: Tensor) -> Tensor:
        """Return sums over the rows of each plane of values for each row but the constant: (..., n - 1) -> (..., K)."""
        return values.new_zeros(*values.shape[:-1], len(self.planes)).index_add_(-1, self.plane_of_row, values)

    def transform(self, table: Tensor) -> Tensor:
        """Return the Fourier components of functions of one element: (..., n, d) -> (..., component, d)."""
        return self.basis @ table

    def transform_grid(self, grid: Tensor) -> Tensor:
        """Return the components sum_ab basis[i, a] basis[j, b] grid[a, b] of functions of a pair, (..., n, n)."""
        return self.basis @ grid @ self.basis.T

    def inverse_grid(self, components: Tensor) -> Tensor:
        """Return the functions of a pair that have these components, the inverse of `transform_grid`."""
        return self.basis.T @ components @ self.basis

    def power(self, components: Tensor) -> Tensor:
        """Return the squared norm in each plane: (..., component, d) -> (..., K)."""
        return self.sum_by_plane(components[..., 1:, :].square().sum(-1))

    def project(self, table: Tensor, frequencies: Tensor) -> Tensor:
        """Return the part of functions that lies in some planes, P_K f.

        Parameters
        ----------
        table : Tensor
            Functions, (..., n, d).
        frequencies : Tensor
            K as a bool mask, (K,), or (..., K) with a mask for each table.
        """
        rows = self.basis[1:].to(table.dtype)
        return rows.T @ ((rows @ table) * frequencies[..., self.plane_of_row, None])

    def means_by_product(self, values: Tensor, sign: int = 1) -> Tensor:
        """Return means over the n pairs with the same product a b^sign: (..., n^2, d) -> (..., n, d).

        The component of a function of pairs along basis[i] of the product, normalized over the grid, is sqrt(n) times
        the component of this table along basis[i], so that no n^2 x n^2 matrix is needed.
        """
        table = values.new_zeros(*values.shape[:-2], self.order, values.shape[-1])
        return table.index_add_(-2, self.products(sign), values) / self.order

    @cached_property
    def kernels(self) -> Tensor:
        """The reproducing kernel of each plane, scaled to 1 on its diagonal: (K, s, c).

        On Z_n it is cos w_k(s - c), the logits of the clock (Nanda et al. 2301.05217, section 4.1) once s = a + b.
        """
        return torch.stack([plane.T @ plane * (self.order / len(plane)) for plane in self.planes])
