"""Random seeds of a network's own: from its coordinates, never from its place in the stack."""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np


def network_seed(seed: int, coordinates: Mapping[str, Any]) -> int:
    """Return a seed of the network's own, so that a shard of a trajectory draws what the whole draws.

    Parameters
    ----------
    seed : int
        Of the measurement.
    coordinates : Mapping[str, Any]
        Of the network, as `Trajectory.labels` gives them.
    """
    values = [v if isinstance(v, int) and v >= 0 else crc32(str(v).encode()) for v in coordinates.values()]
    return int(np.random.SeedSequence([seed, *values]).generate_state(1)[0])
