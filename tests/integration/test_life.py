"""Drain, reload, binary upgrade, killed workers: no request is lost, and there is always somebody who serves."""

import os
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

import pytest
import requests

from tests.gateway import Gateway, GatewayFailed
from tests.integration.support import MIB, Load, alive, ask, ask_once, cli, client_of, head, in_thread, serving_pid
from tests.upstream import Pause, Step, Take, Upstream, answer, by_path, plain, script
from tests.wire import Client, Ended, Request, Stream, wait_until

DRAIN = {"drain_grace": "1", "drain_timeout": "40"}
SIZE = 4 * MIB


class LongDownload:
    """An answer that comes in two halves; the second one when the test says so."""

    def __init__(self) -> None:
        self.go_on = False

    def __call__(self, request: Request) -> Iterable[Step]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * (SIZE // 2)
        while not self.go_on:
            yield Pause(0.02)
        yield b"x" * (SIZE // 2)


def tunnel(request: Request) -> Iterable[Step]:
    """An upgrade whose upstream sends everything back."""

    def serve(stream: Stream) -> None:
        for piece in stream.rest():
            stream.sock.sendall(piece)

    return [b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Take(serve)]


class Scene:
    """A gateway under load, with a download and a tunnel that are under way."""

    def __init__(self, stack: ExitStack, workers: int = 2) -> None:
        self.rest = LongDownload()
        respond = by_path({"/download": self.rest, "/tunnel": tunnel}, plain(b"fine"))
        self.upstream = stack.enter_context(Upstream(respond))
        self.gateway = stack.enter_context(Gateway(workers=workers, env=DRAIN))
        self.gateway.route(self.upstream.url)
        self.old = set(self.gateway.worker_pids())
        self.download = stack.enter_context(self.gateway.client(timeout=60))
        self.download.send(head("GET", "/download"))
        self.download.stream.fill()
        self.tunnel = stack.enter_context(self.gateway.client(timeout=60))
        self.tunnel.send(head("GET", "/tunnel", "Connection: Upgrade", "Upgrade: websocket"))
        assert self.tunnel.answer().status == 101
        self.speak(b"before")
        self.load = stack.enter_context(Load(self.gateway))
        self.load.more(100)

    def speak(self, word: bytes) -> None:
        """Send a word through the tunnel and get it back."""
        self.tunnel.send(word)
        assert b"".join(self.tunnel.stream.take(len(word))) == word

    def finish(self) -> None:
        """What was under way comes to its good end; nothing has failed meanwhile."""
        self.speak(b"after")
        self.rest.go_on = True
        reply = self.download.answer()
        assert (reply.status, reply.size, reply.complete) == (200, SIZE, True)
        self.tunnel.end()
        assert b"".join(self.tunnel.stream.rest()) == b""
        assert self.load.failures == []
        assert self.load.retried == 0, "a kept connection is told to close, not cut"


def test_readiness_fails_first_then_the_listeners_close() -> None:
    """For `drain_grace` a leaving node says that it is not ready, and serves whoever comes; never less than that."""
    with (
        Gateway(workers=2, env={"drain_grace": "3", "drain_timeout": "20"}) as gateway,
        Upstream(plain(b"x")) as upstream,
    ):
        gateway.route(upstream.url)
        asked_at = monotonic()
        gateway.send_signal(signal.SIGTERM)
        reasons, statuses = set(), []
        with suppress(OSError, Ended):
            while True:
                with gateway.client() as client:
                    client.send(head("GET", "/"))
                    reply = client.answer()
                    statuses.append((reply.status, reply.get("connection")))
                reasons.add(requests.get(f"{gateway.status_url}/status/ready", timeout=30).json()["message"])
        assert monotonic() - asked_at >= 3, "nobody was turned away before"
        assert "draining" in reasons
        assert {status for status, _ in statuses} == {200}
        assert (200, "close") in statuses
        assert gateway.process is not None
        assert gateway.process.wait(60) == 0


def test_a_drained_node_serves_on() -> None:
    """`drain` fails readiness and nothing else, for as long as nobody stops the node."""
    with Gateway(workers=2) as gateway:
        assert gateway.is_ready()
        assert cli(gateway, "drain").returncode == 0
        reply = requests.get(f"{gateway.status_url}/status/ready", timeout=30)
        assert (reply.status_code, reply.json()["message"]) == (503, "draining")
        with gateway.client() as client:
            for _ in range(3):
                assert (answered := ask(client, "GET", "/")).status == 404
                assert answered.get("connection") == "keep-alive"


def test_reload_under_load() -> None:
    with ExitStack() as stack:
        scene = Scene(stack)
        gateway, load = scene.gateway, scene.load
        for _ in range(2):
            before = set(gateway.worker_pids())
            gateway.send_signal(signal.SIGHUP)
            wait_until(lambda before=before: len(set(gateway.worker_pids()) - before) == 2, 60)
            load.more(300)
        assert load.closed_politely > 0
        scene.finish()
        wait_until(lambda: not set(gateway.worker_pids()) & scene.old, 60)
        load.more(100)
        assert load.failures == []
        wait_until(lambda: len(gateway.worker_pids()) == 2, 60)


def test_reload_brings_new_settings_and_keeps_counters() -> None:
    with Gateway(workers=2, env={**DRAIN, "headers": "off"}) as gateway:
        assert ask_once(gateway, "GET", "/").get("server") is None
        gateway.settings["KONG_HEADERS"] = "server_tokens"
        old = set(gateway.worker_pids())
        done = cli(gateway, "reload")
        assert (done.returncode, done.stdout) == (0, "Kong reloaded\n"), done.stderr
        wait_until(lambda: not set(gateway.worker_pids()) & old, 60)
        assert ask_once(gateway, "GET", "/").get("server") == "kong/3.9.1"
        gateway.settings["KONG_HEADERS"] = "nonsense"
        gateway.settings["KONG_LOG_LEVEL"] = "nonsense"
        refused = cli(gateway, "reload")
        assert refused.returncode == 1
        assert "log_level" in refused.stderr + refused.stdout
        assert ask_once(gateway, "GET", "/").get("server") == "kong/3.9.1"
        wait_until(lambda: total_requests(gateway) >= 3)


def test_binary_upgrade_under_load() -> None:
    """SIGUSR2 starts a second master on the same sockets; then the first one is asked to leave."""
    with ExitStack() as stack:
        scene = Scene(stack)
        gateway, load = scene.gateway, scene.load
        gateway.send_signal(signal.SIGUSR2)
        pid_file = gateway.prefix / "pids" / "kong.pid"
        second = Path(f"{pid_file}.2")
        wait_until(second.exists, 60)
        new = int(second.read_text())
        stack.callback(_end, new)
        wait_until(lambda: _children(new), 60)
        load.more(200)
        first = gateway.process
        assert first is not None
        first.send_signal(signal.SIGTERM)
        wait_until(lambda: not any(_has_listener(pid, gateway.proxy_port) for pid in scene.old), 60)
        load.more(300)
        assert all(alive(pid) for pid in _children(new))
        scene.finish()
        assert first.wait(60) == 0
        load.more(100)
        assert load.failures == []
        wait_until(lambda: pid_file.exists() and pid_file.read_text().strip() == str(new), 60)
        gateway.create("/routes", paths=["/made-by-the-new-one"])
        assert cli(gateway, "health").returncode == 0
        assert ask_once(gateway, "GET", "/made-by-the-new-one").status == 503


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


def _end(pid: int) -> None:
    """End a second master and its workers, which the test's gateway does not know."""
    for process in (pid, *_children(pid)):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _has_listener(pid: int, port: int) -> bool:
    """Whether the process holds a listening socket for the port."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{port:04X}") and words[3] == "0A":
            inodes.add(f"socket:[{words[9]}]")
    with suppress(OSError):
        return any(os.readlink(link) in inodes for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.mark.parametrize("way", ["SIGTERM", "SIGQUIT", "quit"])
def test_drain(way: str) -> None:
    """Readiness fails first; slow answers come; idle connections get one more answer with ``Connection: close``.

    A service manager sends its signal to the workers, too.
    """
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(workers=2, env={**DRAIN, "drain_grace": "1.5"}))
        upstream = stack.enter_context(
            Upstream(by_path({"/slow": script(Pause(2.5), answer(200, b"slow"))}, plain(b"fast")))
        )
        gateway.route(upstream.url)
        idle = [stack.enter_context(client_of(gateway, pid)) for pid in gateway.worker_pids()]
        silent = stack.enter_context(gateway.client())
        busy = [stack.enter_context(gateway.client(timeout=60)) for _ in range(6)]
        for client in idle:
            assert ask(client, "GET", "/").status == 200
        for client in busy:
            client.send(head("GET", "/slow"))
        wait_until(lambda: len(upstream.requests) == 8)
        process = gateway.process
        assert process is not None
        if way == "quit":
            done = stack.enter_context(in_thread(lambda: cli(gateway, "quit", "-t", "60")))
        else:
            done = []
            for pid in (gateway.pid, *gateway.worker_pids()):
                os.kill(pid, signal.Signals[way])
        wait_until(lambda: _readiness(gateway) == 503, 20, pause=0.005)
        for client in [*idle, silent]:
            while (reply := ask(client, "GET", "/")).get("connection") != "close":
                assert reply.body == b"fast", "a worker that has not noticed yet"
            assert reply.body == b"fast"
            assert client.closed()
        for client in busy:
            assert client.answer().body == b"slow"
        assert process.wait(60) == 0
        assert not (gateway.prefix / "pids" / "kong.pid").exists()
    for result in done:
        assert (result.returncode, result.stdout) == (0, "Kong stopped (gracefully)\n")


def _readiness(gateway: Gateway) -> int:
    with suppress(OSError):
        return int(gateway.session.get(gateway.status_url + "/status/ready", timeout=5).status_code)
    return 0


def test_drain_is_bounded() -> None:
    with Gateway(env={"drain_grace": "0.2", "drain_timeout": "1"}) as gateway, Upstream(script(Pause(30))) as upstream:
        gateway.route(upstream.url)
        with gateway.client() as client:
            client.send(head("GET", "/"))
            upstream.wait_for(1)
            assert gateway.stop() == 0
            assert '"GET / HTTP/1.1" 499 ' in gateway.log("access.log"), "what is cut off is logged"


def test_quit_waits_while_readiness_fails() -> None:
    """Readiness fails at once; nothing else changes until the time is over, or until somebody else ends the node."""
    with (
        Gateway(workers=2, env={"drain_grace": "0.2", "drain_timeout": "20"}) as gateway,
        Upstream(plain(b"x")) as upstream,
    ):
        gateway.route(upstream.url)
        with in_thread(lambda: cli(gateway, "quit", "-w", "3600", "-t", "60")) as done:
            wait_until(lambda: requests.get(f"{gateway.status_url}/status/ready", timeout=30).status_code == 503)
            with gateway.client() as client:
                for _ in range(3):
                    assert (reply := ask(client, "GET", "/")).status == 200
                    assert reply.get("connection") == "keep-alive"
            assert gateway.stop() == 0
        assert (done[0].returncode, done[0].stdout, done[0].stderr) == (0, "Kong stopped (gracefully)\n", "")


@pytest.mark.parametrize("way", ["stop", "SIGINT"])
def test_stop_ends_at_once(way: str) -> None:
    with Gateway() as gateway, Upstream(script(Pause(30))) as upstream:
        gateway.route(upstream.url)
        with gateway.client() as client:
            client.send(head("GET", "/"))
            upstream.wait_for(1)
            process = gateway.process
            assert process is not None
            if way == "stop":
                assert cli(gateway, "stop").stdout == "Kong stopped\n"
            else:
                gateway.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert client.closed()


def test_a_killed_worker_loses_only_what_it_served() -> None:
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(workers=2))
        upstream = stack.enter_context(
            Upstream(by_path({"/slow": script(Pause(2), answer(200, b"slow"))}, plain(b"fast")))
        )
        gateway.route(upstream.url)
        victim, other = gateway.worker_pids()
        lost, saved = (stack.enter_context(client_of(gateway, pid)) for pid in (victim, other))
        kept = stack.enter_context(client_of(gateway, other))
        for client in (lost, saved):
            client.send(head("GET", "/slow"))
        upstream.wait_for(2)
        assert _readiness(gateway) == 200
        os.kill(victim, signal.SIGKILL)
        assert lost.closed()
        assert ask(kept, "GET", "/").body == b"fast"
        assert saved.answer().body == b"slow"
        wait_until(lambda: len(set(gateway.worker_pids()) - {victim, other}) == 1)
        for _ in range(30):
            assert _readiness(gateway) == 200, "one worker is missing, the node is not"
        (born,) = set(gateway.worker_pids()) - {victim, other}
        gateway.create("/routes", paths=["/new"])
        with client_of(gateway, born) as client:
            assert ask(client, "GET", "/").body == b"fast"
            assert ask(client, "GET", "/new").status == 503
        assert other in gateway.worker_pids()
        for _ in range(20):
            assert ask_once(gateway, "GET", "/").status == 200


def test_counters_outlive_a_killed_worker() -> None:
    """An exact limit stays exact, and the node's totals do not go down."""
    with Gateway(workers=2) as gateway, Upstream(plain(b"in")) as upstream:
        route = gateway.route(upstream.url)
        limit = {"hour": 10, "policy": "local"}
        gateway.create(f"/routes/{route['id']}/plugins", name="rate-limiting", config=limit)
        victim = gateway.worker_pids()[0]
        with client_of(gateway, victim) as client:
            assert [ask(client, "GET", "/").status for _ in range(6)] == [200] * 6
        wait_until(lambda: total_requests(gateway) == 6)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(gateway.worker_pids()) == 2 and victim not in gateway.worker_pids())
        wait_until(gateway.is_ready)
        assert [ask_once(gateway, "GET", "/").status for _ in range(6)] == [200] * 4 + [429] * 2
        wait_until(lambda: total_requests(gateway) == 12)


def total_requests(gateway: Gateway) -> int:
    """Proxied requests of the node since its start; each worker reports its own every now and then."""
    return int(gateway.admin("GET", "/status").json()["server"]["total_requests"])


def test_the_master_works_on_while_old_workers_finish() -> None:
    """After a reload with a tunnel in flight: a worker that dies is replaced, another reload and the end are heeded."""
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(workers=2, env=DRAIN))
        upstream = stack.enter_context(Upstream(by_path({"/tunnel": tunnel}, plain(b"fine"))))
        gateway.route(upstream.url)
        client = stack.enter_context(gateway.client(timeout=60))
        client.send(head("GET", "/tunnel", "Connection: Upgrade", "Upgrade: websocket"))
        assert client.answer().status == 101
        holder = serving_pid(gateway, client)
        first = set(gateway.worker_pids())
        gateway.send_signal(signal.SIGHUP)
        wait_until(lambda: len(set(gateway.worker_pids()) - first) == 2 and len(gateway.worker_pids()) == 3, 60)
        victim = min(set(gateway.worker_pids()) - first)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(set(gateway.worker_pids()) - first - {victim}) == 2)
        second = set(gateway.worker_pids())
        gateway.send_signal(signal.SIGHUP)
        wait_until(lambda: len(set(gateway.worker_pids()) - second) == 2 and len(gateway.worker_pids()) == 3, 60)
        assert holder in gateway.worker_pids()
        client.send(b"still here")
        assert b"".join(client.stream.take(10)) == b"still here"
        gateway.send_signal(signal.SIGTERM)
        wait_until(lambda: gateway.worker_pids() == [holder], 60)
        client.end()
        assert b"".join(client.stream.rest()) == b""
        assert gateway.process is not None
        assert gateway.process.wait(60) == 0


