"""Certificates for a local server: an authority of its own, a server's and a client's certificate, PKCS12 stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kong_gevent.devtools import programs

PASSWORD = "changeit"
"""Of the PKCS12 stores, which lie in a folder that only their user reads."""
_DAYS = "3650"


@dataclass(frozen=True)
class Certificates:
    """Files in one folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate (PEM)."""
        return self.folder / "ca.pem"

    @property
    def client(self) -> Path:
        """The client's certificate (PEM); its key is `client_key`."""
        return self.folder / "client.pem"

    @property
    def client_key(self) -> Path:
        """The client's private key (PEM)."""
        return self.folder / "client.key"

    @property
    def server(self) -> Path:
        """The server's certificate (PEM); its key is `server_key`."""
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        """The server's private key (PEM)."""
        return self.folder / "server.key"

    @property
    def key_store(self) -> Path:
        """The server's certificate and key as a PKCS12 store."""
        return self.folder / "server.p12"

    @property
    def trust_store(self) -> Path:
        """The authority as a PKCS12 store for Java; made by `make_trust_store`."""
        return self.folder / "trust.p12"


def make(folder: Path, addresses: Sequence[str], names: Sequence[str] = ("localhost",)) -> Certificates:
    """Make all files but the trust store, for a server at these IP addresses and names; existing ones stay.

    Raises ToolError when openssl is missing or fails.
    """
    made = Certificates(folder)
    if made.key_store.exists():
        return made
    openssl = programs.find("openssl", "making certificates")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    # openssl adds CA:TRUE by itself; strict verifiers also want to know what the key is for.
    programs.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS, "-subj", "/CN=kong-gevent local CA",
         "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.pem"], folder,
    )  # fmt: skip
    subjects = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    for name, alternatives in (("client", "DNS:client"), ("server", subjects)):
        _sign(openssl, folder, name, alternatives)
    programs.run(
        [openssl, "pkcs12", "-export", "-in", "server.pem", "-inkey", "server.key", "-certfile", "ca.pem",
         "-name", "server", "-passout", f"pass:{PASSWORD}", "-out", made.key_store.name], folder,
    )  # fmt: skip
    return made


def make_trust_store(made: Certificates) -> None:
    """Make the trust store, which only Java's own tool can write. Raises ToolError when keytool is missing or fails."""
    if made.trust_store.exists():
        return
    keytool = programs.find("keytool", "making a trust store")
    programs.run(
        [keytool, "-importcert", "-noprompt", "-alias", "ca", "-file", made.ca.name, "-keystore",
         made.trust_store.name, "-storetype", "PKCS12", "-storepass", PASSWORD], made.folder,
    )  # fmt: skip


def _sign(openssl: str, folder: Path, name: str, alternatives: str) -> None:
    programs.run(
        [openssl, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
         "-out", f"{name}.csr"], folder,
    )  # fmt: skip
    (folder / f"{name}.ext").write_text(
        f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n"
        "keyUsage=critical,digitalSignature,keyEncipherment\nauthorityKeyIdentifier=keyid\n"
    )
    programs.run(
        [openssl, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", _DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.pem"], folder,
    )  # fmt: skip
