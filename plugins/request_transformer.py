"""request-transformer: changes what the upstream gets: method, path, headers, query and body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, fields
from kong_gevent.pdk.bodies import FORM, JSON, MULTIPART, dump_json, load_json, multipart_form
from kong_gevent.pdk.encodings import decode, is_encoded, is_readable
from kong_gevent.pdk.entry_rules import EntryRules, Value
from kong_gevent.pdk.expressions import NOT_ALLOWED, ExpressionError
from kong_gevent.pdk.header_rules import HeaderRules
from kong_gevent.pdk.outcomes import Outcomes
from kong_gevent.pdk.pairs import (
    WITH_COLON,
    dots_in_keys,
    header_name_error,
    header_pair_error,
    header_rename_error,
    renames,
    split_pair,
    templates,
)
from kong_gevent.pdk.queries import encode_query, parse_query
from kong_gevent.pdk.templates import Template, names_for

MAX_BODY = 8 << 20
"""Bytes of a body that is changed; a larger one is refused (413)."""
BODILESS_METHODS = frozenset(("GET", "HEAD", "TRACE"))
KEPT_QUERY = 512
"""Length of the longest query whose change is kept."""
ALL_ARGUMENTS = 100_000
"""More than a request line can hold."""
Validator = Callable[[str], str | None]


def _template_error(value: str) -> str | None:
    try:
        Template(value)
    except ExpressionError as error:
        return f"value '{value}' is not in supported format, error:{error}"
    return None


def _sets_header(element: str) -> str | None:
    return header_pair_error(element) or _template_error(split_pair(element)[1] or "")


def _has_value(element: str) -> str | None:
    name, value = split_pair(element)
    return None if value else f"key '{name}' has no value"


def _sets_entry(element: str) -> str | None:
    return _has_value(element) or _template_error(split_pair(element)[1] or "")


def _list(description: str, check: Validator | None = None, match: str | None = None) -> fields.Array:
    rules = {name: rule for name, rule in (("custom_validator", check), ("match", match)) if rule is not None}
    return fields.Array(
        fields.String(**rules), required=True, load_default=[], metadata={"description": f"{description}."}
    )


def _section(verb: str, form: str, header: Validator, entry: Validator | None, **more: Any) -> fields.Record:
    colon = None if form == "name" else WITH_COLON
    return fields.Record(
        {
            "body": _list(f"Body fields to {verb}, as `{form}`", entry),
            "headers": _list(f"Headers to {verb}, as `{form}`", header, colon),
            "querystring": _list(f"Query arguments to {verb}, as `{form}`", entry),
            **more,
        },
        metadata={"description": f"What to {verb}."},
    )


class RequestTransformerConfig(Config):
    """Settings of request-transformer."""

    http_method = fields.String(match="^%u+$", metadata={"description": "The method to ask the upstream with."})
    remove = _section("remove", "name", header_name_error, None)
    rename = _section("rename", "old:new", header_rename_error, _has_value)
    replace = _section(
        "replace",
        "name:value",
        _sets_header,
        _sets_entry,
        uri=fields.String(
            custom_validator=_template_error, metadata={"description": "The path to ask the upstream for."}
        ),
    )
    add = _section("add", "name:value", _sets_header, _sets_entry)
    append = _section("append", "name:value", _sets_header, _sets_entry)
    dots_in_keys = dots_in_keys()


class RequestTransformer(Plugin):
    """Applies its rules in a fixed order: path, method, headers, body, query."""

    name = "request-transformer"
    priority = 801
    config = RequestTransformerConfig
    protocols_allowed = "any"

    def configure(self, conf: Conf) -> None:
        """Parse the rules and their templates."""
        conf.headers = HeaderRules(
            remove=conf.remove.headers,
            rename=renames(conf.rename.headers),
            replace=templates(conf.replace.headers),
            add=templates(conf.add.headers),
            append=templates(conf.append.headers),
        )
        conf.body = _entries(conf, "body", nested=conf.dots_in_keys is False)
        conf.query = _entries(conf, "querystring")
        conf.changed_queries = Outcomes()
        conf.path = Template(conf.replace.uri) if conf.replace.uri else None
        conf.changes_body, conf.changes_query = bool(conf.body), bool(conf.query)
        conf.only_headers = not (conf.path or conf.http_method or conf.changes_body or conf.changes_query)
        conf.dynamic = any("$(" in str(section) for section in (conf.replace, conf.add, conf.append))

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Change the request; a template that fails ends it."""
        try:
            names = self._names(ctx) if conf.dynamic else {}
            if conf.only_headers:
                conf.headers.apply_upstream(ctx, names)
            else:
                self._transform(ctx, conf, names)
        except ExpressionError as error:
            self.kit.log.error("request-transformer: a template failed: %s", error)
            return ctx.error(500)
        return None

    def _names(self, ctx: Context) -> dict[str, Any]:
        if not self.kit.runs_programs:
            raise ExpressionError(NOT_ALLOWED)
        return names_for(ctx)

    @staticmethod
    def _transform(ctx: Context, conf: Conf, names: Mapping[str, Any]) -> None:
        if conf.path is not None:
            path = conf.path.render(names)
            ctx.upstream.set_path(path if path.startswith("/") else f"/{path}")
        if conf.http_method:
            _change_method(ctx, conf.http_method)
        conf.headers.apply_upstream(ctx, names)
        if conf.changes_body:
            _change_body(ctx, conf.body, names)
        if conf.changes_query:
            _change_query(ctx, conf, names)


