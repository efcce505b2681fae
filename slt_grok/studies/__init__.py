"""Single runs from configuration to page, and studies of many runs: plan, execute, resume."""

from slt_grok.studies.run import Run, execute_run, measure_run, settings_for

__all__ = ["Run", "execute_run", "measure_run", "settings_for"]
