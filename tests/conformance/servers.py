"""The WSGI callable under servers that know nothing of the gateway."""

import sys

from tests.gateway import LOOPBACK, Gateway

WERKZEUG = """
import sys
from werkzeug.serving import WSGIRequestHandler, make_server
from kong_gevent.app import application

class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

make_server("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=Handler).serve_forever()
"""


class WsgiGateway(Gateway):
    """``server``: ``gunicorn-gevent``, ``gunicorn-gthread`` or ``werkzeug`` (one thread per connection)."""

    def __init__(self, server: str, **options: object) -> None:
        self.server = server
        super().__init__(transport="wsgi", **options)  # type: ignore[arg-type]

    def command(self) -> list[str]:
        """The command line of the server in the foreground."""
        if self.server == "werkzeug":
            return [sys.executable, "-c", WERKZEUG, str(self.proxy_port)]
        kind = ["-k", "gevent"] if self.server == "gunicorn-gevent" else ["-k", "gthread", "--threads", "8"]
        return [
            *[sys.executable, "-m", "gunicorn", *kind, "-w", "1", "--no-control-socket", "--keep-alive", "75"],
            # gunicorn itself believes X-Forwarded-Proto of loopback peers unless told otherwise.
            *["--forwarded-allow-ips", ""],
            *["-b", f"{LOOPBACK}:{self.proxy_port}", "kong_gevent.app:application"],
        ]
