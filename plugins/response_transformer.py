"""response-transformer: changes what the client gets: headers, and fields of JSON bodies."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import Conf, Config, Context, CutAnswer, Plugin, fields
from kong_gevent.pdk.bodies import JSON, dump_json, load_json
from kong_gevent.pdk.encodings import decode, is_encoded, is_readable, readable_only
from kong_gevent.pdk.entry_rules import EntryRules, Value
from kong_gevent.pdk.expression_values import number
from kong_gevent.pdk.header_rules import HeaderRules
from kong_gevent.pdk.pairs import (
    WITH_COLON,
    dots_in_keys,
    header_name_error,
    header_pair_error,
    header_rename_error,
    plain_values,
    renames,
    split_pair,
)

MAX_BODY = 64 << 20
"""Bytes of a body that is changed; a larger one is cut off, so that nothing leaks that should have been removed."""


def _list(description: str, pairs: bool = True, **rules: Any) -> fields.Array:
    if pairs:
        rules["match"] = WITH_COLON
    return fields.Array(fields.String(**rules), required=True, load_default=[], metadata={"description": description})


def _json_types() -> fields.Array:
    return fields.Array(
        fields.Choice("boolean", "number", "string"),
        required=True,
        load_default=[],
        metadata={"description": "Types of the values in `json`, in the same order; text where there is none."},
    )


def _sets(verb: str) -> fields.Record:
    return fields.Record(
        {
            "json": _list(f"Fields of the JSON object to {verb}, as `name:value`."),
            "json_types": _json_types(),
            "headers": _list(f"Headers to {verb}, as `name:value`.", custom_validator=header_pair_error),
        },
        metadata={"description": f"What to {verb}."},
    )


class ResponseTransformerConfig(Config):
    """Settings of response-transformer."""

    remove = fields.Record(
        {
            "json": _list("Fields of the JSON object to remove.", pairs=False),
            "headers": _list("Headers to remove.", pairs=False),
        },
        metadata={"description": "What to remove."},
    )
    rename = fields.Record(
        {
            "json": _list("Fields of the JSON object to rename, as `old:new`."),
            "headers": _list("Headers to rename, as `old:new`.", custom_validator=header_rename_error),
        },
        metadata={"description": "What to rename."},
    )
    replace = _sets("replace")
    add = _sets("add")
    append = _sets("append")
    dots_in_keys = dots_in_keys()


class ResponseTransformer(Plugin):
    """Applies its rules to every answer, whoever made it."""

    name = "response-transformer"
    priority = 800
    config = ResponseTransformerConfig

    def configure(self, conf: Conf) -> None:
        """Parse the rules."""
        conf.headers = HeaderRules(
            remove=[name for name in conf.remove.headers if header_name_error(name) is None],
            rename=renames(conf.rename.headers),
            replace=plain_values(conf.replace.headers),
            add=plain_values(conf.add.headers),
            append=plain_values(conf.append.headers),
            as_found=True,
        )
        conf.json = EntryRules(
            remove=conf.remove.json,
            rename=renames(conf.rename.json),
            replace=_values(conf.replace),
            add=_values(conf.add),
            append=_values(conf.append),
            nested=conf.dots_in_keys is False,
        )
        conf.changes_body = bool(conf.json)
        conf.unused_phases = () if conf.changes_body else ("body_filter",)

    def access(self, ctx: Context, conf: Conf) -> None:
        """Ask the upstream for a whole body in an encoding that can be read, when the body matters."""
        if conf.changes_body:
            if ctx.field("range") is not None:  # of a part nothing could be removed
                ctx.upstream.clear_header("Range")
            accepted = ", ".join(ctx.request.header_values("accept-encoding"))
            if accepted:
                ctx.upstream.set_header("Accept-Encoding", readable_only(accepted))

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Change the fields; a body that will change is sent without encoding, and with a length of its own."""
        if conf.changes_body:
            self._prepare(ctx)
        conf.headers.apply_response(ctx, {})

    def _prepare(self, ctx: Context) -> None:
        response = ctx.response
        if JSON not in ", ".join(response.header_values("content-type")).lower():
            return
        encoding = response.header("content-encoding")
        if not is_readable(encoding):
            self.kit.log.warning("response-transformer: a body in the encoding %s is left as it is", encoding)
            return
        own = ctx.own(self)
        own.encoding, own.parts, own.size = encoding, [], 0
        response.clear_header("Content-Length")
        if is_encoded(encoding):
            response.clear_header("Content-Encoding")

    def body_filter(self, ctx: Context, conf: Conf, chunk: bytes, last: bool) -> bytes | None:
        """Keep the body back until its end, then send it changed."""
        own = ctx.own(self)
        if not hasattr(own, "parts"):
            return None
        own.parts.append(chunk)
        own.size += len(chunk)
        if own.size > MAX_BODY:
            raise CutAnswer("response-transformer: the body is too large to be changed")
        if not last:
            return b""
        try:
            body = decode(own.encoding, b"".join(own.parts), MAX_BODY)
        except ValueError as error:
            raise CutAnswer(f"response-transformer: the body cannot be decoded: {error}") from error
        document = load_json(body)
        if not isinstance(document, dict):
            if body and document is None:
                self.kit.log.warning("response-transformer: the body is no JSON; it is left as it is")
            return body
        conf.json.apply_to_json(document, {})
        return dump_json(document)


def _values(section: Any) -> list[tuple[str, Value]]:
    types = [*section.json_types, *["string"] * len(section.json)]
    pairs = zip(map(split_pair, section.json), types, strict=False)
    return [(name, _constant(_typed(value, kind))) for (name, value), kind in pairs if value]


def _constant(value: Any) -> Value:
    return lambda _: value


def _typed(value: str, kind: str) -> Any:
    if kind == "boolean":
        return value == "true"
    if kind == "number":
        found = number(value)
        return value if found is None else found
    return value
