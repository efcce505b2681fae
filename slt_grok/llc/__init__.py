"""The local learning coefficient (LLC), estimated by sampling the local posterior around each checkpoint."""

from slt_grok.llc.estimate import estimate
from slt_grok.llc.samplers import SGLD, UnderdampedLangevin

__all__ = ["SGLD", "UnderdampedLangevin", "estimate"]
