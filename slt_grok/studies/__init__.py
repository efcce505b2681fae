"""A run from its configuration to its page, and studies of many: plan, run, resume."""

from slt_grok.studies.run import Run, execute_run, measure_run

__all__ = ["Run", "execute_run", "measure_run"]
