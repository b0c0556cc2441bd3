"""Writes a run's evaluation tables as an HTML file that opens without an account.

It also compares two runs, and tells whether chance explains the difference.
"""

from wandb_eval.report.comparing import compare
from wandb_eval.report.comparison import Comparison
from wandb_eval.report.notebook import show_report
from wandb_eval.report.writing import write_report

__all__ = ["Comparison", "compare", "show_report", "write_report"]
