"""What goes wrong with PostgreSQL, in one line that says what to do about it."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors as pg

from kong_gevent.db.strategies.postgres.options import PostgresOptions
from kong_gevent.errors import DatabaseError, SchemaMissing, StoreMisconfigured, StoreUnavailable

OLDEST = 12
"""The oldest major version of the server that is supported."""
RETRIED = (pg.SerializationFailure, pg.DeadlockDetected)
"""Another transaction was in the way: the same one again will do."""

_Fault = tuple[str, type[StoreUnavailable], str]
_CONNECTING: tuple[_Fault, ...] = (
    # A pattern over what libpq or the server says, the error, what it means and what to do. {0}: the pattern's group.
    (
        r"Connection refused|No such file or directory",
        StoreUnavailable,
        "nothing listens there; start the server, or correct {part}host or {part}port",
    ),
    (r"failed to resolve host", StoreUnavailable, "its name is unknown to DNS; correct {part}host or the resolver"),
    (
        r"timeout expired|timed out",
        StoreUnavailable,
        "no answer within {timeout:g} s; check {part}host, {part}port and the firewalls in between",
    ),
    (r"No route to host|Network is unreachable", StoreUnavailable, "no route leads there; check the network"),
    (
        r"no password supplied",
        StoreMisconfigured,
        "it wants a password for user '{user}'; set {part}password",
    ),
    (
        r"password authentication failed|FATAL: +\w+ authentication failed",
        StoreMisconfigured,
        "it refuses the password of user '{user}'; correct {part}user or {part}password",
    ),
    (
        r'database "(.*)" does not exist',
        StoreMisconfigured,
        "it has no database '{0}'; correct {part}database, or CREATE DATABASE {0} OWNER {user} ENCODING 'UTF8'",
    ),
    (r'role "(.*)" does not exist', StoreMisconfigured, "it has no role '{0}'; correct {part}user, or create the role"),
    (r"is not permitted to log in", StoreMisconfigured, "the role '{user}' may not log in; ALTER ROLE {user} LOGIN"),
    (
        r"no pg_hba.conf entry.*no encryption",
        StoreMisconfigured,
        "it does not let user '{user}' in without TLS; set {part}ssl = on, or add a line to its pg_hba.conf",
    ),
    (
        r"no pg_hba.conf entry|pg_hba.conf rejects",
        StoreMisconfigured,
        "it does not let user '{user}' into database '{database}' from here; add a line to its pg_hba.conf",
    ),
    (
        r"does not support SSL",
        StoreMisconfigured,
        "it does not speak TLS; set {part}ssl = off, or turn TLS on at the server",
    ),
    (
        r"certificate verify failed",
        StoreMisconfigured,
        "its certificate is not from a trusted authority; name the authority's file in lua_ssl_trusted_certificate",
    ),
    (
        r'certificate for (.*?) does not match host name|host name "(.*)"',
        StoreMisconfigured,
        "its certificate is for {0}, not for '{host}'; use a name of the certificate as {part}host",
    ),
    (
        r'root certificate file "(.*)" does not exist|could not read root certificate file "(.*?)"',
        StoreMisconfigured,
        "the file of trusted authorities {0} cannot be read; correct lua_ssl_trusted_certificate",
    ),
    (r"requires a valid client certificate", StoreMisconfigured, "it wants a client certificate, which is not offered"),
    (
        r"the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)",
        StoreUnavailable,
        "it is {0}; it may answer soon",
    ),
    (
        r"too many clients|too many connections|remaining connection slots",
        StoreUnavailable,
        "it has no free connection; raise its max_connections, or lower {part}pool_size",
    ),
    (
        r"invalid response to SSL negotiation|expected authentication request|unsupported frontend protocol",
        StoreMisconfigured,
        "what listens there does not speak PostgreSQL's protocol; correct {part}host or {part}port",
    ),
    (
        r"closed the connection|reset by peer|Broken pipe",
        StoreUnavailable,
        "it closes connections at once; look into its log",
    ),
)


def unreachable(options: PostgresOptions, error: BaseException) -> StoreUnavailable:
    """No connection could be opened."""
    said = " ".join(str(error).split())
    for pattern, kind, meaning in _CONNECTING:
        found = re.search(pattern, said)
        if found:
            group = next((text for text in found.groups() if text), "")
            words = {name: getattr(options, name) for name in ("user", "database", "host", "part", "timeout")}
            return kind(f"cannot use PostgreSQL at {options.where}: {meaning.format(group, **words)}")
    said = re.sub(r"^connection (failed|is bad): (connection to server .*? failed: )?", "", said)
    return StoreUnavailable(f"cannot use PostgreSQL at {options.where}: {said}")


def crowded(fault: StoreUnavailable) -> bool:
    """Whether the server only refuses further connections."""
    return "no free connection" in str(fault)


def unsuitable(options: PostgresOptions, connection: psycopg.Connection) -> StoreMisconfigured | None:
    """Why a server that lets us in cannot be used; None when it can."""
    version = connection.info.server_version
    if version < OLDEST * 10000:
        text = f"it is version {version // 10000}.{version % 10000}: version {OLDEST} or newer is needed"
        return StoreMisconfigured(f"cannot use PostgreSQL at {options.where}: {text}")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        text = f"the encoding of database '{options.database}' is {encoding}: make one with ENCODING 'UTF8'"
        return StoreMisconfigured(f"cannot use PostgreSQL at {options.where}: {text}")
    return None


def lost(error: BaseException, connection: psycopg.Connection) -> bool:
    """Whether an error means that the connection cannot be used any more."""
    return connection.closed or isinstance(error, (pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow))


def statement(options: PostgresOptions, error: psycopg.Error) -> DatabaseError:
    """What the failure of a statement means."""
    name = f"PostgreSQL at {options.where}"
    said = " ".join((error.diag.message_primary or str(error)).split())
    state = error.sqlstate or ""
    if state in ("42P01", "3F000"):
        place = f"schema '{options.schema}' of " if options.schema else ""
        return SchemaMissing(
            f"{place}database '{options.database}' of {name} needs bootstrapping: run 'migrations bootstrap' ({said})"
        )
    if state == "42501":
        return StoreMisconfigured(
            f"user '{options.user}' lacks a right in database '{options.database}' of {name}: {said}; "
            f"GRANT CREATE, USAGE ON SCHEMA {options.schema or 'public'} TO {options.user}, who must own the tables"
        )
    if state == "25006":
        return StoreUnavailable(f"{name} takes no writes (it is a standby, or set read-only): {said}")
    if state == "57014" or isinstance(error, Unanswered):
        limit = f"{options.timeout:g} s ({options.part}timeout)"
        return StoreUnavailable(f"{name} did not answer a statement within {limit}")
    if state == "53100":
        return StoreUnavailable(f"{name} cannot store more: its disk is full ({said})")
    if state[:2] in ("08", "53", "55", "57", "58", "40", "25") or not state:
        return StoreUnavailable(f"{name} cannot be used now: {said}")
    return DatabaseError(f"{name} refused a statement: {said}")


class Unanswered(psycopg.OperationalError):
    """The server did not answer in time; the connection was closed."""
