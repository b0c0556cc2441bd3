"""`python -m loopback [--port N]`: serve until stdin is closed."""

import argparse
import sys
import threading

from loopback.server import Server


def main() -> None:
    """Print the URL, then serve."""
    parser = argparse.ArgumentParser(prog="loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default): a free one")
    server = Server(parser.parse_args().port)
    print(server.backend.url, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
