"""Walkers that are uniform in a basin and move by hit-and-run, many populations at once.

A move (Smith 1984, doi:10.1287/opre.32.6.1296; Neal 2003, doi:10.1214/aos/1056562461) takes a random line through the
walker, a bracket of some width placed at random around it and cut at the ball, and uniform points in the bracket, which
shrinks to each one that lies outside of the basin, until one lies inside or some number was tried and the walker stays:
the way back is as likely at every turn, so that the uniform distribution is kept. Losses are enough, no gradient.
"""

import numpy as np
import torch
from torch import Tensor

from slt_grok.landscape.basin import Basin

TRIES = 5  # points of a move
LOSSES_A_MOVE = 1.4  # as measured on quadratics, normal crossings and networks
ISOTROPIC_EVERY = 4  # sweeps, since walkers fewer than the dimensions do not span them
BRACKET = 4  # widths of a bracket in mean moves: a uniform slice moves by a third of its length


class Populations:
    """Independent populations of walkers, each uniform in {L(w) - L(w*) < level, |w - w*| <= R} with its own level.

    Lines are Gaussian combinations of walkers (Goodman and Weare 2010, doi:10.2140/camcos.2010.5.65) of the other half
    of the populations: they are spread as the basin is, so that its scales need no setting. Every fourth sweep has
    isotropic lines. Brackets follow the moves that were made, separately for the two kinds of lines.

    Attributes
    ----------
    offsets : Tensor
        w - w*, (populations, walkers, d).
    excess : Tensor
        L(w) - L(w*), float64 (populations, walkers).
    level : Tensor
        float64 (populations,); infinite at the start, where walkers are uniform in the ball.
    """

    def __init__(self, basin: Basin, populations: int, walkers: int) -> None:
        self.basin = basin
        directions = self._normal(populations, walkers, basin.dimension)
        lengths = basin.radius * self._uniform(populations, walkers, 1) ** (1 / basin.dimension)
        self.offsets = directions * (lengths / directions.norm(dim=2, keepdim=True)).to(directions)
        self.excess = basin.excess(self.offsets.flatten(0, 1)).reshape(populations, walkers)
        self.level = torch.full((populations,), torch.inf, dtype=torch.float64)
        self.widths = torch.ones(2, populations, dtype=torch.float64)
        self.sweeps = 0

    def kill(self) -> np.ndarray:
        """Return the worse half of each population dies and starts anew at random survivors.

        The best of it sets the level.

        Returns
        -------
        ndarray
            Excess losses of the dead, falling, (populations, walkers / 2).
        """
        populations, walkers = self.excess.shape
        half = walkers // 2
        order = self.excess.argsort(1, descending=True)
        dead = self.excess.gather(1, order[:, :half])
        parents = torch.randint(half, walkers, (populations, half), generator=self.basin.generator)
        kept = torch.cat([order.gather(1, parents), order[:, half:]], 1)
        self.offsets = self.offsets.gather(1, kept[..., None].expand(self.offsets.shape))
        self.excess = self.excess.gather(1, kept)
        self.level = dead[:, -1]
        return dead.numpy()

    def sweep(self) -> None:
        """Every walker moves once, each half of the populations along lines of the other."""
        self.sweeps += 1
        isotropic = self.sweeps % ISOTROPIC_EVERY == 0
        half = len(self.level) // 2
        halves = (slice(0, half), slice(half, None))
        for own, other in (halves, halves[::-1]):
            lines = self._lines(self.offsets[own].shape, None if isotropic else self.offsets[other].flatten(0, 1))
            self._move(own, lines, self.widths[int(isotropic), own])

    def _lines(self, shape: torch.Size, others: Tensor | None) -> Tensor:
        """Vectors ~ N(0, C), C the covariance of the others (k, d); without them R^2 / d times the unit matrix."""
        if others is None:
            return self._normal(*shape) * (self.basin.radius / self.basin.dimension**0.5)
        root = torch.linalg.qr(others - others.mean(0), mode="r")[1] / len(others) ** 0.5
        return self._normal(*shape[:2], len(root)) @ root

    def _move(self, own: slice, lines: Tensor, widths: Tensor) -> None:
        start = self.offsets[own]
        shape = start.shape[:2]
        width = widths[:, None].expand(shape)
        low = -width * self._uniform(*shape)
        near, far = _chord(start.double(), lines.double(), self.basin.radius)
        low, high = (end.flatten() for end in (low.maximum(near), (low + width).minimum(far)))
        start, lines = start.flatten(0, 1), lines.flatten(0, 1)
        level = self.level[own, None].expand(shape).flatten()
        steps, excess = torch.zeros_like(low), self.excess[own].flatten()
        searching = torch.arange(len(low))
        for _ in range(TRIES):
            t = low[searching] + (high - low)[searching] * self._uniform(len(searching))
            found = self.basin.excess(start[searching] + t[:, None].to(start) * lines[searching])
            inside = found < level[searching]
            steps[searching[inside]], excess[searching[inside]] = t[inside], found[inside]
            searching, t = searching[~inside], t[~inside]
            if not len(searching):
                break
            low[searching] = torch.where(t < 0, t, low[searching])
            high[searching] = torch.where(t < 0, high[searching], t)
        self.offsets[own] = (start + steps[:, None].to(start) * lines).reshape(self.offsets[own].shape)
        self.excess[own] = excess.reshape(shape)
        widths.copy_((BRACKET * steps.abs().reshape(shape).mean(1)).clamp(min=1e-9))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.basin.generator, dtype=self.basin.center.dtype)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.basin.generator, dtype=torch.float64)


def _chord(start: Tensor, lines: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return the t between which |start + t line| <= radius, for starts and lines (..., d) with |start| <= radius."""
    square = lines.square().sum(-1)
    product, inside = (start * lines).sum(-1), start.square().sum(-1) - radius**2
    root = (product.square() - square * inside).clamp(min=0).sqrt()
    return (-root - product) / square, (root - product) / square
