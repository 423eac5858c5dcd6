"""What goes wrong with Cassandra, in one line that says what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping

from cassandra import (
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    RequestValidationException,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
)
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import RequestValidationException as RefusedMessage

from kong_gevent.db.strategies.cassandra.connection import LoginRefused, ProtocolRefused
from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.tls import objection, speaks_tls
from kong_gevent.errors import DatabaseError, OutcomeUnknown, SchemaMissing, StoreMisconfigured, StoreUnavailable

OLDEST = (3, 11)
"""The oldest release of the server that is supported."""
_DECIDING = (ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL)
"""Levels at which a conditional write is decided; what fails at another one may have been decided before."""
Fault = tuple[type[StoreUnavailable], str]
Failures = Mapping[str, BaseException]


def unreachable(options: CassandraOptions, failures: Failures) -> StoreUnavailable:
    """None of the contact points (keys) accepts a connection."""
    points = list(failures.items())
    kinds = {type(error) for _, error in points}
    if len(kinds) == 1:
        names = ", ".join(f"{point}:{options.port}" for point, _ in points)
        reason = _unreachable(points[0][1])
    else:
        names = options.where
        reason = "; ".join(f"{point}: {_unreachable(error)}" for point, error in points)
    return StoreUnavailable(
        f"cannot reach Cassandra at {names}: {reason}; start it, or correct cassandra_contact_points or cassandra_port"
    )


def refused(options: CassandraOptions, failures: Failures) -> StoreUnavailable:
    """The nodes (keys are addresses) that accept connections could not be used; the most telling reason is given."""
    judged = [(point, _reason(options, point, error)) for point, error in failures.items()]
    if not judged:
        return StoreUnavailable(f"Cassandra at {options.where} did not answer; it may still be starting")
    point, (kind, text) = max(judged, key=lambda entry: entry[1][0] is StoreMisconfigured)
    more = f" (and {len(judged) - 1} more)" if len(judged) > 1 else ""
    address = point if ":" in point else f"{point}:{options.port}"
    return kind(f"cannot use Cassandra at {address}{more}: {text}")


def wrong_data_center(options: CassandraOptions, existing: Iterable[str]) -> StoreMisconfigured | None:
    """The local data centre is unknown, or needed and not named; None when all is well."""
    names = sorted(existing)
    listed = ", ".join(names)
    if options.local_datacenter is None:
        if len(names) < 2:
            return None
        return StoreMisconfigured(
            f"the Cassandra cluster at {options.where} has the data centres {listed}: "
            "set cassandra_local_datacenter to the one beside this gateway"
        )
    if options.local_datacenter in names or not names:
        return None
    plural = "s" if len(names) > 1 else ""
    return StoreMisconfigured(
        f"the Cassandra cluster at {options.where} has no data centre '{options.local_datacenter}', "
        f"only {listed}: correct cassandra_local_datacenter (the name{plural} must be written exactly so)"
    )


def too_old(address: str, release: str | None) -> StoreMisconfigured | None:
    """The server's release is older than `OLDEST`; None when it is not, or says nothing."""
    numbers = [int(part) for part in (release or "").split("-")[0].split(".")[:2] if part.isdigit()]
    if len(numbers) < 2 or tuple(numbers) >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    return StoreMisconfigured(f"Cassandra at {address} is version {release}: version {oldest} or newer is needed")


def statement(error: BaseException, options: CassandraOptions, settled: bool) -> DatabaseError:
    """What a statement's failure means. `settled`: it changes nothing, or running it again is harmless."""
    if isinstance(error, NoHostAvailable):
        return _nobody(error, options)
    if isinstance(error, Unavailable) and (settled or error.consistency in _DECIDING):
        return StoreUnavailable(_unavailable(error))
    if isinstance(error, Unauthorized):
        return StoreMisconfigured(
            f"the Cassandra role '{options.username or 'anonymous'}' lacks a right: {_bare(error)}; "
            f"grant it ALL PERMISSIONS ON KEYSPACE {options.keyspace}"
        )
    if isinstance(error, InvalidRequest) and _says_missing(str(error)):
        return SchemaMissing(
            f"the Cassandra keyspace '{options.keyspace}' needs bootstrapping: run 'migrations bootstrap' "
            f"({_bare(error)})"
        )
    if isinstance(error, RequestValidationException | RefusedMessage) or not _is_drivers(error):
        return DatabaseError(f"Cassandra refused a statement: {_bare(error)}")
    text = _unavailable(error) if isinstance(error, Unavailable) else _interrupted(error)
    if settled:
        return StoreUnavailable(text)
    return OutcomeUnknown(f"{text}; whether the change was made is not known")


