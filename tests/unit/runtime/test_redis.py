"""The worker's Redis connection: shared by concurrent callers, never a stall, found again after a failure."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic, time
from typing import Any, cast

import gevent
import pytest

from kong_gevent.dns import Resolver
from kong_gevent.pdk.kit import RedisFailed
from kong_gevent.runtime.counts import CountTable
from kong_gevent.runtime.redis_counters import RedisCounters
from kong_gevent.runtime.sharing import RedisServer, Sharing
from kong_gevent.runtime.tls import Contexts
from tests.servers.redis import Redis

Made = Callable[..., RedisServer]
SECRET = "a secret, with {braces} and spaces"


class Settings:
    """What TLS needs of the settings."""

    nginx_proxy_proxy_ssl_verify = False

    def __init__(self, trusted: str) -> None:
        self.lua_ssl_trusted_certificate = [trusted] if trusted else None


@pytest.fixture
def connect() -> Iterator[Made]:
    """A worker's connection to a server: ``connect(redis, timeout=…, password=…)``."""
    with ExitStack() as stack:

        def make(server: Redis | None = None, *, trusted: str = "", **record: Any) -> RedisServer:
            settings: Any = Settings(trusted)
            tls = Contexts(settings).outgoing
            sharing = Sharing(CountTable(1 << 8), None, 1.0, Resolver().addresses, tls)
            if server is not None:
                record = {"host": server.address, "port": server.port, "ssl": server.tls, **record}
            made = sharing.redis({"timeout": 2000, "username": None, **record})
            stack.callback(made.client.shut)
            return made

        yield make


@pytest.fixture(scope="module")
def own(make_redis: Callable[..., Redis]) -> Redis:
    """A server that the tests of this module may stop and start."""
    return make_redis()


@pytest.fixture(scope="module")
def guarded(make_redis: Callable[..., Redis]) -> Redis:
    return make_redis(password="hunter2", users=["limits on >s3cret ~ratelimit:* +incr +set +get"])


@pytest.fixture(scope="module")
def secure(make_redis: Callable[..., Redis]) -> Redis:
    return make_redis(tls=True, password="hunter2")


def until_it_answers(server: RedisServer, seconds: float = 20) -> None:
    """Wait until calls succeed again; fails when they do not."""
    with gevent.Timeout(seconds):
        while True:
            try:
                server.call(("PING",))
                return
            except RedisFailed:
                gevent.sleep(0.02)


def test_replies_come_to_those_who_asked(redis: Redis, connect: Made) -> None:
    server = connect(redis)
    key = f"replies:{time()}:"

    def ask(number: int) -> list[Any]:
        return server.call(("SET", f"{key}{number}", number, "EX", 60), ("GET", f"{key}{number}"), ("GET", "nothing"))

    jobs = [gevent.spawn(ask, number) for number in range(300)]
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [[b"OK", b"%d" % number, None] for number in range(300)]


def test_concurrent_calls_share_writes_and_reads(own: Redis, connect: Made) -> None:
    server = connect(own)

    def reads() -> int:
        text = server.call(("INFO", "stats"))[0].decode()
        return int(text.partition("total_reads_processed:")[2].split()[0])

    before = reads()

    def ask() -> None:
        for _ in range(10):
            server.call(("INCR", "shared"))

    gevent.joinall([gevent.spawn(ask) for _ in range(64)], raise_error=True)
    assert server.call(("GET", "shared")) == [b"640"]
    assert reads() - before < 640 / 8
    clients = server.call(("CLIENT", "LIST"))[0].splitlines()
    assert len(clients) == 1


def test_values_larger_than_any_buffer(redis: Redis, connect: Made) -> None:
    server = connect(redis)
    value = b"x" * (8 << 20)
    assert server.call(("SET", "large", value, "EX", 60), ("GET", "large"), ("DEL", "large")) == [b"OK", value, 1]


def test_a_refused_command_is_an_error_and_nothing_else_suffers(redis: Redis, connect: Made) -> None:
    server = connect(redis)
    server.call(("SET", "text", "x", "EX", 60))
    others = [gevent.spawn(server.call, ("ECHO", number)) for number in range(5)]
    with pytest.raises(RedisFailed, match="not an integer"):
        server.call(("ECHO", "a"), ("INCR", "text"), ("ECHO", "b"))
    gevent.joinall(others, raise_error=True)
    assert [job.value for job in others] == [[b"%d" % number] for number in range(5)]


