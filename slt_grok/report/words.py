"""Numbers for readers moved to `slt_grok.format`, below the measurements; this module goes."""

from slt_grok.format import *  # noqa: F403
from slt_grok.format import MISSING as MISSING
