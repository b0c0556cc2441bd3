"""The HTTP side: it reads requests, lets some fail, and gives others to the backend."""

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import graphql

from loopback.backend import Answer, Backend, Target
from loopback.client import Loopback
from loopback.graphql import GraphQLError, Operation, parse_operation
from loopback.store import NotFoundError

RETRIED = (429, 500, 502, 503, 504)
"""Answers that say "Retry-After: 0", so that a test need not wait for the retry."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because it would clutter the output of tests."""

    def do_GET(self) -> None:
        """Downloads, and their URLs, which W&B's page requests first."""
        url = urlsplit(self.path)
        if "redirect=false" in url.query:
            self._send(Answer.json({"url": self.server.backend.url + url.path}))
        else:
            self._serve("download")

    def do_PUT(self) -> None:
        """Uploads."""
        self._serve("upload")

    def do_POST(self) -> None:
        """The control interface, GraphQL and the file stream."""
        match self._parts():
            case ["_loopback", method]:
                self._control(method)
            case ["graphql"]:
                self._serve("graphql")
            case _:
                self._serve("file_stream")

    def do_OPTIONS(self) -> None:
        """The preflight request of a browser for a page of another origin."""
        self._send(Answer(204, b""))

    def _serve(self, kind: str) -> None:
        backend = self.server.backend
        if backend.is_down:
            with backend.lock:
                backend.counters.refused += 1
            self._hang_up()
            return
        operation: Operation | None = None
        if kind == "graphql":
            try:
                operation = self._operation()
            except (graphql.GraphQLError, GraphQLError) as error:
                self._send(Answer.json({"errors": [{"message": str(error)}]}, 400))
                return
        with backend.lock:
            target = backend.find(kind, self._parts(), operation)
            faults = backend.strike(target, f"{self.command} {self.path}")
        time.sleep(sum(fault.seconds for fault in faults))
        drop = any(fault.drop for fault in faults)
        if drop and kind == "upload":
            self.rfile.read(self._length() // 2)
            self._hang_up()
            return
        data = b"" if operation else self._read()
        status = next((f.status for f in faults if f.status and not f.drop), 0)
        if status:
            message = f"a fault of the loopback server: {status}"
            self._send(Answer.json({"errors": [{"message": message}]}, status))
            return
        with backend.lock:
            answer = self._perform(target, operation, data)
        if drop and kind != "download":
            self._hang_up()
            return
        self._send(answer, half=drop)

    def _perform(
        self, target: Target | None, operation: Operation | None, data: bytes
    ) -> Answer:
        backend = self.server.backend
        if target is None:
            return Answer.json({"error": f"no such thing: {self.path}"}, 404)
        if operation is not None:
            return backend.execute(operation)
        if target.kind == "download":
            return backend.get(target)
        if target.kind == "upload":
            return backend.put(target, data)
        return backend.stream(target, data)

    def _control(self, method: str) -> None:
        backend = self.server.backend
        arguments = json.loads(self._read())
        try:
            with backend.lock:
                value = getattr(backend.control, method)(**arguments)
        except NotFoundError as error:
            self._send(Answer(404, str(error).encode()))
            return
        self._send(
            Answer(200, value) if isinstance(value, bytes) else Answer.json(value)
        )

    def _operation(self) -> Operation:
        body = json.loads(self._read())
        return parse_operation(
            body["query"], body.get("variables"), body.get("operationName")
        )

    def _parts(self) -> list[str]:
        path = urlsplit(self.path).path.strip("/")
        return [unquote(part) for part in path.split("/")]

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def _read(self) -> bytes:
        data = self.rfile.read(self._length())
        packed = self.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(data) if packed else data

    def _send(self, answer: Answer, half: bool = False) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status in RETRIED:
            self.send_header("Retry-After", "0")
        if origin := self.headers.get("Origin"):  # Of W&B's page, from another port.
            asked = self.headers.get("Access-Control-Request-Headers", "*")
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Access-Control-Allow-Headers", asked)
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)
        self.wfile.flush()
        if half:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    """A loopback backend on a port of 127.0.0.1 (0: a free one)."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.backend = Backend(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count it, unless it is only a client that hung up."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            with self.backend.lock:
                self.backend.counters.errors.append(repr(error))


@contextmanager
def serve() -> Iterator[Loopback]:
    """Run a server in a thread of this process."""
    server = Server()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield Loopback(server.backend.url)
    finally:
        server.backend.is_down = True
        server.shutdown()
        server.server_close()
        thread.join()
