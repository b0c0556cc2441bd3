"""A W&B backend on 127.0.0.1 for tests and benchmarks with the real wandb client.

`serve()` runs one in a thread of this process and `spawn()` one in a separate process
(`python -m loopback`); both return a `Loopback`, through which a test reads the
uploads and makes requests fail. `loopback.environment` points wandb at it, and
`loopback.fixtures` is the pytest plugin.
"""

from loopback.client import Loopback, Transfer, Version, spawn
from loopback.server import serve

__all__ = ["Loopback", "Transfer", "Version", "serve", "spawn"]
