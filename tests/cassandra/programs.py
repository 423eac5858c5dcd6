"""Programs of the tests for a patched process, where the driver runs on greenlets as in a worker."""

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import json
import logging
import os
import sys
import time
from collections import Counter
from typing import Any

import gevent

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.errors import OutcomeUnknown, StoreUnavailable

READ = "SELECT name, body FROM things WHERE name = ?"
WRITE = "INSERT INTO things (name, body) VALUES (?, ?)"
TABLE = "CREATE TABLE IF NOT EXISTS things (name text PRIMARY KEY, body blob) WITH speculative_retry = '100ms'"


def say(value: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def heard() -> str:
    """The next line of what we are told. Waiting for it in this thread would stop all greenlets."""
    line: str = gevent.get_hub().threadpool.apply(sys.stdin.readline)
    return line.strip()


def statements(session: CassandraSession) -> None:
    """One statement of each kind; says what they returned."""
    session.run(TABLE, level="ddl")
    session.run("TRUNCATE things", level="ddl")
    session.run(WRITE, ("a", b"1"), level="write")
    session.run_all([(WRITE, (f"many {number}", b"x" * number)) for number in range(300)], level="write", window=17)
    found = {
        "read": session.run(READ, ("a",))[0][1].decode(),
        "near": session.run(READ, ("a",), level="near")[0][1].decode(),
        "first": session.run(f"{WRITE} IF NOT EXISTS", ("b", b"2"), level="lwt"),
        "second": session.run(f"{WRITE} IF NOT EXISTS", ("b", b"3"), level="lwt")[0][0],
        "serial": session.run(READ, ("b",), level="serial")[0][1].decode(),
        "lengths": [len(rows[0][1]) for rows in session.run_all([(READ, (f"many {n}",)) for n in range(300)])],
        "none": session.run(READ, ("c",)),
        "empty": session.run_all([]),
        "pages": len(list(session.pages("SELECT name FROM things", size=50))),
        "paged": len(session.run("SELECT name FROM things")),
    }
    say(found)


def long_result(session: CassandraSession, rows: int) -> None:
    """Reads more rows than fit in one page."""
    session.run("CREATE TABLE IF NOT EXISTS long (part int, number int, PRIMARY KEY (part, number))", level="ddl")
    session.run_all([("INSERT INTO long (part, number) VALUES (1, ?)", (n,)) for n in range(rows)], level="write")
    found = session.run("SELECT number FROM long WHERE part = ?", (1,))
    many = session.run_all([("SELECT number FROM long WHERE part = ?", (1,)), ("SELECT number FROM long", ())])
    say([[row[0] for row in found] == list(range(rows)), [len(each) for each in many]])


def crowd(session: CassandraSession, greenlets: int, rounds: int) -> None:
    """Many greenlets write and read their own rows; says how many answers were right, and what failed."""
    session.run(TABLE, level="ddl")
    outcomes: Counter[str] = Counter()

    def one(number: int) -> None:
        for turn in range(rounds):
            body = f"{number} {turn} ".encode() * 100
            try:
                session.run(WRITE, (f"crowd {number}", body), level="write")
                right = session.run(READ, (f"crowd {number}",)) == [(f"crowd {number}", body)]
                outcomes["right" if right else "wrong"] += 1
            except Exception as error:
                outcomes[repr(error)] += 1

    gevent.joinall([gevent.spawn(one, number) for number in range(greenlets)])
    say(outcomes)


def fork(session: CassandraSession, rounds: int) -> None:
    """Forks while requests are under way; parent and child then use the session; says both counts of right answers."""
    session.run(TABLE, level="ddl")
    names = [f"fork {number}" for number in range(20)]
    session.run_all([(WRITE, (name, name.encode())) for name in names], level="write")

    def right() -> int:
        count = 0
        for turn in range(rounds):
            name = names[turn % len(names)]
            count += session.run(READ, (name,)) == [(name, name.encode())]
        return count

    results: list[int] = []

    def work() -> None:
        try:
            results.append(right())
        except StoreUnavailable:
            results.append(-1)  # in the child, where copies of these greenlets have lost what they waited for

    busy = [gevent.spawn(work) for _ in range(10)]
    gevent.sleep(0.01)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        gevent.killall(busy)
        os.write(writer, str(right()).encode())
        os._exit(0)
    own = right()
    gevent.joinall(busy)
    os.close(writer)
    said = os.read(reader, 100)
    os.waitpid(child, 0)
    say({"parent": own, "child": int(said or -1), "busy": results})


def steady(session: CassandraSession, greenlets: int, table: str = "things") -> None:
    """Reads and writes until told to end; says "ready", then what became of all."""
    outcomes: Counter[str] = Counter()
    ends = gevent.event.Event()
    started = gevent.event.Event()

    def one(number: int) -> None:
        turn = 0
        while not ends.is_set():
            turn += 1
            name, body = f"steady {number} {turn % 10}", str(turn).encode()
            try:
                session.run(WRITE, (name, body), level="write")
                right = session.run(READ, (name,)) == [(name, body)]
                outcomes["right" if right else "wrong"] += 1
                started.set()
            except Exception as error:
                outcomes[repr(error)] += 1
                gevent.sleep(0.01)  # calls that fail at once would leave no time to whatever brings the store back

    session.connect()
    running = [gevent.spawn(one, number) for number in range(greenlets)]
    started.wait()
    say("ready")
    while heard() == "count":
        say(outcomes)
    ends.set()
    gevent.joinall(running)
    say(outcomes)


def conditional(session: CassandraSession) -> None:
    """Conditional writes on one row until told to end: each is made once, unless its outcome is unknown."""
    session.run("CREATE TABLE IF NOT EXISTS heads (name text PRIMARY KEY, seq bigint)", level="ddl")
    session.run("INSERT INTO heads (name, seq) VALUES ('x', 0)", level="write")
    outcomes: Counter[str] = Counter()
    ends = gevent.event.Event()

    def go() -> None:
        seq = 0
        while not ends.is_set():
            try:
                applied = session.run(
                    "UPDATE heads SET seq = ? WHERE name = 'x' IF seq = ?", (seq + 1, seq), level="lwt"
                )
                outcomes["applied" if applied[0][0] else f"refused {applied[0]} for {seq}"] += 1
                seq += 1
            except OutcomeUnknown:
                outcomes["unknown"] += 1
                seq = settle(seq)
            except StoreUnavailable as error:
                outcomes[str(error)] += 1
                gevent.sleep(0.05)

    def settle(seq: int) -> int:
        while True:
            try:
                found: int = session.run("SELECT seq FROM heads WHERE name = 'x'", level="serial")[0][0]
            except StoreUnavailable:
                gevent.sleep(0.05)
                continue
            outcomes["settled" if found in (seq, seq + 1) else f"settled as {found} after {seq}"] += 1
            return found

    running = gevent.spawn(go)
    gevent.sleep(0.2)
    say("ready")
    heard()
    ends.set()
    running.join()
    say(outcomes)


def outage(session: CassandraSession) -> None:
    """Asks every 50 ms; says each change of the answer with the longest time that a call took meanwhile."""
    state, longest = None, 0.0
    ends = gevent.spawn(heard)
    while not ends.ready():
        begin = time.monotonic()
        try:
            session.run("SELECT release_version FROM system.local")
            now = "up"
        except StoreUnavailable as error:
            now = f"down: {error}"
        longest = max(longest, time.monotonic() - begin)
        if now != state:
            say([now, longest])
            state, longest = now, 0.0
        gevent.sleep(0.05)
    say([state, longest])


def answer(session: CassandraSession) -> None:
    """One read; says "right", or the error's class and line."""
    try:
        session.run("SELECT release_version FROM system.local")
        say(["right", ""])
    except Exception as error:
        say([type(error).__name__, str(error)])


def main() -> None:
    """Run the program that the argument names."""
    logging.getLogger("kong_gevent").addHandler(logging.NullHandler())  # a node that is down is no news to the tests
    request = json.loads(sys.argv[1])
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in request["options"].items()}
    values["data_centers"] = tuple(map(tuple, values["data_centers"]))
    session = CassandraSession(CassandraOptions(**values))
    globals()[request["program"]](session, **request["arguments"])
    session.close()


if __name__ == "__main__":
    main()
