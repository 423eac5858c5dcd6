"""Certificates of TLS listeners: what the settings name, or a self-signed pair that is made in the prefix."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kong_gevent.conf import dh
from kong_gevent.errors import ConfigurationError

if TYPE_CHECKING:
    from kong_gevent.conf.settings import Settings

PREFIXES = {"proxy": "", "admin": "admin_", "status": "status_"}
"""Listener role → how the names of its TLS settings begin."""
DEFAULT_NAMES = {"proxy": "kong-default", "admin": "admin-kong-default", "status": "status-kong-default"}
SUITES: dict[str, tuple[str, str | None, bool | None, str | None]] = {
    "modern": ("TLSv1.3", None, None, None),
    "intermediate": (
        "",
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
        "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
        False,
        "ffdhe2048",
    ),
    "old": ("TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", "DEFAULT@SECLEVEL=0", True, "ffdhe2048"),
    "fips": ("TLSv1.2", "ECDHE+AESGCM:DHE+AESGCM", None, "ffdhe2048"),
    "custom": ("", None, None, None),
}
"""`ssl_cipher_suite` → protocols, ciphers, server preference; what is empty or None the settings say.

The last is the Diffie-Hellman group where `ssl_dhparam` names none; without one there is no DHE.
"""
_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_YEARS = 20


def default_pairs(prefix: str, role: str) -> list[tuple[str, str]]:
    """Paths (certificate, key) of a role's generated pairs, RSA and ECDSA, whether or not they are there."""
    base = os.path.join(prefix, "ssl", DEFAULT_NAMES[role])
    return [(f"{base}{kind}.crt", f"{base}{kind}.key") for kind in ("", "-ecdsa")]


def pairs(settings: Settings, role: str) -> list[tuple[str, str]]:
    """Certificate and key of a role's TLS listeners, each a path, PEM text or its base64."""
    name = PREFIXES[role] + "ssl_cert"
    given = settings.get(name)
    if not given:
        return default_pairs(settings.prefix, role)
    return list(zip(given, settings.get(f"{name}_key") or [], strict=True))


def listens_with_tls(settings: Settings, role: str) -> bool:
    """Whether a role (both Admin APIs are one) has a TLS listener."""
    listeners = getattr(settings, f"{role}_listeners")
    if role == "admin":
        listeners += settings.classic_admin_listeners
    return any(listener.ssl for listener in listeners)


def make_defaults(settings: Settings) -> None:
    """Make the pairs of roles that listen with TLS and have no certificate. Raises ConfigurationError."""
    for role in PREFIXES:
        if settings.get(PREFIXES[role] + "ssl_cert") or not listens_with_tls(settings, role):
            continue
        for number, (certificate, key) in enumerate(default_pairs(settings.prefix, role)):
            if os.path.exists(certificate) and os.path.exists(key):
                continue
            try:
                _make(Path(certificate), Path(key), elliptic=bool(number))
            except OSError as error:
                raise ConfigurationError(f"cannot write {certificate}: {error.strerror}") from error


def _make(certificate: Path, key: Path, elliptic: bool) -> None:
    """A self-signed pair for `localhost` and this machine's loopback addresses."""
    # Imported late: most nodes have certificates of their own.
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    private = ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key, secret, 0o600)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and never readable for others in between."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=mode)
    temporary.write_bytes(data)
    temporary.replace(path)


def pem_of(value: str) -> bytes:
    """The PEM text that a setting's value stands for: a path, PEM text or its base64. Raises OSError, ValueError."""
    if value.lstrip().startswith("-----BEGIN"):
        return value.encode()
    if os.path.exists(value):
        return Path(value).read_bytes()
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise FileNotFoundError(2, "no such file", value) from None
    if not decoded.lstrip().startswith(b"-----BEGIN"):
        raise ValueError("neither a path, nor PEM text, nor its base64")
    return decoded


def load_pair(context: Any, certificate: bytes, key: bytes) -> None:
    """Add a certificate (with its chain) and its key, both PEM, to a context. Raises `ssl.SSLError`, `ValueError`.

    The module only reads files; these are in memory, so a key that came as text never lies on a disk.
    """
    with _as_file(certificate) as chain, _as_file(key) as secret:
        context.load_cert_chain(chain, secret, password=lambda: "")


def reason_of(error: Exception) -> str:
    """Why a certificate or key cannot be used, in words and without OpenSSL's code places."""
    told = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(told).lower().replace("_", " ")


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of a file in memory with this content."""
    file = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(file, data)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def dh_parameters(values: Any, read: Callable[[str], bytes] = pem_of) -> bytes | None:
    """The parameters for DHE that the settings name, PEM: a group of RFC 7919, or what `read` makes of them.

    Raises ValueError with a message about the setting.
    """
    named = values.get("ssl_dhparam")
    text = named or SUITES[values.get("ssl_cipher_suite") or "intermediate"][3]
    if text is None or text in dh.GROUPS:
        return None if text is None else dh.group(text)
    try:
        return read(text)
    except (OSError, ValueError):
        raise ValueError(f"ssl_dhparam: failed loading parameters from {text[:100]}") from None


def server_context(values: Any, read: Callable[[str], bytes] = pem_of) -> ssl.SSLContext:
    """A context for incoming connections by the `ssl_*` settings, without a certificate yet.

    `values`: an object with a `get` like that of `Settings`; `read`: see `pem_of`. Raises ValueError with a message
    about a setting.
    """
    suite = values.get("ssl_cipher_suite") or "intermediate"
    if suite not in SUITES:
        raise ValueError(f"Undefined cipher suite {suite}")
    protocols, ciphers, prefer_server, _ = SUITES[suite]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(context, protocols or values.get("ssl_protocols") or "TLSv1.2 TLSv1.3")
    ciphers = ciphers or values.get("ssl_ciphers")
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise ValueError(f"ssl_ciphers: no cipher can be selected from '{ciphers}'") from None
    if prefer_server is None:
        prefer_server = bool(values.get("ssl_prefer_server_ciphers"))
    _set_option(context, ssl.OP_CIPHER_SERVER_PREFERENCE, prefer_server)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if not values.get("ssl_session_tickets"):
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    load_dh_parameters(context, values, read)
    return context


def load_dh_parameters(context: Any, values: Any, read: Callable[[str], bytes] = pem_of) -> None:
    """Give a context the parameters for DHE that the settings name. Raises ValueError with a message about them."""
    parameters = dh_parameters(values, read)
    if parameters is None:
        return
    try:
        with _as_file(parameters) as path:
            context.load_dh_params(path)
    except (OSError, ssl.SSLError):
        raise ValueError("ssl_dhparam: what it names are no Diffie-Hellman parameters") from None


def _set_option(context: ssl.SSLContext, option: ssl.Options, on: bool) -> None:
    context.options = context.options | option if on else context.options & ~option


def _set_versions(context: ssl.SSLContext, text: str) -> None:
    names = text.split()
    unknown = [name for name in names if name not in _VERSIONS]
    if unknown or not names:
        raise ValueError(f"ssl_protocols has an invalid value: '{text}' ({', '.join(_VERSIONS)})")
    order = list(_VERSIONS)
    positions = sorted(order.index(name) for name in set(names))
    if positions != list(range(positions[0], positions[-1] + 1)):
        raise ValueError(f"ssl_protocols has an invalid value: '{text}' (versions that follow one another)")
    context.minimum_version = _VERSIONS[order[positions[0]]]
    context.maximum_version = _VERSIONS[order[positions[-1]]]
