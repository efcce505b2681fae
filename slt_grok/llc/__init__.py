"""The local learning coefficient (LLC), estimated by sampling the local posterior around each checkpoint."""

from slt_grok.llc.estimate import estimate
from slt_grok.llc.samplers import HMC, MALA, SGLD, LeimkuhlerMatthews, RMSpropSGLD, UnderdampedLangevin

__all__ = ["HMC", "MALA", "SGLD", "LeimkuhlerMatthews", "RMSpropSGLD", "UnderdampedLangevin", "estimate"]
