"""Which route wins, and why the near ones lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from kong_gevent.http.fields import normalised_name
from kong_gevent.router import Match
from kong_gevent.router.explain import Asked, Verdict, decision, judge, nearest
from kong_gevent.router.subroutes import Entry, Key, is_served, parts_of, place

if TYPE_CHECKING:
    from kong_gevent.runtime.entries import RouteEntry
    from kong_gevent.runtime.plan import Plan

MAX_UNSERVED = 1000
"""Routes that are not served, at most so many are tried."""


def named(entity: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Id and name of an entity."""
    return None if entity is None else {"id": entity["id"], "name": entity.get("name") or entity.get("username")}


def _won(match: Match, verdict: Verdict | None) -> dict[str, Any]:
    """What of a route matched, and its place in the order."""
    captures = match.captures
    return {
        "path": _path(verdict.entry) if verdict is not None else None,
        "prefix": match.prefix,
        "captures": None if captures is None else {"named": captures[0], "unnamed": captures[1]},
        "priority": match.key[0],
        "priority_parts": {name: part for name, part in parts_of(match.key).items() if name not in ("id", "position")},
    }


def describe(
    plan: Plan, asked: Asked, match: Match | None, count: int, pause: Callable[[], Any]
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """How the winner matches; the other routes nearest to the request, then those that would match if they counted."""
    verdicts = nearest(plan.router.placements(), asked, count + 1, pause)
    if match is None:
        return None, [_candidate(verdict, asked, None) for verdict in verdicts[:count]] + _unserved(plan, asked, pause)
    winner = next((verdict for verdict in verdicts if verdict.entry.payload is match.payload), None)
    others = [_candidate(verdict, asked, match.key) for verdict in verdicts if verdict is not winner][:count]
    return _won(match, winner), others + _unserved(plan, asked, pause)


def _candidate(verdict: Verdict, asked: Asked, winner: Key | None) -> dict[str, Any]:
    entry = verdict.entry
    told: dict[str, Any] = {
        "route": named(entry.payload.entity),
        "service": named(entry.payload.service.entity) if entry.payload.service else None,
        "path": _path(entry),
        "matches": not verdict.failing,
        "fails": list(verdict.failing),
    }
    if verdict.failing:
        told["first"] = _reason(verdict, asked)
    elif winner is not None:
        told["lost_by"] = decision(winner, entry.key)._asdict()
    return told


def _path(entry: Entry) -> str | None:
    return f"~{entry.regex.pattern}" if entry.regex is not None else entry.prefix or None


def _reason(verdict: Verdict, asked: Asked) -> dict[str, Any]:
    """The first attribute that does not match: what the route wants, and what the request has."""
    attribute = verdict.failing[0]
    wanted: Any = verdict.entry.payload.entity[attribute]
    given: Any
    if attribute == "headers":
        assert verdict.entry.conditions is not None
        name = next(
            condition.name
            for condition in verdict.entry.conditions.headers
            if not condition.holds(asked.headers(condition.name))
        )
        wanted = {header: values for header, values in wanted.items() if normalised_name(header) == name}
        given = asked.headers(name)
    elif attribute == "hosts":
        given = f"{asked.host}:{asked.port}" if verdict.host.meets(asked.host) else asked.host
    else:
        given = {"paths": asked.path, "methods": asked.method.decode("latin-1"), "snis": asked.sni}[attribute]
    return {"attribute": attribute, "wanted": wanted, "given": given}


def _unserved(plan: Plan, asked: Asked, pause: Callable[[], Any]) -> list[dict[str, Any]]:
    """Routes that match and do not count."""
    left_out = (route for key, route in list(plan.routes.items()) if key not in plan.router)
    found: list[dict[str, Any]] = []
    for route in islice(left_out, MAX_UNSERVED):
        pause()
        reason = _why_unserved(route, asked)
        if reason is not None:
            service = named(route.service.entity) if route.service else None
            known: dict[str, Any] = {"route": named(route.entity), "service": service, "matches": True, "fails": []}
            found.append({**known, "not_served": reason})
    return found


def _why_unserved(route: RouteEntry, asked: Asked) -> str | None:
    """Why a route that would match is not served; None for one that would not."""
    try:
        placements = place(route.entity, route)
    except ValueError as error:
        return str(error)
    if all(judge(host, entry, asked).failing for host, entry in placements):
        return None
    if is_served(route.entity, None):
        return "its service is disabled"
    return "none of its protocols is http, https, grpc or grpcs"
