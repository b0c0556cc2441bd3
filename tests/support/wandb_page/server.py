"""Serves W&B's page on a free port; run by the Python of `environment.python`.

It prints its address, and serves until its input is closed.
"""

import sys
import threading

from weave.weave_server import app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
