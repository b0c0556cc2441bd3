"""A run's evaluation tables as an HTML file that opens without an account.

And two runs compared, with what chance explains.
"""

from wandb_eval.report.comparing import compare
from wandb_eval.report.comparison import Comparison
from wandb_eval.report.writing import write_report

__all__ = ["Comparison", "compare", "write_report"]
