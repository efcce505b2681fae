"""Whether a network, its data and its loss fit together: what chains need of them, tried out on a few samples.

Chains need a loss that is an average over samples, the same whenever it is computed at the same weights, and whose
gradient is its derivative.
"""

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError, UserCodeError
from slt_grok.format import first_line
from slt_grok.llc.sample_losses import losses_of_outputs
from slt_grok.samples import described
from slt_grok.trajectories import Network, Trajectory, cross_entropy

REPEATS = 3  # evaluations that show whether a network is random
ROUNDING = 1e-6  # relative difference of two evaluations
STEPS = 1e-4, 1e-5  # of differences that show the derivative, relative to |w|
DIRECTIONS = 2  # in which each weight moves
SMOOTH, WRONG = 0.01, 0.03  # relative difference of the two, and of a gradient from them that is no derivative
NAMED = 3  # weights in an error message
BROADCASTS = "Using a target size"  # torch's warning


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn any error in the block into a sentence."""
    try:
        yield
    except UserCodeError as error:
        raise SltGrokError(f"{what}: {first_line(error.__cause__ or error)}") from error
    except SltGrokError:
        raise
    except Exception as error:
        raise SltGrokError(f"{what}: {first_line(error)}") from error


def check_together(
    trajectory: Trajectory, moving: Collection[str], inputs: Tensor, targets: Tensor, given: str
) -> Tensor:
    """Check that the first network and the loss accept the data and do what chains need.

    Parameters
    ----------
    trajectory : Trajectory
        The networks with their loss.
    moving : collection of str
        Names of the weights that move.
    inputs, targets : Tensor
        The same few samples, (n, ...); floating-point numbers in float64.
    given : str
        Description of the inputs as they were passed, for error messages.

    Returns
    -------
    Tensor
        Outputs of the first network in float64, without a gradient, near w*.

    Raises
    ------
    SltGrokError
        The network or the loss fails on the samples, is random, or has no gradient or a wrong one; or the loss is not
        an average over samples.
    """
    network = trajectory.network
    # a little off w*, where every sample's loss may be 0
    parameters = {name: tensor[0] for name, tensor in trajectory.stacked(torch.float64).items()}
    parameters |= {name: (parameters[name] + 0.01).requires_grad_() for name in network.moving}
    with torch.enable_grad(), explained(f"data: the network fails on inputs of {given}"):
        outputs = network.outputs(parameters, inputs)
    if not isinstance(outputs, Tensor):
        raise SltGrokError(f"data: expected a network that returns one tensor, got {type(outputs).__name__}")
    if not outputs.requires_grad:
        raise SltGrokError(
            "module: expected outputs with a gradient by its weights, got none; remove detach(), .data and no_grad()"
        )
    outputs = outputs.double()
    if network.loss is cross_entropy and targets.is_floating_point():
        raise SltGrokError(
            f"loss: cross-entropy expects integer targets, got {_kinds(outputs, targets)}; pass another loss"
        )
    with torch.enable_grad():
        losses = _losses(network, outputs, targets)
    if not isinstance(losses, Tensor) or not losses.requires_grad:
        raise SltGrokError("loss: expected a tensor that can be differentiated by the parameters")
    _check_repeats(network, parameters, inputs, targets, outputs, given)
    _check_average(network, parameters, inputs, targets, outputs, given)
    _check_gradient(network, parameters, inputs, targets, [name for name in network.moving if name in moving])
    return outputs.detach()


def _kinds(outputs: Tensor, targets: Tensor) -> str:
    return f"outputs of {described(outputs)} and targets of {described(targets)}"


def _losses(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    with explained(f"loss: fails on {_kinds(outputs, targets)}"), warnings.catch_warnings():
        warnings.filterwarnings("error", BROADCASTS)
        try:
            return network.loss(outputs, targets)
        except UserWarning as error:
            raise SltGrokError(
                f"loss: would broadcast {_kinds(outputs, targets)}; reshape the targets to the shape of the outputs"
            ) from error


@torch.no_grad()
def _check_repeats(
    network: Network, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor, outputs: Tensor, given: str
) -> None:
    loss = _losses(network, outputs, targets)
    for _ in range(REPEATS):
        with explained(f"data: the network fails when it is evaluated again, on inputs of {given}"):
            again = network.outputs(parameters, inputs).double()
        for what, one, other in (("module", outputs, again), ("loss", loss, _losses(network, outputs, targets))):
            scale = one.abs().nan_to_num(posinf=0.0).amax().item()
            if not torch.allclose(one, other, ROUNDING, ROUNDING * scale, equal_nan=True):
                raise SltGrokError(
                    f"{what}: expected the same values in every evaluation at the same weights, got others; "
                    "remove random numbers, such as a dropout that is active in evaluation mode"
                )


@torch.no_grad()
def _check_average(
    network: Network, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor, outputs: Tensor, given: str
) -> None:
    n = len(inputs)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return _losses(network, outputs, targets).double().mean()

    def same(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, rtol=1e-4, atol=1e-12, equal_nan=True)

    by_sample = outputs.shape[:1] == (n,)
    if by_sample:
        twice = torch.cat([outputs, outputs])
    else:
        with explained(f"data: the network fails when every sample is repeated, on inputs of {given}"):
            twice = network.outputs(parameters, torch.cat([inputs, inputs])).double()
    once = loss(outputs, targets)
    if not same(once, loss(twice, torch.cat([targets, targets]))):
        raise SltGrokError(
            "loss: expected the losses of the samples or their mean, got a different value when every "
            "sample is repeated; use reduction='mean'"
        )
    shifted = loss(outputs.roll(1, 0), targets) if by_sample and n > 1 else None
    if shifted is None or not same(once, shifted):
        return
    with explained("loss: fails on single samples"):
        alone, others = (losses_of_outputs(network, each, targets) for each in (outputs, outputs.roll(1, 0)))
    if same(once, alone.mean()) or same(alone, others):  # or every output is the same, and the loss weights the targets
        return
    if outputs.shape == targets.shape:
        raise SltGrokError(
            "loss: expected the losses of the samples or their mean, got a value that ignores which output belongs "
            "to which target; average over the samples last"
        )
    raise SltGrokError(
        f"loss: combines every output with every target, got {_kinds(outputs, targets)}; reshape the targets"
    )


def _check_gradient(
    network: Network, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor, moving: list[str]
) -> None:
    """Compare gradients with differences of the loss along random directions, where these show a derivative."""
    weights = [parameters[name] for name in moving]
    with torch.enable_grad(), explained("module: the gradient of the loss with respect to the weights fails"):
        loss = network.mean_loss(parameters, inputs, targets)
        slopes = torch.autograd.grad(loss, weights, materialize_grads=True)
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def is_wrong(name: str, slope: Tensor) -> bool:
        weight = parameters[name]
        along = torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * weight.square().mean().sqrt()

        def loss_at(step: float) -> float:
            return network.mean_loss(parameters | {name: weight + step * along}, inputs, targets).item()

        wide, narrow = ((loss_at(step) - loss_at(-step)) / (2 * step) for step in STEPS)
        is_derivative = abs(wide - narrow) <= SMOOTH * abs(wide)
        apart = abs((slope * along).sum().item() - wide)
        return is_derivative and apart > WRONG * abs(wide) + ROUNDING * abs(loss.item())

    wrong = [
        name
        for name, slope in zip(moving, slopes, strict=True)
        if any(is_wrong(name, slope) for _ in range(DIRECTIONS))
    ]
    if wrong:
        listed = ", ".join(wrong[:NAMED]) + (f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else "")
        raise SltGrokError(
            f"module: the gradient with respect to {listed} does not match finite differences of the loss (detach(), "
            ".data or no_grad()?); call requires_grad_(False) on weights that are to be held fixed"
        )
