"""Tags over all entities: `/tags` and `/tags/{tag}`, read only."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response

from kong_gevent.admin import paging
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path
from kong_gevent.schema import violation

_READ_ONLY = "does not support insert/upsert/update/delete operations"


class Tags:
    """Rows are `{"tag", "entity_name", "entity_id"}`."""

    def __init__(self, node: NodeFacade) -> None:
        self._dao = node.store.tags

    def list_all(self) -> Response:
        """`GET /tags`."""
        arguments = current().query_arguments()
        rows, offset = self._dao.page(**paging.page_options(arguments))
        shaping = {name: value for name, value in arguments.items() if name == "size"}
        return answer(paging.listed(rows, offset, "/tags", shaping))

    def of_tag(self, tags: str) -> Response:
        """`GET /tags/{tag}`."""
        rows, offset = self._dao.page(**paging.page_options(current().query_arguments()), tag=tags)
        return answer(paging.listed(rows, offset, f"/tags/{quote(tags, safe='')}"))

    def create(self) -> Response:
        """`POST /tags` is refused: tags live on their entities."""
        raise violation({"tags": _READ_ONLY})


def blueprint(node: NodeFacade) -> Blueprint:
    """The two paths."""
    made = Blueprint("tags", __name__)
    views = Tags(node)
    add_path(made, "/tags", {"GET": views.list_all, "POST": views.create})
    add_path(made, "/tags/<tags>", {"GET": views.of_tag})
    return made
