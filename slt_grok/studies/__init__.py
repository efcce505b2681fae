"""A run from its configuration to its page: plan, run, resume."""

from slt_grok.studies.run import MEASUREMENTS, measure_run, run_study

__all__ = ["MEASUREMENTS", "measure_run", "run_study"]
