"""ldap-auth: clients show the name and password that they have in an LDAP directory."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import sha256

from kong_gevent.pdk import Conf, Config, Context, HeaderTemplate, checks, fields
from kong_gevent.pdk.auth import AuthenticationPlugin, Refusal, anonymous_field, challenge
from kong_gevent.plugins.ldap_auth.client import Connection, Directory, TlsFailed, escape

HEADERS = ("Proxy-Authorization", "Authorization")


class LdapAuthConfig(Config):
    """Settings of ldap-auth."""

    ldap_host = fields.Host(required=True, metadata={"description": "Name or address of the LDAP server."})
    ldap_port = fields.Port(
        required=True, load_default=389, metadata={"description": "Port of the LDAP server; usually 636 with `ldaps`."}
    )
    ldaps = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether to connect with TLS from the start."}
    )
    start_tls = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether to change to TLS by StartTLS."}
    )
    verify_ldap_host = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the server's certificate is verified against the trusted authorities."},
    )
    base_dn = fields.String(
        required=True, metadata={"description": "Where users are, such as `ou=people,dc=example,dc=com`."}
    )
    attribute = fields.String(
        required=True, metadata={"description": "Attribute that holds the user's name, such as `uid` or `cn`."}
    )
    cache_ttl = fields.Number(
        required=True,
        load_default=60,
        metadata={"description": "Seconds for which the server's verdict is remembered; 0: not at all."},
    )
    hide_credentials = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether name and password are taken out of the request before the upstream gets it."},
    )
    timeout = fields.Number(
        load_default=10000, metadata={"description": "Milliseconds for each step of asking the server."}
    )
    keepalive = fields.Number(
        load_default=60000, metadata={"description": "Milliseconds for which an idle connection is kept."}
    )
    anonymous = anonymous_field("valid credentials")
    header_type = fields.String(
        load_default="ldap", metadata={"description": "Scheme in the header, such as `ldap` or `basic`."}
    )
    realm = fields.String(metadata={"description": "The realm named in `WWW-Authenticate`, if any."})

    config_checks = (
        checks.Conditional(
            "ldaps",
            {"eq": True},
            "start_tls",
            {"eq": False},
            "'ldaps' and 'start_tls' cannot be enabled simultaneously",
        ),
    )


class LdapAuth(AuthenticationPlugin):
    """Binds as the user; there is no consumer, only a name."""

    name = "ldap-auth"
    priority = 1200
    config = LdapAuthConfig

    def configure(self, conf: Conf) -> None:
        """Prepare the server, the refusal, and how credentials are read."""
        scheme = conf.header_type or "ldap"
        conf.pattern = re.compile(rf"\s*{re.escape(scheme)}\s+(\S+)\s*\Z", re.IGNORECASE)
        shown = "LDAP" if scheme == "ldap" else scheme
        conf.refusal = Refusal(401, "Unauthorized", challenge(shown, conf.realm))
        conf.hidden = HeaderTemplate(cleared=HEADERS)
        ttl = f"{conf.cache_ttl:g}"
        conf.cache_prefix = f"{conf.ldap_host.lower()}:{conf.ldap_port}:{conf.base_dn}:{conf.attribute}:{ttl}:"
        timeout = conf.timeout / 1000 if conf.timeout else None
        tls = self.kit.tls_context(conf.verify_ldap_host) if conf.ldaps or conf.start_tls else None
        host, port, start_tls = conf.ldap_host.strip("[]"), conf.ldap_port, conf.start_tls
        conf.directory = Directory(
            lambda: Connection(host, port, timeout, tls, start_tls), (conf.keepalive or 0) / 1000
        )

    def retire(self, conf: Conf) -> None:
        """Close idle connections."""
        conf.directory.close()

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Ask the directory, unless its verdict is known."""
        refusal: Refusal = conf.refusal
        given = self._credentials(ctx, conf)
        if given is None:
            return refusal
        user, password = given
        key = "ldap_auth_cache:" + sha256(f"{conf.cache_prefix}{user}:{password}".encode()).hexdigest()
        accepted: bool | None
        try:
            if conf.cache_ttl > 0:
                # A refusal is kept as a miss: those who guess passwords must not crowd out what is in use.
                ttl = conf.cache_ttl
                accepted = self.kit.cached(key, lambda: self._ask(conf, user, password) or None, ttl, ttl)
            else:
                accepted = self._ask(conf, user, password)
        except TlsFailed as error:
            self.kit.log.error("ldap-auth: %s", error)
            return refusal
        if not accepted:
            return refusal
        if conf.hide_credentials:
            ctx.upstream.set_all(conf.hidden)
        ctx.authenticate(None, {"id": key, "username": user, "password": password}, user)
        return None

    @staticmethod
    def _ask(conf: Conf, user: str, password: str) -> bool:
        directory: Directory = conf.directory
        return directory.accepts(f"{conf.attribute}={escape(user)},{conf.base_dn}", password)

    @staticmethod
    def _credentials(ctx: Context, conf: Conf) -> tuple[str, str] | None:
        """Name and password; None when there are none, or no password: such a bind would be an anonymous one."""
        for name in HEADERS:
            match = conf.pattern.match(ctx.request.header(name) or "")
            if match is None:
                continue
            try:
                user, colon, password = b64decode(match.group(1), validate=True).decode().partition(":")
            except ValueError:
                continue
            if colon and user and password:
                return user, password
        return None