def _nobody(error: NoHostAvailable, options: CassandraOptions) -> StoreUnavailable:
    """No node of the local data centre could take a statement; it was not run, or running it again is harmless."""
    place = f" of the data centre '{options.local_datacenter}'" if options.local_datacenter else ""
    causes = error.errors.values() if isinstance(error.errors, Mapping) else ()
    for cause in causes:
        if isinstance(cause, Unavailable):
            return StoreUnavailable(_unavailable(cause))
    return StoreUnavailable(f"no Cassandra node{place} answers (contact points {options.where})")


def _unavailable(error: Unavailable) -> str:
    level = ConsistencyLevel.value_to_name.get(error.consistency, "the consistency level")
    return (
        f"Cassandra cannot serve {level}: {error.required_replicas} replicas are needed and "
        f"{error.alive_replicas} are alive; bring nodes back, or raise the replication of the keyspace"
    )


def _interrupted(error: BaseException) -> str:
    if isinstance(error, ReadTimeout | WriteTimeout | ReadFailure | WriteFailure):
        level = ConsistencyLevel.value_to_name.get(error.consistency, "the consistency level")
        what = "failed" if isinstance(error, ReadFailure | WriteFailure) else "did not answer in time"
        return (
            f"Cassandra's replicas {what} at {level}: "
            f"{error.received_responses} of {error.required_responses} answers came"
        )
    if isinstance(error, OperationTimedOut):
        return "Cassandra did not answer in time"
    return f"the connection to Cassandra was lost: {_bare(error)}"


def _reason(options: CassandraOptions, point: str, error: BaseException) -> Fault:
    text = str(error)
    if isinstance(error, LoginRefused):
        return _login(options, text)
    if isinstance(error, ProtocolRefused) or "protocol version" in text:
        oldest = ".".join(map(str, OLDEST))
        return StoreMisconfigured, (
            f"it refuses version 4 of the native protocol, so it is older than Cassandra {oldest}, or no Cassandra"
        )
    address = point.rpartition(":")[0] or point
    if options.ssl:
        error = objection(options, address) or error
        return _secure(options, str(error), error)
    if not isinstance(error, OperationTimedOut) and speaks_tls(address, options.port, options.timeout):
        return StoreMisconfigured, "it expects TLS: set cassandra_ssl = on"
    if isinstance(error, OperationTimedOut):
        return StoreUnavailable, "it accepts connections but does not answer"
    return StoreUnavailable, f"{_bare(error)}; it may be starting or stopping"


def _login(options: CassandraOptions, text: str) -> Fault:
    if "requires authentication" in text:
        return StoreMisconfigured, "it demands a login: set cassandra_username and cassandra_password"
    if "consistency level" in text or "Unable to perform authentication" in text:
        return StoreUnavailable, (
            "it cannot check the login now, because replicas of its roles are away: bring nodes back, or replicate "
            "the keyspace system_auth"
        )
    return StoreMisconfigured, (
        f"it refuses the user '{options.username}': correct cassandra_username or cassandra_password"
    )


def _secure(options: CassandraOptions, text: str, error: BaseException) -> Fault:
    files = ", ".join(options.ssl_ca) or "the machine's own authorities"
    if "mismatch" in text or "doesn't match" in text:
        return StoreMisconfigured, (
            "its certificate is for other names or addresses: it must name the IP addresses of the nodes, by which "
            "they are reached, or set cassandra_ssl_verify_host = off"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreMisconfigured, (
            f"its certificate cannot be verified with {files} ({_verification(text)}): set cassandra_ssl_ca to the "
            "authorities that issued it"
        )
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text or "packet length" in text:
        return StoreMisconfigured, "it does not speak TLS at this port: set cassandra_ssl = off, or another port"
    if "CERTIFICATE_REQUIRED" in text.upper().replace(" ", "_") or "handshake failure" in text.lower():
        return StoreMisconfigured, "it demands a client certificate: set cassandra_ssl_cert and cassandra_ssl_cert_key"
    if "ALERT" in text:
        return StoreMisconfigured, f"it refused our certificate or version of TLS ({_bare(error)})"
    return StoreUnavailable, f"{_bare(error)}; it may be starting or stopping"


def _verification(text: str) -> str:
    return text.rpartition("certificate verify failed: ")[2].partition(" (")[0]


def _unreachable(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return (error.strerror if isinstance(error, OSError) else None) or _bare(error)


def _says_missing(text: str) -> bool:
    return any(phrase in text for phrase in ("does not exist", "unconfigured table", "No keyspace has been specified"))


def _is_drivers(error: BaseException) -> bool:
    """Whether an error came from the driver or its connections, rather than from values that were handed to it."""
    return (
        isinstance(error, OSError)
        or type(error).__module__.partition(".")[0] == "cassandra"
        or isinstance(error, LoginRefused | ProtocolRefused)
    )


def _bare(error: BaseException) -> str:
    """The error's own words on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rpartition('message="')[2].removesuffix('">') if 'message="' in text else text
