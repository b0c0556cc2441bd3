"""A run's evaluation tables as an HTML file that opens without an account."""

from wandb_eval.report.writing import write_report

__all__ = ["write_report"]
