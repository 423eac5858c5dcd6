"""TLS to Cassandra: the context, and finding out what is wrong with a handshake."""

from __future__ import annotations

import socket
import ssl

from kong_gevent.db.strategies.cassandra.options import SYSTEM, CassandraOptions
from kong_gevent.errors import StoreMisconfigured

_VERDICT = 1.0  # seconds for a server to object to the client's certificate, once the handshake is done


def context(options: CassandraOptions) -> ssl.SSLContext | None:
    """The context of TLS, None without. Raises StoreMisconfigured when a file cannot be used."""
    if not options.ssl:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.check_hostname = options.ssl_verify and options.ssl_verify_host
    made.verify_mode = ssl.CERT_REQUIRED if options.ssl_verify else ssl.CERT_NONE
    files = [name for name in options.ssl_ca if name != SYSTEM]
    try:
        if len(files) < len(options.ssl_ca) or not files:
            made.load_default_certs()
        for name in files:
            made.load_verify_locations(cafile=name)
    except OSError as error:
        raise StoreMisconfigured(
            f"cannot use the certificate authorities in {name}: {error.strerror or error}; correct cassandra_ssl_ca"
        ) from error
    if options.ssl_cert:
        try:
            made.load_cert_chain(options.ssl_cert, options.ssl_cert_key)
        except OSError as error:
            raise StoreMisconfigured(
                f"cannot use the client certificate {options.ssl_cert}: {error.strerror or error}; "
                "correct cassandra_ssl_cert and cassandra_ssl_cert_key"
            ) from error
    return made


def speaks_tls(address: str, port: int, timeout: float) -> bool:
    """Whether the server answers a TLS handshake, with whatever certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), timeout) as plain, context.wrap_socket(plain) as secure:
            return secure.version() is not None
    except ssl.SSLError as error:
        # An alert, as for a missing client certificate, is an answer in TLS as well.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def objection(options: CassandraOptions, address: str) -> OSError | None:
    """Why a handshake with our certificate and authorities fails; None when it does not.

    The driver may find the connection closed before it reads the server's reason: this waits for that.
    """
    made = context(options)
    assert made is not None
    try:
        with (
            socket.create_connection((address, options.port), options.timeout) as plain,
            made.wrap_socket(plain, server_hostname=address if made.check_hostname else None) as secure,
        ):
            secure.settimeout(_VERDICT)
            secure.recv(1)
    except TimeoutError:
        return None  # nobody objects
    except OSError as error:
        return error
    return None
