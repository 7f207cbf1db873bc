"""The report of a search: one HTML page."""

from tune.report.page import write_report

__all__ = ["write_report"]
