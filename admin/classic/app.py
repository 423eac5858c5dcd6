"""The paths of the classic Admin API: below `/classic` of the Admin API, or as an application of its own."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response

from kong_gevent.admin.classic import information, tables
from kong_gevent.admin.classic.apis import Apis
from kong_gevent.admin.classic.faults import Refused
from kong_gevent.admin.classic.fields import Values
from kong_gevent.admin.classic.kinds import Consumers, Kind
from kong_gevent.admin.classic.plugins import PluginConfigurations
from kong_gevent.admin.classic.views import Parent, Views, shown
from kong_gevent.admin.node import NodeFacade
from kong_gevent.errors import InvalidOffset, InvalidSize

PREFIX = "/classic"


class PluginViews(Views):
    """Configurations of one API, also found by the plugin's name."""

    def find(self, identifier: str, owner: Values) -> Values | None:
        """By id or name."""
        assert isinstance(self.kind, PluginConfigurations)
        return self.kind.of_api(owner["api_id"], identifier)


def blueprint(node: NodeFacade, failure: Callable[[Exception], Response]) -> Blueprint:
    """All paths, with errors in the classic form; `failure` answers for those that have none."""

    def refuse(error: Exception) -> Response:
        if isinstance(error, Refused):
            return shown(error.body, error.status)
        if isinstance(error, InvalidSize):
            return shown({"size": error.message}, 400)
        if isinstance(error, InvalidOffset):
            return shown({"offset": error.message}, 400)
        return failure(error)

    made = Blueprint("classic", __name__)
    made.register_error_handler(Exception, refuse)
    information.register(made, node)
    store = node.store
    apis, consumers = Apis(store), Consumers(store, "consumers", tables.CONSUMER_FIELDS, "username")
    configurations = PluginConfigurations(store, apis)
    Views(node, apis, "/apis").register(made)
    PluginViews(node, configurations, "/apis/<api>/plugins", Parent("api", apis, "api_id")).register(made)
    Views(node, configurations, "/plugins").register(made)
    Views(node, PluginConfigurations(store, apis, "value"), "/plugins_configurations").register(made)
    Views(node, consumers, "/consumers").register(made)
    _credentials(made, node, Parent("consumer", consumers, "consumer_id"))
    return made


def _credentials(made: Blueprint, node: NodeFacade, owner: Parent) -> None:
    """Credentials of consumers, of the plugins that are there."""
    for entity in node.store.catalogue.values():
        fields = tables.CREDENTIALS.get(entity.nested or "")
        if fields is None or entity.nested is None:
            continue
        kind = Kind(node.store, entity.name, fields)
        without = "PATCH" if entity.nested in tables.FIXED else ""
        for name in filter(None, (entity.nested, tables.OLD_PATHS.get(entity.nested))):
            Views(node, kind, f"/consumers/<consumer>/{name}", owner).register(made, without=without)
        if entity.nested == "oauth2":
            Views(node, kind, "/oauth2").register_list(made)