def _entries(conf: Conf, part: str, nested: bool = False) -> EntryRules:
    def values(verb: str) -> list[tuple[str, Value]]:
        return [(name, template.render) for name, template in templates(getattr(conf, verb)[part])]

    return EntryRules(
        remove=conf.remove[part],
        rename=renames(conf.rename[part]),
        replace=values("replace"),
        add=values("add"),
        append=values("append"),
        nested=nested,
    )


def _arguments(ctx: Context) -> dict[str, Any]:
    return parse_query(ctx.upstream.raw_query, ALL_ARGUMENTS)


def _change_query(ctx: Context, conf: Conf, names: Mapping[str, Any]) -> None:
    """Change the query; what constant rules make of one is kept."""
    upstream = ctx.upstream
    query = upstream.raw_query
    changed = conf.changed_queries.get(query)
    if changed is None:
        arguments = parse_query(query, ALL_ARGUMENTS)
        conf.query.apply_to_arguments(arguments, names)
        changed = encode_query(arguments)
        if not conf.dynamic and len(query) <= KEPT_QUERY:
            conf.changed_queries.keep(query, changed)
    upstream.set_raw_query(changed)


def _change_method(ctx: Context, method: str) -> None:
    """Change the method; the fields of a form go into the query when the new one has no body."""
    ctx.upstream.set_method(method)
    if method in BODILESS_METHODS and FORM in _content_type(ctx):
        form = parse_query((_plain_body(ctx) or b"").decode("latin-1"), ALL_ARGUMENTS)
        if form:
            arguments = _arguments(ctx)
            for name, value in form.items():
                found = arguments.get(name)
                values = value if isinstance(value, list) else [value]
                earlier = found if isinstance(found, list) else [] if found is None else [found]
                arguments[name] = [*earlier, *values]
            ctx.upstream.set_query(arguments)


def _content_type(ctx: Context) -> str:
    """The media type of the request; one that a rule for headers has given counts when the client named none."""
    return (ctx.request.header("content-type") or ctx.upstream.header("content-type") or "").lower()


def _plain_body(ctx: Context) -> bytes | None:
    """The body without its content encoding; None when it cannot be read."""
    encoding = ctx.request.header("content-encoding")
    if not is_readable(encoding):
        return None
    try:
        return decode(encoding, ctx.request.raw_body(MAX_BODY), MAX_BODY)
    except ValueError:
        return None


def _change_body(ctx: Context, rules: EntryRules, names: Mapping[str, Any]) -> None:
    """Change the body when its type is known and it can be read; then it goes out without content encoding."""
    kind = _content_type(ctx)
    change = next((function for media, function in _BODIES.items() if media in kind), None)
    body = _plain_body(ctx) if change is not None else None
    if change is None or body is None or not (body or rules.creates):
        return
    changed = change(ctx, body, rules, names)
    if changed is not None:
        ctx.upstream.set_body(changed)
        if is_encoded(ctx.request.header("content-encoding")):
            ctx.upstream.clear_header("Content-Encoding")


def _change_json(ctx: Context, body: bytes, rules: EntryRules, names: Mapping[str, Any]) -> bytes | None:
    document = load_json(body) if body.strip() else {}
    if not isinstance(document, dict):
        return None
    rules.apply_to_json(document, names)
    return dump_json(document)


def _change_form(ctx: Context, body: bytes, rules: EntryRules, names: Mapping[str, Any]) -> bytes | None:
    arguments = parse_query(body.decode("latin-1"), ALL_ARGUMENTS)
    rules.apply_to_arguments(arguments, names)
    return encode_query(arguments).encode("latin-1")


def _change_multipart(ctx: Context, body: bytes, rules: EntryRules, names: Mapping[str, Any]) -> bytes | None:
    """Renames come first here, as in Kong; appending is not known."""
    kind = ctx.request.header("content-type") or ctx.upstream.header("content-type") or ""
    form = multipart_form(kind, body, ALL_ARGUMENTS)
    if form is None:
        return None
    for old, new in rules.rename:
        form.rename(old, new)
    for name in rules.remove:
        form.remove(name)
    for name, value in rules.replace:
        if name in form:
            form.set(name, value(names))
    for name, value in rules.add:
        if name not in form:
            form.set(name, value(names))
    return form.encode()


_BODIES = {JSON: _change_json, FORM: _change_form, MULTIPART: _change_multipart}