def test_a_killed_master_takes_its_workers_along() -> None:
    """Nobody is left to hold the ports, and the same prefix starts again with all its data."""
    with Gateway(workers=2) as gateway:
        gateway.create("/routes", paths=["/kept"])
        workers = gateway.worker_pids()
        process = gateway.process
        assert process is not None
        process.kill()
        process.wait()
        wait_until(lambda: not any(alive(pid) for pid in workers))
        gateway.process = None
        gateway.start()
        assert ask_once(gateway, "GET", "/kept").status == 503


def test_second_start_and_busy_port(gateway: Gateway) -> None:
    again = cli(gateway, "start")
    assert again.returncode == 1
    assert "already running" in again.stderr.lower()
    assert gateway.is_ready()
    other = Gateway(env={"proxy_listen": f"127.0.0.1:{gateway.proxy_port}"}, start=False)
    try:
        other.settings["KONG_PROXY_LISTEN"] = f"127.0.0.1:{gateway.proxy_port}"
        refused = cli(other, "start")
        assert refused.returncode == 1
        assert f"127.0.0.1:{gateway.proxy_port}" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert cli(other, "health").returncode == 1
    finally:
        other.close()
    assert ask_once(gateway, "GET", "/nowhere").status == 404


def test_foreground_start_with_bad_settings() -> None:
    with pytest.raises(GatewayFailed, match="log_level"):
        Gateway(env={"log_level": "loud"}).close()


def test_connections_that_leave_without_a_word(gateway: Gateway) -> None:
    """They do no harm, and nothing of them stays."""
    clients = [gateway.client() for _ in range(300)]
    assert ask_once(gateway, "GET", "/nowhere").status == 404
    for client in clients:
        client.close()
    (pid,) = gateway.worker_pids()
    wait_until(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) < 200)


def test_all_workers_share_the_load() -> None:
    """When many clients come at a time every worker takes some."""
    with Gateway(workers=3) as gateway, ExitStack() as stack:
        wait_until(lambda: len(gateway.admin("GET", "/status").json()["memory"]["workers_lua_vms"]) == 3, 60)

        def come(_: int) -> Client:
            client = stack.enter_context(gateway.client(timeout=60))
            assert ask(client, "GET", "/").status == 404
            return client

        with ThreadPoolExecutor(16) as pool:
            clients = list(pool.map(come, range(96)))
        assert len({serving_pid(gateway, client) for client in clients}) >= 2
