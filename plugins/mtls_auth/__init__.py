"""mtls-auth: clients show a certificate in the TLS handshake."""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kong_gevent.pdk import (
    CertificateRequest,
    ClientCertificate,
    Conf,
    Config,
    Context,
    HeaderTemplate,
    Identity,
    Kit,
    checks,
    fields,
)
from kong_gevent.pdk.auth import AuthenticationPlugin, Known, Refusal, anonymous_field
from kong_gevent.plugins.mtls_auth.entities import CREDENTIALS

if TYPE_CHECKING:
    from kong_gevent.pdk.revocation import RevocationLists

HEADERS = ("X-Client-Cert-DN", "X-Client-Cert-SAN")
REFUSED_SECONDS = 10.0
"""For so long, at most, a refusal is remembered: what was missing may come."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class MtlsAuthConfig(Config):
    """Settings of mtls-auth."""

    anonymous = anonymous_field("a valid certificate")
    consumer_by = fields.Array(
        fields.Choice("username", "custom_id"),
        load_default=["username", "custom_id"],
        metadata={"description": "What of a consumer is compared with the names in the certificate, in this order."},
    )
    ca_certificates = fields.Array(
        fields.UUID(),
        required=True,
        metadata={"description": "Identifiers of the CA certificates that a client's certificate must chain to."},
    )
    cache_ttl = fields.Number(
        required=True,
        load_default=60,
        metadata={"description": "Seconds for which the verdict about a certificate is remembered."},
    )
    skip_consumer_lookup = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether a valid certificate is enough, and no consumer is looked for."},
    )
    allow_partial_chain = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether an intermediate authority may be trusted without its root."},
    )
    authenticated_group_by = fields.Choice(
        "CN",
        "DN",
        load_default="CN",
        metadata={
            "description": "With `skip_consumer_lookup`: the group of the client, for acl, is its common name or its "
            "distinguished name."
        },
    )
    default_consumer = fields.String(
        metadata={"description": "Consumer (id or username) of valid certificates that no consumer is found for."}
    )
    revocation_check_mode = fields.Choice(
        "SKIP",
        "IGNORE_CA_ERROR",
        "STRICT",
        load_default="IGNORE_CA_ERROR",
        metadata={
            "description": "Whether revocation lists are looked at: not at all, as far as they can be had, or always; "
            "then a certificate is refused while its list cannot be had."
        },
    )
    http_timeout = fields.Number(
        load_default=30000, gt=0, metadata={"description": "Milliseconds within which a revocation list must come."}
    )
    cert_cache_ttl = fields.Number(
        load_default=60000,
        gt=0,
        metadata={"description": "Milliseconds until a revocation list is fetched again, and certificates looked up."},
    )
    http_proxy_host = fields.Host(metadata={"description": "Proxy for revocation lists with `http` URLs."})
    http_proxy_port = fields.Port(metadata={"description": "Port of that proxy."})
    https_proxy_host = fields.Host(metadata={"description": "Proxy for revocation lists with `https` URLs."})
    https_proxy_port = fields.Port(metadata={"description": "Port of that proxy."})
    send_ca_dn = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether clients are told the names of the CA certificates in the handshake."},
    )

    checks = (
        checks.MutuallyRequired("config.http_proxy_host", "config.http_proxy_port"),
        checks.MutuallyRequired("config.https_proxy_host", "config.https_proxy_port"),
    )


class Finding(NamedTuple):
    """What a certificate proves, for some time."""

    until: float
    refusal: Refusal | None = None
    identity: Identity | None = None
    groups: tuple[str, ...] | None = None
    told: HeaderTemplate | None = None
    verify: str = "SUCCESS"


class MtlsAuth(AuthenticationPlugin):
    """Recognises consumers by their certificate."""

    name = "mtls-auth"
    priority = 1600
    config = MtlsAuthConfig
    entities = (CREDENTIALS,)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.known = Known(kit)
        self.lists: RevocationLists | None = None
        self.authorities = kit.entities("ca_certificates")
        self.credentials = kit.entities("mtls_auth_credentials")

    def configure(self, conf: Conf) -> None:
        """Have clients asked for a certificate, and prepare the refusals."""
        # Loaded when a configuration needs them: they take several MiB.
        from kong_gevent.pdk.revocation import Fetching, RevocationLists

        if self.lists is None:
            self.lists = RevocationLists()
        conf.fetching = Fetching(conf.http_timeout / 1000, conf.cert_cache_ttl / 1000, _proxies(conf))
        conf.strict = conf.revocation_check_mode == "STRICT"
        conf.client_certificates = CertificateRequest(tuple(conf.ca_certificates) if conf.send_ca_dn else ())
        conf.missing = Refusal(401, "No required TLS certificate was sent")
        conf.untrusted = Refusal(401, "TLS certificate failed verification")
        conf.unknown = Refusal(401, "Unauthorized")
        conf.hidden = HeaderTemplate(cleared=HEADERS)

    def skipped(self, ctx: Context, conf: Conf) -> None:
        """What a client says about certificates itself never passes, whoever has authenticated the request."""
        ctx.set_upstream(conf.hidden)

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find out what the certificate proves, unless it is known."""
        certificate = ctx.client_certificate
        if certificate is None:
            ctx.set_upstream(conf.hidden)
            return conf.missing  # type: ignore[no-any-return]
        key = (conf, certificate.key)
        found: Finding | None = self.known.get(key)
        if found is None or found.until <= time():
            version = self.known.version
            found = self._judge(conf, certificate)
            self.known.keep(key, found, version)
        ctx.set_upstream(found.told or conf.hidden)
        ctx.client_verify = found.verify
        if found.identity is None:
            return found.refusal
        ctx.identify(found.identity)
        if found.groups is not None:
            ctx.authenticated_groups = found.groups
        return None

    # --- judging a certificate ---------------------------------------------------------------------------------------

    def _judge(self, conf: Conf, certificate: ClientCertificate) -> Finding:
        """What the certificate proves. Raises `LookupFailed`, `Overloaded`."""
        from kong_gevent.pdk.trust import Trust, Untrusted

        until = time() + conf.cache_ttl
        authorities = self._authorities(conf)
        trust = Trust(authorities, partial=conf.allow_partial_chain)
        try:
            verified = trust.verify(certificate)
            until = min(until, verified.until)
            if conf.revocation_check_mode != "SKIP" and self.lists is not None:
                until = min(until, self.lists.check(verified, conf.fetching, strict=conf.strict))
            names = _names(certificate)
        except (Untrusted, ValueError) as error:
            self.kit.log.info("mtls-auth: certificate %s is refused: %s", certificate.fingerprint, error)
            return Finding(min(until, time() + REFUSED_SECONDS), conf.untrusted, verify=f"FAILED:{error}")
        if conf.skip_consumer_lookup:
            return _without_consumer(conf, certificate, until)
        chain = [authorities[text] for text in verified.authorities]
        identity = self._mapped(names, chain) or self._matched(conf, names, certificate)
        if identity is None and conf.default_consumer is not None:
            consumer = self.kit.load_consumer(conf.default_consumer, by_username=True)
            if consumer is None:
                self.kit.log.error("mtls-auth: default consumer %s is unknown", conf.default_consumer)
            else:
                identity = Identity(consumer, _credential(certificate), _shown(certificate.subject))
        return Finding(until, None if identity else conf.unknown, identity)

    def _authorities(self, conf: Conf) -> dict[str, str]:
        """The certificates of those whom the configuration trusts, as they are now, with their ids."""
        found: dict[str, str] = {}
        for key in conf.ca_certificates:
            authority = self.authorities.select(key, cached=True)
            if authority is None:
                self.kit.log.error("mtls-auth: CA certificate %s does not exist; it is not trusted", key)
            else:
                found[authority["cert"]] = key
        return found

    def _mapped(self, names: list[str], chain: list[str]) -> Identity | None:
        """The consumer that a credential names; one for an authority of the chain comes before one for any."""
        for name in names:
            for authority in (*chain, None):
                reference = {"id": authority} if authority else None
                credential = self.credentials.select_together({"subject_name": name, "ca_certificate": reference})
                if credential is not None:
                    return self.identity(credential, name)
        return None

    def _matched(self, conf: Conf, names: list[str], certificate: ClientCertificate) -> Identity | None:
        """The consumer that has one of the names."""
        for name in names:
            for field in conf.consumer_by or ():
                consumer = self.kit.select_by("consumers", field, name)
                if consumer is not None:
                    return Identity(consumer, _credential(certificate), name)
        return None


