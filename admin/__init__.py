"""The Admin API: entities, node information and readiness over HTTP, in Kong's language."""

from kong_gevent.admin.app import AdminApp, create_app, create_classic_app, create_status_app
from kong_gevent.admin.node import LocalNode, NodeFacade, PluginInfo

__all__ = ["AdminApp", "LocalNode", "NodeFacade", "PluginInfo", "create_app", "create_classic_app", "create_status_app"]
