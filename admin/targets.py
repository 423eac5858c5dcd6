"""Targets: they are reached through their upstream only, and carry the health that this node sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response

from kong_gevent.admin import paging
from kong_gevent.admin.entities import EntityViews, Row
from kong_gevent.admin.nested import COLLECTION_METHODS, ENTITY_METHODS, NestedViews, absent
from kong_gevent.admin.render import answer, empty, message, not_found
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path
from kong_gevent.balancer.health import UpstreamHealth
from kong_gevent.db.entities.targets import normalised
from kong_gevent.db.paging import check_size
from kong_gevent.errors import InvalidOffset
from kong_gevent.schema.names import parse_host

OFF = "HEALTHCHECKS_OFF"


class TargetViews(EntityViews):
    """The paths of their own are listed, and answer that there is nothing."""

    def register(self, blueprint: Blueprint) -> None:
        """Add `/targets` and `/targets/{targets}`."""
        add_path(blueprint, self.path(), dict.fromkeys(COLLECTION_METHODS, absent))
        add_path(blueprint, f"{self.path()}/<{self.name}>", dict.fromkeys(ENTITY_METHODS, absent))


class UpstreamTargets(NestedViews):
    """`/upstreams/{u}/targets…` and `/upstreams/{u}/health`."""

    def key_value(self, key: str) -> str:
        """A target in a path may be written in short as well."""
        return normalised(key) or key

    def list_all(self, **values: str) -> Response:
        """`GET …/targets`: the newest first."""
        return self._page(values, self.path(), lambda upstream, targets: targets)

    def list_raw(self, **values: str) -> Response:
        """`GET …/targets/all`: in the order of the ids."""
        upstream = self.parent.find(values[self.parent.name])
        if upstream is None:
            return not_found()
        arguments = current().query_arguments()
        rows, offset = self.child.dao.page(**paging.page_options(arguments), parent=(self.field, upstream["id"]))
        return answer(paging.listed(rows, offset, self._own_path(f"{self.path()}/all", values)))

    def health(self, **values: str) -> Response:
        """`GET /upstreams/{u}/health`; `?balancer_health=1` for the upstream as a whole."""
        if current().query_arguments().get("balancer_health") == "1":
            return self._overall(values)
        return self._page(values, f"/{self.parent.entity.collection}/<{self.parent.name}>/health", self._healths)

    def _overall(self, values: dict[str, str]) -> Response:
        upstream = self.parent.find(values[self.parent.name])
        if upstream is None:
            return not_found()
        known = self._known(upstream)
        shown = {
            "id": upstream["id"],
            "health": known.balancer_health if known.checked else OFF,
            "balancer_health": known.balancer_health,
            "details": known.details,
        }
        return answer({"data": shown, "next": None, "node_id": self.child.node.node_id})

    def _known(self, upstream: Row) -> UpstreamHealth:
        """What the balancer says, or what holds without one: every target gets its share."""
        return self.child.node.upstream_health(upstream) or unbalanced(upstream, self._newest_first(upstream))

    def _healths(self, upstream: Row, targets: list[Row]) -> list[Row]:
        known = self._known(upstream).targets
        return [{**target, **(known.get(target["id"]) or target_health(target))} for target in targets]

    def _newest_first(self, upstream: Row) -> list[Row]:
        targets = list(self.child.dao.each(parent=(self.field, upstream["id"])))
        return sorted(targets, key=lambda target: target["created_at"], reverse=True)

    def _page(self, values: dict[str, str], path: str, shown: Callable[[Row, list[Row]], list[Row]]) -> Response:
        """A list whose `offset` is a position, since it does not follow the ids."""
        upstream = self.parent.find(values[self.parent.name])
        if upstream is None:
            return not_found()
        options = paging.page_options(current().query_arguments())
        size, start = check_size(options.get("size")), _position(options["offset"])
        targets = self._newest_first(upstream)
        following = str(start + size) if len(targets) > start + size else None
        page = paging.listed(shown(upstream, targets[start : start + size]), following, self._own_path(path, values))
        return answer({**page, "node_id": self.child.node.node_id} if path.endswith("/health") else page)

    def _own_path(self, path: str, values: dict[str, str]) -> str:
        return path.replace(f"<{self.parent.name}>", quote(values[self.parent.name], safe=""))

    def replace(self, **values: str) -> Response:
        """`PUT …/targets/{t}` changes one that is there; it makes none."""
        return self.change(**values)

    def set_health(self, healthy: bool) -> Callable[..., Response]:
        """A handler of `PUT …/targets/{t}/healthy` (or `unhealthy`), with an address of the target or without."""

        def handler(address: str | None = None, **values: str) -> Response:
            upstream = self.parent.find(values[self.parent.name])
            target = self._mine(upstream, values[self.child.name]) if upstream else None
            if upstream is None or target is None:
                return not_found()
            refusal = self.child.node.set_target_health(upstream, target, address, healthy)
            return message(400, refusal) if refusal else empty()

        return handler

    def register(self, blueprint: Blueprint) -> None:
        """Add the nested paths, and those of health."""
        super().register(blueprint)
        one = f"{self.path()}/<{self.child.name}>"
        add_path(blueprint, f"{self.path()}/all", {"GET": self.list_raw})
        add_path(blueprint, f"/{self.parent.entity.collection}/<{self.parent.name}>/health", {"GET": self.health})
        for word, healthy in (("healthy", True), ("unhealthy", False)):
            handler = self.set_health(healthy)
            add_path(blueprint, f"{one}/{word}", {"PUT": handler})
            add_path(blueprint, f"{one}/<address>/{word}", {"PUT": handler})


def _position(offset: Any) -> int:
    if offset is None:
        return 0
    if not (isinstance(offset, str) and offset.isascii() and offset.isdigit() and len(offset) < 10):
        raise InvalidOffset(f"'{offset}' is not a valid offset: expected a position")
    return int(offset)


def target_health(target: Row) -> Row:
    """The health of a target of which the balancer knows nothing."""
    host = _host(target)
    return {"health": OFF, "data": {**host, "dns": "unknown", "addresses": []}}


def unbalanced(upstream: Row, targets: list[Row]) -> UpstreamHealth:
    """The health of an upstream without a balancer: all weight is there, and nothing is checked."""
    total = sum(target["weight"] for target in targets)
    healthy = total > 0 and upstream["healthchecks"]["threshold"] < 100
    details = {
        "healthy": healthy,
        "weight": _weight(total),
        "hosts": [{**_host(target), "dns": "unknown", "addresses": []} for target in targets],
    }
    return UpstreamHealth({}, "HEALTHY" if healthy else "UNHEALTHY", False, details)


def _host(target: Row) -> Row:
    parsed = parse_host(target["target"])
    weight = target["weight"]
    return {"host": parsed.host, "port": parsed.port, "weight": _weight(weight), "nodeWeight": weight}


def _weight(total: int) -> dict[str, int]:
    return {"total": total, "available": total, "unavailable": 0}
