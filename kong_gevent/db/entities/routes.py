"""routes: which requests lead to which service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.errors import ProtocolError
from kong_gevent.http.target import normalise_path
from kong_gevent.regex import regex_error
from kong_gevent.schema import Errors, Record, checks, fields, names
from kong_gevent.schema.messages import REQUIRED
from kong_gevent.schema.rules import quoted

_HTTP, _STREAM, _TLS, _GRPC = ("http", "https"), ("tcp", "tls", "udp"), ("tls_passthrough",), ("grpc", "grpcs")
_SECURE = ["grpcs", "https", "tls", "tls_passthrough"]
_HTTP_SETS = ("methods", "hosts", "headers", "paths")
_GRPC_SETS = ("hosts", "headers", "paths")


def path_error(path: str) -> str | None:
    """A prefix in normal form, or a regular expression behind `~`."""
    if path.startswith("~/"):
        error = regex_error(path[1:])
        return f"invalid regex: '{path[1:]}' (PCRE returned: {error})" if error else None
    error = names.escapes(path)
    if error:
        return error
    try:
        normal = normalise_path(path)
    except ProtocolError as refused:  # no request with such a path is ever routed
        return f"invalid path: '{path}' ({refused.reason})"
    return None if normal == path else f"non-normalized path, consider use '{normal}' instead"


def header_value_error(value: str) -> str | None:
    """A plain value, or a regular expression behind `~*`."""
    error = regex_error(value[2:]) if value.startswith("~*") else None
    return f"invalid regex: '{value[2:]}' (PCRE returned: {error})" if error else None


def header_name_error(name: str) -> str | None:
    """A header but `Host`, which has a field of its own."""
    if name.lower() == "host":
        return "cannot contain 'host' header, which must be specified in the 'hosts' attribute"
    return names.header_name(name)


class RoutePath(fields.String):
    """One path of a route."""

    built_in = {
        "match_any": {"patterns": ["^/", "^~/"], "err": "should start with: / (fixed path) or ~/ (regex path)"},
        "match_none": [{"pattern": "//", "err": "must not have empty segments"}],
        "custom_validator": path_error,
    }


class RouteHost(fields.String):
    """One host of a route: a wildcard label at one end, a port."""

    built_in = {"custom_validator": names.host_with_wildcard}


def _endpoints(description: str) -> fields.Set:
    """Stream routes are told apart by addresses and ports."""
    endpoint = fields.Record(
        {"ip": fields.IpOrCidr(), "port": fields.Port()}, checks=[checks.AtLeastOneOf("ip", "port")]
    )
    return fields.Set(endpoint, metadata={"description": description})


class Route(Record):
    """Schema of a route; `variant` picks the rules of its protocols."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the route."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the route was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the route was last changed (epoch seconds)."})
    name = fields.Utf8Name(metadata={"description": "Unique name of the route."})
    protocols = fields.Set(
        fields.Protocol(),
        required=True,
        load_default=["http", "https"],
        len_min=1,
        mutually_exclusive_subsets=[list(group) for group in (_HTTP, _STREAM, _TLS, _GRPC)],
        metadata={"description": "Protocols that the route accepts."},
    )
    https_redirect_status_code = fields.Integer(
        required=True,
        load_default=426,
        one_of=[426, 301, 302, 307, 308],
        metadata={"description": "Status of the answer to a request that came in clear to a route for https only."},
    )
    strip_path = fields.Boolean(
        required=True,
        load_default=True,
        metadata={"description": "Whether the matched part of the path is removed before the upstream sees it."},
    )
    preserve_host = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether the upstream sees the client's Host."}
    )
    request_buffering = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether request bodies may be buffered."}
    )
    response_buffering = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether answers' bodies may be buffered."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    service = fields.Foreign("services", metadata={"description": "Service that the route leads to."})
    snis = fields.Set(fields.WildcardHost(), metadata={"description": "Server names of TLS connections."})
    sources = _endpoints("Addresses and ports that connections come from.")
    destinations = _endpoints("Addresses and ports that connections go to.")
    methods = fields.Set(fields.HttpMethod(), metadata={"description": "Request methods."})
    hosts = fields.Array(RouteHost(), metadata={"description": "Hosts, with a wildcard at one end at most."})
    paths = fields.Array(RoutePath(), metadata={"description": "Path prefixes, or regular expressions behind ~."})
    headers = fields.Map(
        fields.String(custom_validator=header_name_error),
        fields.Array(fields.String(custom_validator=header_value_error)),
        metadata={"description": "Headers with the values that match; a value behind ~* is a regular expression."},
    )
    regex_priority = fields.Integer(
        load_default=0, metadata={"description": "Among routes with regular expressions the higher one wins."}
    )
    path_handling = fields.Choice(
        "v0", "v1", load_default="v0", metadata={"description": "How the service's and the request's path are joined."}
    )

    checks = (
        checks.Conditional(
            "protocols",
            {"elements": {"not_one_of": _SECURE}},
            "snis",
            {"len_eq": 0},
            "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self._variants: dict[tuple[str, ...], Record] = {}
        if type(self) is Route:
            self._variants = _variants()

    def variant(self, data: Mapping[str, Any]) -> Record | Errors:
        """The sub-schema of the first protocol that is known; an error when none is."""
        if type(self) is not Route:
            return self
        chosen = data.get("protocols", _HTTP)
        if chosen is None:
            return {"protocols": REQUIRED}
        if not isinstance(chosen, (list, tuple)):
            return {"protocols": "expected a set"}
        if not chosen:
            return {"protocols": "length must be at least 1"}
        for protocol in chosen:
            for group, variant in self._variants.items():
                if protocol in group:
                    return variant
        return {"protocols": f"unknown type: {chosen[0]}"}


def _one_of(names_of: tuple[str, ...], protocols: str) -> str:
    return f"must set one of {quoted(names_of)} when 'protocols' is {protocols}"


def _unless(protocols: tuple[str, ...], names_of: tuple[str, ...], text: str, secure: str) -> checks.Check:
    """Without the secure protocol one of the names must be set; with it, SNIs count too."""
    return checks.ConditionalAtLeastOneOf(
        "protocols",
        {"elements": {"not_one_of": list(protocols)}},
        names_of,
        _one_of(names_of, f"'{text}'"),
        else_match={},
        else_then_at_least_one_of=(*names_of, "snis"),
        else_then_err=_one_of((*names_of, "snis"), f"'{secure}'"),
    )


_STREAM_TEXT = "'tcp', 'tls', 'tls_passthrough' or 'udp'"


def _variant(name: str, never: Mapping[str, str], own_check: checks.Check, **changed: fields.Field) -> Record:
    """A route for one group of protocols. `never`: fields that must stay null → the protocols named in their error."""
    members: dict[str, Any] = dict(changed)
    for field_name, protocols in never.items():
        field: fields.Field = Route._declared_fields[field_name]  # type: ignore[assignment]
        text = f"cannot set '{field_name}' when 'protocols' is {protocols}"
        members[field_name] = field.copy_with(eq=None, err=text)
    made: Record = type(name, (Route,), {**members, "checks": (*Route.checks, own_check)})()
    return made


def _variants() -> dict[tuple[str, ...], Record]:
    """The sub-schemas by group of protocols."""
    stream = dict.fromkeys(("methods", "hosts", "paths", "headers"), _STREAM_TEXT)
    stream_sets = ("sources", "destinations", "snis")
    no_strip = fields.Boolean(
        required=True,
        load_default=False,
        ne=True,
        err="cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
    )
    return {
        _HTTP: _variant(
            "HttpRoute",
            dict.fromkeys(("sources", "destinations"), "'http' or 'https'"),
            _unless(("https", "tls"), _HTTP_SETS, "http", "https"),
        ),
        _GRPC: _variant(
            "GrpcRoute",
            dict.fromkeys(("methods", "sources", "destinations"), "'grpc' or 'grpcs'"),
            _unless(("grpcs",), _GRPC_SETS, "grpc", "grpcs"),
            strip_path=no_strip,
        ),
        _STREAM: _variant(
            "StreamRoute",
            stream,
            checks.ConditionalAtLeastOneOf("protocols", {}, stream_sets, _one_of(stream_sets, "'tcp', 'tls' or 'udp'")),
        ),
        _TLS: _variant(
            "PassthroughRoute",
            {**stream, **dict.fromkeys(("sources", "destinations"), "'tls_passthrough'")},
            checks.ConditionalAtLeastOneOf(
                "protocols", {}, ("snis",), "must set snis when 'protocols' is 'tls_passthrough'"
            ),
        ),
    }


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("routes", Route(), nested="routes", endpoint_key="name", cache_key=("id",))
