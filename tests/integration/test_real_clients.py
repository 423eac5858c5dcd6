"""Programs that people use, through the gateway: git, pip, curl, a reader of server-sent events."""

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, free_ports
from tests.integration.gitserver import GitServer
from tests.integration.support import MIB, head
from tests.upstream import CLOSE, Step, answer, echo
from tests.wire import Client, Request, wait_until

QUIET = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HTTP_PROXY": "", "http_proxy": ""}


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, code: int = 0, data: bytes = b""
) -> str:
    """Run a program to its end and return its output; any other exit code fails with all it said."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **QUIET, **(env or {})}, input=data, capture_output=True, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode()


# git


@pytest.fixture
def git_env(tmp_path: Path) -> dict[str, str]:
    """Git without this machine's configuration."""
    who = {f"GIT_{role}_{field}": "t@t.test" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    return {**who, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def test_git_clone_push_and_pull(gateway: Gateway, tmp_path: Path, git_env: dict[str, str]) -> None:
    served, work, again = tmp_path / "served", tmp_path / "work", tmp_path / "again"
    run("git", "init", "-q", "--bare", "-b", "main", served / "it.git", env=git_env)
    with GitServer(served) as server:
        gateway.route(server.url, paths=["/git"])
        url = f"{gateway.proxy_url}/git/it.git"
        run("git", "clone", "-q", url, work, env=git_env)
        (work / "big").write_bytes(os.urandom(3 * MIB))  # more than git's post buffer: the push is chunked
        (work / "small").write_text("hello\n")
        run("git", "add", ".", cwd=work, env=git_env)
        run("git", "commit", "-q", "-m", "first", cwd=work, env=git_env)
        run("git", "push", "-q", "origin", "HEAD:main", cwd=work, env=git_env)
        assert ("POST", "/it.git/git-receive-pack", "chunked") in server.seen
        run("git", "clone", "-q", url, again, env=git_env)
        assert (again / "big").read_bytes() == (work / "big").read_bytes()
        (again / "small").write_text("changed\n")
        run("git", "commit", "-q", "-am", "second", cwd=again, env=git_env)
        run("git", "push", "-q", cwd=again, env=git_env)
        run("git", "pull", "-q", "origin", "main", cwd=work, env=git_env)
        assert (work / "small").read_text() == "changed\n"
        run("git", "fsck", "--strict", cwd=served / "it.git", env=git_env)


# pip


def make_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel with one module."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 42\n" + f"# {os.urandom(20_000).hex()}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def package_index(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """pypiserver with two versions of a package: its port and folder."""
    packages = tmp_path / "packages"
    for version in ("1.0", "1.1"):
        make_wheel(packages, "gatewaydemo", version)
    (port,) = free_ports(1)
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "pypiserver",
        "run",
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
        str(packages),
    ]
    with (tmp_path / "pypi.log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, (tmp_path / "pypi.log").read_text()
            yield port, packages
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        Client(port).close()
    except OSError:
        return False
    return True


def test_pip_download(gateway: Gateway, package_index: tuple[int, Path], tmp_path: Path) -> None:
    port, packages = package_index
    gateway.route(f"http://127.0.0.1:{port}", paths=["/simple", "/packages"], strip_path=False, preserve_host=True)
    words = [sys.executable, "-m", "pip", "--isolated", "--no-input", "download", "--no-cache-dir", "--no-deps", "-q"]
    words += ["--disable-pip-version-check", "--index-url", f"{gateway.proxy_url}/simple/", "-d", str(tmp_path / "got")]
    quiet = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "", "PIP_EXTRA_INDEX_URL": ""}
    run(*words, "gatewaydemo", env=quiet)
    name = "gatewaydemo-1.1-py3-none-any.whl"
    assert (tmp_path / "got" / name).read_bytes() == (packages / name).read_bytes()
    run(*words, "gatewaydemo==1.0", env=quiet)
    assert (tmp_path / "got" / "gatewaydemo-1.0-py3-none-any.whl").exists()
    run(*words, "gatewaydemo==9", env=quiet, code=1)


# curl


class Files:
    """A file that can be had in ranges, and uploads that are remembered."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.uploads: list[tuple[str, str, int]] = []
        self.cut_after: int | None = None

    def __call__(self, request: Request) -> bytes | list[Step]:
        if request.method in ("PUT", "POST"):
            self.uploads.append((request.method, hashlib.sha256(request.body).hexdigest(), request.size))
            return answer(201, b"created", reason="Created")
        wanted = request.get("range")
        if wanted is None:
            reply = answer(200, self.content, [("Accept-Ranges", "bytes"), ("ETag", '"v1"')])
        else:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = self.content[int(first) : int(last) + 1 if last else None]
            place = f"bytes {first}-{int(first) + len(part) - 1}/{len(self.content)}"
            reply = answer(206, part, [("Content-Range", place), ("ETag", '"v1"')], "Partial Content")
        if self.cut_after is not None:
            cut, self.cut_after = self.cut_after, None
            return [reply[:cut], CLOSE]
        return reply


@pytest.fixture
def files(gateway: Gateway, site: Any) -> tuple[str, Files]:
    """The URL of the file, and what serves it."""
    handler = Files(os.urandom(3 * MIB + 17))
    path, _ = site(handler)
    return f"{gateway.proxy_url}{path}/file", handler


def test_curl_downloads(files: tuple[str, Files], tmp_path: Path) -> None:
    url, handler = files
    target = tmp_path / "file"
    run("curl", "-sSf", "-o", target, url)
    assert target.read_bytes() == handler.content
    run("curl", "-sSf", "-r", "1000-1999", "-o", target, url)
    assert target.read_bytes() == handler.content[1000:2000]
    run("curl", "-sSf", "-C", "-", "-o", target.with_name("part"), url)
    target.write_bytes(handler.content[:1_000_000])
    run("curl", "-sSf", "-C", "-", "-o", target, url)
    assert target.read_bytes() == handler.content
    run("curl", "-sSf", "--http1.0", "-o", target, url)
    assert target.read_bytes() == handler.content
    both = run("curl", "-sSf", "-o", tmp_path / "a", "-o", tmp_path / "b", "-w", "%{num_connects} ", url, url)
    assert both.split() == ["1", "0"], "the second download uses the same connection"


def test_curl_resumes_after_a_cut(files: tuple[str, Files], tmp_path: Path) -> None:
    """The upstream breaks off in the middle: curl notices (18: partial file), and gets the rest."""
    url, handler = files
    target = tmp_path / "file"
    handler.cut_after = 2 * MIB
    done = subprocess.run(
        ["curl", "-sS", "-o", str(target), url], env={**os.environ, **QUIET}, capture_output=True, check=False
    )
    assert done.returncode in (18, 56), done.stderr
    assert 0 < target.stat().st_size < len(handler.content)
    run("curl", "-sSf", "-C", "-", "-o", target, url)
    assert target.read_bytes() == handler.content


def test_curl_uploads(files: tuple[str, Files], tmp_path: Path) -> None:
    url, handler = files
    source = tmp_path / "source"
    source.write_bytes(handler.content)
    digest = hashlib.sha256(handler.content).hexdigest()
    shown = run("curl", "-sSf", "-T", source, "-w", "%{http_code}", url)
    assert shown == "created201"
    run("curl", "-sSf", "-T", source, "-H", "Expect: 100-continue", url)
    run("curl", "-sSf", "-T", source, "-H", "Expect:", url)
    run("curl", "-sSf", "-T", "-", url, data=handler.content)
    run("curl", "-sSf", "--data-binary", f"@{source}", url)
    assert handler.uploads == [("PUT", digest, len(handler.content))] * 4 + [("POST", digest, len(handler.content))]
    run("curl", "-sSf", "-F", f"file=@{source}", url)
    assert handler.uploads[-1][2] > len(handler.content)


def test_curl_shows_errors(gateway: Gateway) -> None:
    shown = run("curl", "-sS", "-i", f"{gateway.proxy_url}/nowhere/at/all")
    assert "HTTP/1.1 404 Not Found" in shown
    assert '"message":"no Route matched with those values"' in shown
    assert run("curl", "-sS", "-I", f"{gateway.proxy_url}/nowhere/at/all").startswith("HTTP/1.1 404 ")


# server-sent events


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("buffering", [True, False])
def test_server_sent_events(gateway: Gateway, site: Any, framing: str, buffering: bool) -> None:
    """Each event is at the client before the upstream says the next one; nothing waits for a buffer to fill."""
    gates = [threading.Event() for _ in range(5)]

    def events(request: Request) -> Iterable[Step]:
        coding = "Transfer-Encoding: chunked\r\n" if framing == "chunked" else ""
        yield f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}\r\n".encode()
        for number, gate in enumerate(gates):
            assert gate.wait(30)
            event = b"id: %d\ndata: x\n\n" % number
            yield b"%x\r\n%b\r\n" % (len(event), event) if framing == "chunked" else event
        yield b"0\r\n\r\n" if framing == "chunked" else CLOSE

    path, _ = site(events, response_buffering=buffering)
    with gateway.client(timeout=30) as client:
        client.send(head("GET", path, "Accept: text/event-stream"))
        assert b"text/event-stream" in client.stream.until(b"\r\n\r\n"), "the head does not wait for an event"
        for number, gate in enumerate(gates):
            gate.set()
            assert client.stream.until(b"\n\n").endswith(b"id: %d\ndata: x" % number)


def test_a_reader_of_events_that_leaves(gateway: Gateway, site: Any) -> None:
    """The upstream learns of it although the client never sends anything."""
    gone = threading.Event()

    def events(request: Request) -> Iterable[Step]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        try:
            while True:
                threading.Event().wait(0.05)
                yield b"data: x\n\n"
        finally:
            gone.set()

    path, upstream = site(events)
    with gateway.client() as client:
        client.send(head("GET", path))
        client.stream.until(b"data: x")
    assert gone.wait(20)
    wait_until(lambda: upstream.open == 0)


def test_upload_and_download_of_one_client_at_a_time(gateway: Gateway, site: Any) -> None:
    """Several curls at once, each with a body of its own."""
    path, upstream = site(echo)
    bodies = [os.urandom(200_000) for _ in range(8)]
    threads = [
        threading.Thread(
            target=run,
            args=("curl", "-sSf", "-T", "-", "-o", os.devnull, f"{gateway.proxy_url}{path}"),
            kwargs={"data": body},
        )
        for body in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(request.body for request in upstream.requests) == sorted(bodies)
