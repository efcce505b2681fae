"""Weights stored in half precision: the weights before rounding, as far as the loss tells.

A minimum stored in bfloat16 or float16 is no minimum any more: every weight is off by up to half the distance between
two numbers of this format, and the loss is too high by an amount that, times n_beta, can exceed the LLC. The weights
that round to the stored ones form a box; w* is the point in it to which a minimization of the loss leads.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

from slt_grok.format import listing
from slt_grok.operators.objective import Data, loss_and_gradient
from slt_grok.trajectories import Trajectory

STEPS = 200
INSIDE = 0.999  # of half the distance, so that rounding leads back


def with_single_precision(
    trajectory: Trajectory, inputs: Tensor, targets: Tensor, finite_minimizer: bool
) -> tuple[Trajectory, list[str]]:
    """Convert weights in half precision, to the point before rounding if the loss has a finite minimizer.

    Parameters
    ----------
    trajectory, inputs, targets : Trajectory, Tensor, Tensor
        Networks and samples, with inputs in float64.
    finite_minimizer : bool
        See `slt_grok.llc.estimate`.

    Returns
    -------
    tuple
        The trajectory, unchanged if no weight has half precision, and notes on what was done.
    """
    names = _half_precision(trajectory)
    if not names:
        return trajectory, []
    formats = sorted({str(trajectory.parameters[name].dtype).removeprefix("torch.") for name in names})
    note = f"weights in {listing(formats)} were converted to float32"
    if not finite_minimizer:
        return trajectory, [note]
    note += "; w* is where L-BFGS ends within the weights that round to them"
    return before_rounding(trajectory, inputs, targets), [note]


def before_rounding(trajectory: Trajectory, inputs: Tensor, targets: Tensor) -> Trajectory:
    """Minimize each network's loss over the weights that round to the stored ones.

    Parameters
    ----------
    trajectory : Trajectory
        Networks, some of whose weights have half precision.
    inputs, targets : Tensor
        The samples, with inputs in float64.

    Returns
    -------
    Trajectory
        The same networks in float32, or float64 where they were. If the loss does not fall, they are those stored.
    """
    stack = trajectory.stacked(torch.float64)
    for index in range(len(trajectory)):
        moved = _minimized(trajectory, {name: tensor[index] for name, tensor in stack.items()}, (inputs, targets))
        for name, tensor in moved.items():
            stack[name][index] = tensor
    parameters = {
        name: stack[name].reshape(tensor.shape).to(torch.promote_types(tensor.dtype, torch.float32))
        for name, tensor in trajectory.parameters.items()
    }
    return replace(trajectory, parameters=parameters)


def _minimized(trajectory: Trajectory, state: dict[str, Tensor], data: Data) -> dict[str, Tensor]:
    names = _half_precision(trajectory)
    stored = torch.cat([state[name].flatten() for name in names])
    reach = torch.cat([_reach(trajectory.parameters[name].dtype, state[name]).flatten() for name in names])

    def at(offset: np.ndarray) -> dict[str, Tensor]:
        pieces = (stored + reach * torch.from_numpy(offset)).split([state[name].numel() for name in names])
        return {name: piece.view_as(state[name]) for name, piece in zip(names, pieces, strict=True)}

    def loss(offset: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss_and_gradient(trajectory.network, state | at(offset), data)
        return value, (reach * torch.cat([gradient[name].flatten() for name in names])).numpy()

    with threadpool_limits(limits=1, user_api="blas"):  # see slt_grok.llc.descent
        result = minimize(
            loss, np.zeros(len(stored)), jac=True, method="L-BFGS-B", bounds=[(-1.0, 1.0)] * len(stored),
            options={"maxiter": STEPS, "ftol": 0.0, "gtol": 0.0},
        )  # fmt: skip
    return at(result.x)


def _half_precision(trajectory: Trajectory) -> list[str]:
    """List the weights that move and are stored with less precision than float32."""
    return [name for name in trajectory.network.moving if torch.finfo(trajectory.parameters[name].dtype).bits < 32]


def _reach(dtype: torch.dtype, stored: Tensor) -> Tensor:
    """Compute half the distance from each number to the next one of its format toward 0 or away, the smaller."""
    information = torch.finfo(dtype)
    smallest = information.eps * information.smallest_normal
    mantissa, exponent = torch.frexp(stored)
    binade = torch.ldexp(torch.ones_like(stored), exponent - 1)  # |w| is in [binade, 2 binade)
    distance = (information.eps * torch.where(mantissa.abs() == 0.5, binade / 2, binade)).clamp(min=smallest)
    return INSIDE / 2 * torch.where(stored == 0, smallest, distance)
