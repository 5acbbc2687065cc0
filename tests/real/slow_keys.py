"""An issuer's key set over HTTP that is given out only when the test says so."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class SlowKeys:
    """A running HTTP server.

    Attributes:
        url: of the key set.
        document: what it answers.
        asked: set once somebody has asked.
        given: answers wait for this.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/keys"
        self.document = b""
        self.asked = threading.Event()
        self.given = threading.Event()


@contextlib.contextmanager
def slow_keys() -> Iterator[SlowKeys]:
    """Serve inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.asked.set()
            keys.given.wait(60)
            with contextlib.suppress(ConnectionError):
                self.send_response(200)
                self.send_header("content-length", str(len(keys.document)))
                self.end_headers()
                self.wfile.write(keys.document)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    keys = SlowKeys(server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield keys
    finally:
        keys.given.set()
        server.shutdown()
        thread.join()
        server.server_close()
