"""An LDAP server (OpenLDAP's slapd) of the tests' own, with a few people in it."""

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kong_gevent.devtools import certificates
from kong_gevent.devtools.certificates import Certificates
from tests.servers.process import Server, Started, find_program, free_port, ignore

PACKAGE = "slapd"
SUFFIX = "dc=example,dc=test"
BASE = f"ou=people,{SUFFIX}"


class Slapd(Server):
    """One server; ``users``: uid → password, below ``ou=people,dc=example,dc=test``.

    tls  serve ldaps (on ``tls_port``) and StartTLS too, with certificates of its own
    """

    name = "slapd"

    def __init__(
        self,
        folder: Path,
        users: Mapping[str, str],
        address: str = "127.0.0.1",
        port: int = 0,
        started: Started = ignore,
        *,
        tls: bool = False,
    ) -> None:
        super().__init__(folder, address, port, started)
        self.users, self.tls = users, tls
        self.tls_port = free_port(address) if tls else 0

    @property
    def certificates(self) -> Certificates:
        """Of a server with TLS."""
        return Certificates(self.folder / "tls")

    def command(self) -> list[str]:
        """The server in the foreground, its data filled in before the first start."""
        configuration = self.folder / "slapd.conf"
        data = self.folder / "data"
        if not configuration.exists():
            data.mkdir()
            configuration.write_text("\n".join([*self._lines(data), ""]))
            people = self.folder / "people.ldif"
            people.write_text("\n".join(self._people()))
            subprocess.run(
                [find_program("slapadd", PACKAGE), "-q", "-f", str(configuration), "-l", str(people)],
                check=True,
                capture_output=True,
            )
        urls = [
            f"ldap://{self.address}:{self.port}",
            *([f"ldaps://{self.address}:{self.tls_port}"] if self.tls else []),
        ]
        return [find_program("slapd", PACKAGE), "-f", str(configuration), "-h", " ".join(urls), "-d", "0"]

    def ready(self) -> bool:
        """Whether it answers an anonymous bind."""
        try:
            with socket.create_connection((self.address, self.port), 5) as connection:
                connection.sendall(bytes.fromhex("300c020101600702010304008000"))
                return connection.recv(100)[:1] == b"\x30"
        except OSError:
            return False

    def _lines(self, data: Path) -> list[str]:
        lines = [
            *[f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "inetorgperson")],
            "modulepath /usr/lib/ldap",
            "moduleload back_mdb",
            f"pidfile {self.folder / 'slapd.pid'}",
        ]
        if self.tls:
            made = certificates.make(self.certificates.folder, [self.address])
            lines += [
                f"TLSCACertificateFile {made.ca}",
                f"TLSCertificateFile {made.server}",
                f"TLSCertificateKeyFile {made.server_key}",
            ]
        return [
            *lines,
            "database mdb",
            f"suffix {SUFFIX}",
            f"directory {data}",
            "access to attrs=userPassword by anonymous auth",
            "access to * by * read",
        ]

    def _people(self) -> list[str]:
        lines = [
            *[f"dn: {SUFFIX}", "objectClass: dcObject", "objectClass: organization", "dc: example", "o: example", ""],
            *[f"dn: {BASE}", "objectClass: organizationalUnit", "ou: people", ""],
        ]
        for uid, password in self.users.items():
            name = uid.replace("\\", "\\\\").replace(",", "\\,").replace("+", "\\+")
            lines += [
                *[f"dn: uid={name},{BASE}", "objectClass: inetOrgPerson", f"uid: {uid}", f"cn: {uid}", f"sn: {uid}"],
                *[f"userPassword: {password}", ""],
            ]
        return lines
