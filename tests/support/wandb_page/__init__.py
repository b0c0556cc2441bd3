"""W&B's own page of tables and its query engine, as published in the package weave.

They are of 2024, so older than today's page. They get the runs from a `loopback`
server, and have a separate environment: see `environment`.
"""

from wandb_page.environment import NotInstalledError, python
from wandb_page.reading import read

__all__ = ["NotInstalledError", "python", "read"]
