"""A WebSocket echo server (gevent-websocket on gevent.pywsgi) in its own process: gevent stays out of the tests."""

import os
import subprocess
import sys
from typing import Self

from tests.gateway import free_ports
from tests.wire import Client, wait_until

SERVER = """
import sys
from gevent import pywsgi
from geventwebsocket import WebSocketError
from geventwebsocket.handler import WebSocketHandler

def application(environ, start_response):
    socket = environ.get("wsgi.websocket")
    if socket is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ.get("HTTP_HOST", "").encode()]
    try:
        while (message := socket.receive()) is not None:
            if message == "headers":
                message = repr(sorted((name, value) for name, value in environ.items() if name.startswith("HTTP_")))
            socket.send(message)
    except WebSocketError:
        pass
    return []

address = ("127.0.0.1", int(sys.argv[1]))
pywsgi.WSGIServer(address, application, handler_class=WebSocketHandler, log=None).serve_forever()
"""


class EchoServer:
    """The server; ``url`` is what a service needs."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.port)], env=environment)
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the echo server did not start"
        try:
            Client(self.port).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
