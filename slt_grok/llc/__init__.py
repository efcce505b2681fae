"""The local learning coefficient (LLC), estimated by sampling the local posterior around each checkpoint."""

from slt_grok.llc.estimate import estimate
from slt_grok.llc.sample import sample
from slt_grok.llc.samplers.adaptive import AdaptiveLangevin
from slt_grok.llc.samplers.hmc import HMC
from slt_grok.llc.samplers.leimkuhler_matthews import LeimkuhlerMatthews
from slt_grok.llc.samplers.mala import MALA
from slt_grok.llc.samplers.rmsprop_sgld import RMSpropSGLD
from slt_grok.llc.samplers.sgld import SGLD
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin

__all__ = [
    "HMC", "MALA", "SGLD", "AdaptiveLangevin", "LeimkuhlerMatthews", "RMSpropSGLD", "UnderdampedLangevin", "estimate",
    "sample",
]  # fmt: skip
