"""What single entities do otherwise than `entities` says."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response

from kong_gevent.admin import paging
from kong_gevent.admin.certificates import CertificateViews
from kong_gevent.admin.entities import EntityViews, Row
from kong_gevent.admin.nested import NestedViews, NoReference, ReferenceViews
from kong_gevent.admin.render import answer, message, not_found
from kong_gevent.admin.request import current
from kong_gevent.admin.targets import TargetViews, UpstreamTargets
from kong_gevent.db.paging import check_size
from kong_gevent.schema import infer


class ConsumerViews(EntityViews):
    """Consumers can also be looked up by `custom_id`."""

    def list_all(self) -> Response:
        """`GET /consumers?custom_id=x` is a list of none or one."""
        arguments = current().query_arguments()
        if "custom_id" not in arguments:
            return super().list_all()
        wanted = arguments["custom_id"]
        if not isinstance(wanted, str):
            return message(400, "custom_id must be an unempty string")
        check_size(paging.page_options(arguments, tags=True).get("size"))
        row = self.dao.select_by("custom_id", wanted)
        return answer({"data": [] if row is None else [self.show(row)], "next": None})


class PluginViews(EntityViews):
    """A plugin's name says which schema its `config` follows, so partial updates need the stored one."""

    def body(self, stored: Mapping[str, object] | None = None) -> Row:
        """What was sent, `config` typed by the schema of the named or stored plugin."""
        client = current()
        if stored is None or not client.is_form or "name" in client.sent:
            return super().body(stored)
        typed = infer(self.entity.schema, {**client.sent, "name": stored["name"]})
        del typed["name"]
        return typed

    def change(self, **values: str) -> Response:
        """`PATCH /plugins/{p}`: the look-up of the name comes first, so nothing there is plainly "not found"."""
        row = self.find(values[self.name])
        if row is None:
            return not_found()
        made = self.update(row["id"], self.body(row))
        self.node.published()
        return answer(self.show(made))


VIEWS: Mapping[str, type[EntityViews]] = {
    "certificates": CertificateViews,
    "consumers": ConsumerViews,
    "plugins": PluginViews,
    "targets": TargetViews,
}
"""Entity → its views; all others are plain `EntityViews`."""

NESTED: Mapping[tuple[str, str], type[NestedViews]] = {("targets", "upstream"): UpstreamTargets}
"""(entity, foreign field) → the views below that parent; all others are plain `NestedViews`."""

REFERENCES: Mapping[tuple[str, str], type[ReferenceViews]] = {
    ("snis", "certificate"): NoReference,
    ("targets", "upstream"): NoReference,
}
"""(entity, foreign field) → the views of what the entity refers to; all others are plain `ReferenceViews`."""
