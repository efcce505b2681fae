"""Samplers of the local posterior, one a file, one interface (`slt_grok.llc.samplers.interface`)."""

from slt_grok.llc.samplers.hmc import HMC
from slt_grok.llc.samplers.interface import Evaluate, Noise, Sampler, State
from slt_grok.llc.samplers.leimkuhler_matthews import LeimkuhlerMatthews
from slt_grok.llc.samplers.mala import MALA
from slt_grok.llc.samplers.rmsprop_sgld import RMSpropSGLD
from slt_grok.llc.samplers.sgld import SGLD
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin

__all__ = [
    "HMC",
    "MALA",
    "SGLD",
    "Evaluate",
    "LeimkuhlerMatthews",
    "Noise",
    "RMSpropSGLD",
    "Sampler",
    "State",
    "UnderdampedLangevin",
]
