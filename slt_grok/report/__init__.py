"""The page of a run: figures, findings in words, settings and provenance in one HTML file."""

from slt_grok.report.page import write

__all__ = ["write"]