def test_a_caller_that_is_ended_does_not_shift_the_replies(redis: Redis, connect: Made) -> None:
    server = connect(redis)
    server.call(("PING",))
    gone = gevent.spawn(server.call, ("ECHO", "gone"))
    stays = gevent.spawn(server.call, ("ECHO", "stays"))
    gevent.sleep(0)
    gone.kill()
    assert stays.get(timeout=10) == [b"stays"]
    assert server.call(("ECHO", "later")) == [b"later"]


class TestWhoMayCome:
    def test_the_default_user_with_a_password_and_a_database(self, guarded: Redis, connect: Made) -> None:
        server = connect(guarded, password="hunter2", database=3)
        assert b" db=3 " in server.call(("CLIENT", "LIST"))[0]

    def test_a_user_of_the_access_control_list(self, guarded: Redis, connect: Made) -> None:
        server = connect(guarded, username="limits", password="s3cret")
        assert server.call(("SET", "ratelimit:x", 0, "EX", 9), ("INCR", "ratelimit:x")) == [b"OK", 1]
        with pytest.raises(RedisFailed, match="permissions"):
            server.call(("SET", "other", 1))

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ({"password": "wrong"}, "invalid username-password"),
            ({"username": "limits", "password": "wrong"}, "invalid username-password"),
            ({}, "Authentication required"),
            ({"password": ""}, "Authentication required"),
            ({"password": "hunter2", "database": 99}, "DB index is out of range"),
        ],
    )
    def test_others_are_refused_with_the_reason(
        self, guarded: Redis, connect: Made, record: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(RedisFailed, match=reason) as caught:
            connect(guarded, **record).call(("PING",))
        assert str(guarded.port) in str(caught.value)

    def test_secrets_are_not_shown(self, guarded: Redis, connect: Made, caplog: pytest.LogCaptureFixture) -> None:
        server = connect(guarded, password=SECRET)
        with pytest.raises(RedisFailed) as caught:
            server.call(("PING",))
        assert SECRET not in f"{caught.value} {caplog.text} {server.client.options!r}"


class TestTls:
    def test_the_certificate_is_checked_when_that_is_wanted(self, secure: Redis, connect: Made) -> None:
        server = connect(secure, trusted=str(secure.certificates.ca), ssl_verify=True, password="hunter2")
        jobs = [gevent.spawn(server.call, ("ECHO", "x" * 50_000)) for _ in range(40)]
        gevent.joinall(jobs, raise_error=True)
        assert server.call(("PING",)) == [b"PONG"]

    def test_the_server_name_is_what_is_checked(self, secure: Redis, connect: Made) -> None:
        trusted = str(secure.certificates.ca)
        right = connect(secure, trusted=trusted, ssl_verify=True, password="hunter2", server_name="localhost")
        assert right.call(("PING",)) == [b"PONG"]
        wrong = connect(secure, trusted=trusted, ssl_verify=True, password="hunter2", server_name="elsewhere.test")
        with pytest.raises(RedisFailed, match="(?i)hostname mismatch"):
            wrong.call(("PING",))

    def test_an_unknown_authority_is_refused(self, secure: Redis, connect: Made) -> None:
        with pytest.raises(RedisFailed, match="(?i)certificate verify failed"):
            connect(secure, ssl_verify=True, password="hunter2").call(("PING",))

    def test_or_the_certificate_is_not_checked(self, secure: Redis, connect: Made) -> None:
        assert connect(secure, password="hunter2").call(("PING",)) == [b"PONG"]

    def test_clear_text_is_no_substitute(self, secure: Redis, connect: Made) -> None:
        with pytest.raises(RedisFailed):
            connect(secure, ssl=False, password="hunter2").call(("PING",))

    def test_nor_tls_where_there_is_none(self, redis: Redis, connect: Made) -> None:
        with pytest.raises(RedisFailed):
            connect(redis, ssl=True, timeout=1000).call(("PING",))


class TestFailure:
    def test_a_dead_server_fails_at_once_and_is_found_again(self, own: Redis, connect: Made) -> None:
        server = connect(own)
        server.call(("PING",))
        own.kill()
        with pytest.raises(RedisFailed):
            for _ in range(3):  # the first one may find a connection whose end it has not seen yet
                server.call(("PING",))
        began = monotonic()
        for _ in range(200):
            with pytest.raises(RedisFailed):
                server.call(("PING",))
        assert monotonic() - began < 1
        own.start()
        until_it_answers(server)

    def test_a_server_that_was_restarted_meanwhile_is_no_failure(self, own: Redis, connect: Made) -> None:
        server = connect(own)
        server.call(("PING",))
        own.restart()
        gevent.sleep(0.05)
        assert server.call(("PING",)) == [b"PONG"]

    def test_no_call_takes_longer_than_the_timeout(self, own: Redis, connect: Made) -> None:
        server = connect(own, timeout=300)
        server.call(("PING",))
        own.pause()
        try:
            began = monotonic()
            jobs = [gevent.spawn(server.call, ("PING",)) for _ in range(50)]
            gevent.joinall(jobs)
            assert [type(job.exception) for job in jobs] == [RedisFailed] * 50
            assert all(job.exception.unknown for job in jobs)  # type: ignore[union-attr]
            assert 0.25 < monotonic() - began < 5
            for _ in range(100):
                with pytest.raises(RedisFailed) as caught:
                    server.call(("PING",))
                assert not caught.value.unknown
            assert monotonic() - began < 5
        finally:
            own.resume()
        until_it_answers(server)

    def test_nor_does_the_first_one_at_a_server_that_says_nothing(self, connect: Made) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = connect(host="127.0.0.1", port=silent.getsockname()[1], timeout=300, password="x")
            began = monotonic()
            with pytest.raises(RedisFailed, match="300 ms"):
                server.call(("PING",))
            assert 0.25 < monotonic() - began < 5

    def test_one_attempt_at_a_time_while_it_is_away(self, connect: Made) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = connect(host="127.0.0.1", port=silent.getsockname()[1], timeout=200)
            jobs = [gevent.spawn(server.call, ("PING",)) for _ in range(100)]
            gevent.joinall(jobs)
            end = monotonic() + 1
            while monotonic() < end:
                with pytest.raises(RedisFailed):
                    server.call(("PING",))
                gevent.sleep(0.001)
            silent.settimeout(0)
            attempts = []
            try:
                while True:
                    attempts.append(silent.accept()[0])
            except BlockingIOError:
                assert 1 <= len(attempts) <= 4
            for attempt in attempts:
                attempt.close()

    def test_a_name_without_an_address(self, connect: Made) -> None:
        with pytest.raises(RedisFailed, match="nowhere.invalid"):
            connect(host="nowhere.invalid", port=6379).call(("PING",))

    @pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+OK\r\n+OK\r\n", b"\0" * 100])
    def test_a_server_that_is_no_redis(self, connect: Made, nonsense: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as strange:

            def serve() -> None:
                peer, _ = strange.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(nonsense)
                    peer.recv(1000)

            job = gevent.get_hub().threadpool.spawn(serve)
            server = connect(host="127.0.0.1", port=strange.getsockname()[1], timeout=1000, password="x")
            with pytest.raises(RedisFailed):
                for _ in range(3):
                    server.call(("PING",))
            server.client.shut()
            job.get(timeout=10)

    @pytest.mark.parametrize("surplus", [b":1\r\n" * 3, b"nonsense\r\n", b"$-2\r\n"])
    def test_a_reply_before_nonsense_still_reaches_who_asked(self, connect: Made, surplus: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as strange:

            def serve() -> None:
                peer, _ = strange.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(b":1\r\n" + surplus)
                    peer.recv(1000)

            job = gevent.get_hub().threadpool.spawn(serve)
            server = connect(host="127.0.0.1", port=strange.getsockname()[1], timeout=5000)
            with gevent.Timeout(30):
                assert server.call(("INCR", "a")) == [1]
            server.client.shut()
            job.get(timeout=10)

    def test_it_is_said_once(self, own: Redis, connect: Made, caplog: pytest.LogCaptureFixture) -> None:
        server = connect(own)
        server.call(("PING",))
        own.kill()
        gevent.sleep(0.05)
        for _ in range(30):
            with pytest.raises(RedisFailed):
                server.call(("PING",))
            gevent.sleep(0.05)
        own.start()
        until_it_answers(server)
        said = [record.getMessage() for record in caplog.records if record.name == "kong_gevent.redis"]
        assert len(said) == 2
        assert "cannot be used" in said[0] and "answers again" in said[1]


class TestUse:
    def test_the_same_parameters_share_a_connection_until_the_last_is_done(self, own: Redis, connect: Made) -> None:
        observer = connect(own, database=1)

        def clients() -> int:
            return len(observer.call(("CLIENT", "LIST"))[0].splitlines())

        first = connect(own)
        first.call(("PING",))
        again = first._sharing.redis({"host": own.address, "port": own.port, "timeout": 2000})
        assert again is first
        again.call(("PING",))
        assert clients() == 2
        first.close()
        assert again.call(("PING",)) == [b"PONG"]
        again.close()
        wait_for(lambda: clients() == 1)

    def test_nothing_is_connected_before_it_is_asked(self, connect: Made) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            connect(host="127.0.0.1", port=silent.getsockname()[1]).counters()
            gevent.sleep(0.2)
            silent.settimeout(0)
            with pytest.raises(BlockingIOError):
                silent.accept()

    def test_an_idle_connection_is_kept(self, own: Redis, connect: Made) -> None:
        """Longer than the sweeper of streams, and than the timeout."""
        server = connect(own, timeout=100)
        first = server.call(("CLIENT", "ID"))
        gevent.sleep(0.7)
        assert server.call(("CLIENT", "ID")) == first


def wait_for(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.02)


class TestCounters:
    """Counting in Redis at once."""

    def windows(self, limit: float, seconds: float = 60) -> tuple[tuple[Any, ...], ...]:
        return ((f":{time()}:minute", limit, time() + seconds), (f":{time()}:hour", limit, time() + 60 * seconds))

    def test_all_windows_count_also_above_the_limit(self, redis: Redis, connect: Made) -> None:
        counters = RedisCounters(connect(redis).client)
        windows = self.windows(2)
        assert [counters.consume(("c:", "ada"), windows) for _ in range(4)] == [
            (True, [0, 0]),
            (True, [1, 1]),
            (False, [2, 2]),
            (False, [3, 3]),
        ]

    @pytest.mark.parametrize("held", ["text", "1.5", "9" * 5000])
    def test_a_key_that_somebody_else_uses_is_a_failure(self, redis: Redis, connect: Made, held: str) -> None:
        server, windows = connect(redis), self.windows(0)
        server.call(*(("SET", "theirs:" + window[0], held, "EX", 60) for window in windows))
        counters = RedisCounters(server.client)
        for use in (counters.usage, counters.consume):
            with pytest.raises(RedisFailed):
                use(("theirs:",), windows)

    def test_a_server_that_counts_in_words(self) -> None:
        class Odd:
            """A client of a server that says OK to everything."""

            def exchange(self, data: bytes, count: int) -> list[Any]:
                return [b"OK"] * count

        counters = RedisCounters(cast("Any", Odd()))
        windows = self.windows(1)
        for _ in range(2):
            with pytest.raises(RedisFailed, match="OK"):
                counters.consume(("c:",), windows)

    def test_every_key_ends(self, own: Redis, connect: Made) -> None:
        server = connect(own)
        server.call(("FLUSHALL",))
        workers = [RedisCounters(server.client) for _ in range(3)]
        windows = self.windows(5)
        for worker in workers * 2:
            worker.consume(("c:", "ada"), windows)
        keys = server.call(("KEYS", "*"))[0]
        assert set(keys) == {f"c:ada{window[0]}".encode() for window in windows}
        lives = sorted(server.call(*(("TTL", key) for key in keys)))
        assert 50 <= lives[0] <= 60 and 3590 <= lives[1] <= 3600

    def test_a_key_that_the_server_lost_gets_an_end_again(self, own: Redis, connect: Made) -> None:
        server = connect(own)
        counters = RedisCounters(server.client)
        windows = self.windows(5)
        counters.consume(("c:", "ada"), windows)
        for again in (windows, (*windows[:1], *windows[1:])):  # as it was prepared, and looked up anew
            server.call(("FLUSHALL",))
            assert counters.consume(("c:", "ada"), again) == (True, [0, 0])
            keys = server.call(("KEYS", "*"))[0]
            assert len(keys) == 2
            assert all(0 < life <= 3600 for life in server.call(*(("TTL", key) for key in keys)))
