"""A run from its configuration to its page: plan, run, resume."""

from slt_grok.studies.run import MEASUREMENTS, execute_run, measure_run

__all__ = ["MEASUREMENTS", "execute_run", "measure_run"]
