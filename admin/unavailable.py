"""Paths that exist in every Kong but answer "not here" on this kind of node; clients rely on those very answers."""

from __future__ import annotations

from flask import Blueprint, Response

from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import message
from kong_gevent.admin.routing import Handler, add_path

_NO_WASM = "this endpoint is only available when wasm is enabled"
_NO_CONTROL_PLANE = "this endpoint is only available when Kong is configured to run as Control Plane for the cluster"

_COLLECTION = ("GET", "POST")
_ENTITY = ("GET", "PUT", "PATCH", "DELETE")
_FILTER_PATHS = (
    ("/filter-chains", _COLLECTION),
    ("/filter-chains/<filter_chains>", _ENTITY),
    ("/filter-chains/<filter_chains>/route", _ENTITY),
    ("/filter-chains/<filter_chains>/service", _ENTITY),
    ("/routes/<routes>/filter-chains", _COLLECTION),
    ("/routes/<routes>/filter-chains/<filter_chains>", _ENTITY),
    ("/services/<services>/filter-chains", _COLLECTION),
    ("/services/<services>/filter-chains/<filter_chains>", _ENTITY),
    ("/routes/<routes>/filters/all", ("GET",)),
    ("/routes/<routes>/filters/enabled", ("GET",)),
    ("/routes/<routes>/filters/disabled", ("GET",)),
)


def refuse(text: str) -> Handler:
    """A handler that answers 400 with a text."""

    def handler(**_values: str) -> Response:
        return message(400, text)

    return handler


def blueprint(node: NodeFacade) -> Blueprint:
    """Wasm filters and hybrid clustering."""
    made = Blueprint("unavailable", __name__)
    for path, methods in _FILTER_PATHS:
        add_path(made, path, dict.fromkeys(methods, refuse(_NO_WASM)))
    for path in ("/clustering/data-planes", "/clustering/status"):
        add_path(made, path, {"GET": refuse(_NO_CONTROL_PLANE)})
    return made
