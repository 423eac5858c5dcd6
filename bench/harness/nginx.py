"""The two nginx processes: the upstream that everything is proxied to, and the reverse proxy, the unit of measure.

Both have one worker. Settings that differ from Debian's defaults are those a benchmark needs (no access log, enough
connections, no connection closed for its age) and, in the proxy, what Kong's own configuration of nginx sets as well
(HTTP/1.1 and keep-alive to the upstream, no limit on body size). Buffering is left at nginx's defaults.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.process import BenchError, Children, wait_for_port, workers_of
from harness.secure import Pair

KIB = 1024
BODY_1K = "x" * KIB
CONNECTIONS = 16384
UPSTREAM_ADDRESSES = 100  # 127.0.0.1 and those after it: the targets of a balancer
FILES = {"100k": 100 * KIB, "1m": KIB * KIB, "big": 0}  # the size of "big" is an option of the run

COMMON = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {prefix}/nginx.pid;
error_log {prefix}/error.log error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    keepalive_timeout 75s;
    {http}
}}
"""

UPSTREAM = """
    keepalive_requests 100000000;
    default_type text/plain;
    sendfile on;
    tcp_nopush on;
    server {{
        {listen}
        root {prefix}/www;
        location / {{ return 200 "{body}"; }}
        location /files/ {{ }}
        location /api/files/ {{ }}
        location = /upstream_status {{ stub_status; }}
    }}
"""

PROXY = """
    keepalive_requests 10000;
    client_max_body_size 0;
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 10000; }}
    upstream sink {{ server 127.0.0.1:{sink}; keepalive 16; }}
    upstream talker {{ server 127.0.0.1:{talker}; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_cache_path {prefix}/cache keys_zone=cache:10m;
    ssl_certificate {pair.certificate};
    ssl_certificate_key {pair.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        listen 127.0.0.1:{tls} ssl backlog=8192;
        location / {{ proxy_pass http://backend; }}
        location /api/cached {{ proxy_pass http://backend; proxy_cache cache; proxy_cache_valid 200 1h; }}
        location /sink {{ proxy_pass http://sink; }}
        location /tunnel {{
            proxy_pass http://talker;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx: where it listens and which process does the work."""

    port: int
    workers: tuple[int, ...]
    name: str = "nginx"
    core: int = 0
    tls_port: int = 0


def _start(children: Children, prefix: Path, http: str, port: int, core: int, files: int, tls_port: int = 0) -> Nginx:
    prefix.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _let_worker_write(prefix)
    text = COMMON.format(prefix=prefix, http=http, connections=CONNECTIONS, files=files)
    (prefix / "nginx.conf").write_text(text)
    command = [find_nginx(), "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(prefix / "nginx.conf")]
    log = prefix / "output.log"
    process = children.start(command, core, log)
    try:
        wait_for_port(port, process)
    except BenchError as error:
        raise BenchError(f"nginx did not start: {error}\n{log.read_text()[-2000:]}") from error
    return Nginx(port, workers_of(process.pid), core=core, tls_port=tls_port)


def _let_worker_write(prefix: Path) -> None:
    """As root, nginx's worker runs as `nobody`: its way to the files it serves must be open to others."""
    for folder in (prefix, prefix.parent):
        folder.chmod(0o755)


def find_nginx() -> str:
    """Path of nginx; it is in /usr/sbin, which an ordinary user's PATH may lack. Raises BenchError."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError("nginx is not installed: apt-get install nginx")
    return found


def start_upstream(children: Children, prefix: Path, port: int, core: int, files: int, big_mib: int) -> Nginx:
    """Start the upstream: 1 KiB from memory for any path, static files below /files/ and /api/files/."""
    folder = prefix / "www" / "files"
    folder.mkdir(parents=True)
    for name, size in FILES.items():
        with (folder / name).open("wb") as file:
            if size:
                file.write(os.urandom(size))
            else:
                file.truncate(big_mib * KIB * KIB)
    (prefix / "www" / "api").symlink_to(prefix / "www")
    listen = " ".join(f"listen 127.0.0.{number}:{port} backlog=8192;" for number in range(1, UPSTREAM_ADDRESSES + 1))
    return _start(children, prefix, UPSTREAM.format(listen=listen, prefix=prefix, body=BODY_1K), port, core, files)


def start_proxy(children: Children, prefix: Path, ports: Mapping[str, int], pair: Pair, core: int, files: int) -> Nginx:
    """Start the reverse proxy; `ports`: its own (`port`, `tls`), those of `backend`, `sink` and `talker`."""
    http = PROXY.format(prefix=prefix, pair=pair, **ports)
    return _start(children, prefix, http, ports["port"], core, files, ports["tls"])
