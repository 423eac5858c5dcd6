"""Servers of this process that plugins send to: HTTP, TCP lines, datagrams."""

import json
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


class HttpSink:
    """Takes requests; answers with the statuses it was told, then with 200."""

    def __init__(self) -> None:
        sink = self
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.answer = b"ok"
        self.clients: set[tuple[str, int]] = set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fields = {name.lower(): value for name, value in self.headers.items()}
                sink.clients.add(self.client_address)
                sink.requests.append((self.command, self.path, fields, body))
                self.send_response(sink.statuses.pop(0) if sink.statuses else 200)
                self.send_header("Content-Length", str(len(sink.answer)))
                self.end_headers()
                self.wfile.write(sink.answer)

            do_POST = do_PUT = do_PATCH = handle_one  # noqa: N815 - names of the standard library

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on standard error."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # a client may hang up
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def bodies(self) -> list[Any]:
        """The bodies that came, decoded."""
        return [json.loads(body) for _, _, _, body in self.requests]


class LineSink:
    """Takes TCP connections and keeps the lines of each; `certificate` (file with certificate and key) makes it TLS."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.lines: list[str] = []
        self.names: list[str | None] = []
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(certificate)
            self._context.sni_callback = lambda connection, name, context: self.names.append(name)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self.connections.append(connection)
            with connection, connection.makefile("r") as lines:
                for line in lines:
                    self.lines.append(line)
        except (OSError, ValueError):
            return


class DatagramSink:
    """Takes datagrams: UDP, or on a Unix socket when a path is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(str(path) if path else ("127.0.0.1", 0))
        self._socket.settimeout(30)
        self.port: int = 0 if path else self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive(self) -> bytes:
        """The next datagram; fails when none comes."""
        return self._socket.recv(70_000)

    def receive_all(self, kept: list[bytes]) -> None:
        """Keep all datagrams that come until the socket is closed, or none has come for a while."""
        try:
            while True:
                kept.append(self.receive())
        except OSError:
            return