def _proxies(conf: Conf) -> dict[str, str]:
    places = {
        "http": (conf.http_proxy_host, conf.http_proxy_port),
        "https": (conf.https_proxy_host, conf.https_proxy_port),
    }
    return {scheme: f"http://{host}:{port}" for scheme, (host, port) in places.items() if host}


def _names(certificate: ClientCertificate) -> list[str]:
    """What a certificate is called: its alternative names, or its common names where it has none of those.

    Raises `ValueError` when they make no sense. What no entity can be called is left out.
    """
    names = [text for _, text in certificate.alternative_names] or certificate.common_names
    return [name for name in names if name and not _CONTROLS.search(name)]


def _credential(certificate: ClientCertificate) -> dict[str, Any]:
    """What stands for the credential of a client that none is stored for."""
    return {"id": certificate.fingerprint}


def _shown(text: str) -> str:
    """A text of a certificate as the value of a header field: control characters as RFC 4514 escapes them."""
    return _CONTROLS.sub(lambda match: f"\\{ord(match.group()):02X}", text)


def _without_consumer(conf: Conf, certificate: ClientCertificate, until: float) -> Finding:
    """What a certificate proves when nobody asks for a consumer."""
    subject = _shown(certificate.subject)
    alternative = ", ".join(f"{kind}:{_shown(text)}" for kind, text in certificate.alternative_names)
    values = [(name, value) for name, value in zip(HEADERS, (subject, alternative), strict=True) if value]
    told = HeaderTemplate([(name, HeaderTemplate.constant(value)) for name, value in values], cleared=HEADERS)
    groups = [certificate.subject] if conf.authenticated_group_by == "DN" else certificate.common_names
    return Finding(until, None, Identity(None, _credential(certificate), subject), tuple(groups), told)
