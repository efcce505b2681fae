"""A circuit moved from one network into another of the same architecture, weight by weight.

What counts as the circuit is what `slt_grok.interventions.weights` keeps: the planes of its frequencies and the mean
over tokens in every table over Z_p, and its neurons. Tables with an axis of neurons (U, V, W; the W_U of an MLP) are
exchanged neuron by neuron, all others plane by plane. All the rest is the receiver's: its other planes (but for those
of its own circuit, where these are to go), rows of other tokens, positions, the other neurons; attention too, unless it
is taken along. From itself a network gets what it has.

Where the two networks share a basis (checkpoints of one run, networks without hidden basis such as quadratic ones on
one-hot tokens) the donor's neurons read from the planes that came with them. Networks of different seeds have different
bases of embedding and residual stream: there a neuron of the donor also reads the receiver's remaining planes, in
directions that mean something else, and the attention of one reads the planes of the other. What is then left is to be
measured. This package's.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from slt_grok.errors import SltGrokError
from slt_grok.interventions.weights import (
    exchange,
    frequency_directions,
    keep_directions,
    keep_neurons,
    parts,
    remove_directions,
    remove_neurons,
)
from slt_grok.models import Model
from slt_grok.models.units import SITE, unit_groups
from slt_grok.trajectories import Trajectory


def transplant_circuit(
    receiver: Trajectory,
    donor: Trajectory,
    frequencies: Sequence[int],
    neurons: np.ndarray,
    *,
    removed: Sequence[int] = (),
    attention: bool = False,
) -> Trajectory:
    """Return the receiver with the donor's circuit in the circuit's place.

    Parameters
    ----------
    receiver, donor : Trajectory
        Networks of this package, the same shapes, dimensions and lengths.
    frequencies : Sequence[int]
        Of the donor's circuit.
    neurons : ndarray
        Of the donor's circuit, a bool mask (d_mlp,); the receiver's neurons at these places are lost.
    removed : Sequence[int], optional
        Frequencies of the receiver's own circuit that are taken out beside.
    attention : bool, optional
        Whether the donor's attention comes with it.

    Returns
    -------
    Trajectory
        A trajectory like the receiver.

    Raises
    ------
    SltGrokError
        Networks that do not fit each other, frequencies that are none, or a mask of another shape.
    """
    whole = exchange(receiver, donor, parts(receiver).get("attention", []) if attention else [])
    module = whole.network.module
    if not isinstance(module, Model):
        raise SltGrokError(f"surgery: expected a model of slt_grok.models, got {type(module).__name__}")
    p, half = module.tokens, (module.tokens - 1) // 2
    if not len(frequencies) or not all(1 <= k <= half for k in (*frequencies, *removed)):
        raise SltGrokError(f"frequencies: expected some of 1..{half}, got {[*frequencies, *removed]}")
    inside = frequency_directions(p, sorted({*frequencies}))
    others = remove_neurons(whole, neurons)
    others = remove_directions(others, frequency_directions(p, sorted({*removed}))) if len(removed) else others
    rest = remove_directions(others, inside).parameters
    circuit, own = keep_directions(donor, inside).parameters, keep_neurons(donor, neurons).parameters
    axes = {name: axis for name, axis in module.token_roles().values() if name in rest}
    of_neurons, found = unit_groups(module)[SITE], dict(whole.parameters)
    for name in {*axes, *of_neurons}:
        if name in of_neurons:
            found[name] = others.parameters[name] + own[name]
            continue
        tokens, other = rest[name].movedim(axes[name], -1).tensor_split([p], -1)
        placed = circuit[name].movedim(axes[name], -1)[..., :p]
        tokens = tokens - tokens.mean(-1, keepdim=True) + placed
        found[name] = torch.cat([tokens, other], -1).movedim(-1, axes[name])
    return replace(receiver, parameters=found)
