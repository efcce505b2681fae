"""The loss landscape at and between checkpoints.

`measure` is what is looked at by default: `at_checkpoints` what surrounds each network, `between_checkpoints` what lies
between it and the one before. Each family of measures has a module with more of it: `curvature` (both matrices, other
splits, groups of parameters), `jacobian`, `sharpness`, `volume` and `volume_exponent`, `connectivity` with `alignment`
and `bezier`, `slices`, `principal_plane`, `dynamics`.
"""

from slt_grok.landscape.measurement import at_checkpoints, between_checkpoints, measure
from slt_grok.operators.objective import Objective

__all__ = ["Objective", "at_checkpoints", "between_checkpoints", "measure"]
