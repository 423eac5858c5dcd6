"""A client of the Admin API: entities, node information and errors as Python objects, over requests.

with Client("http://127.0.0.1:8001") as api:
    service = api.collection("services").create({"name": "example", "url": "http://127.0.0.1:9000"})
    for route in api.collection("services", "example", "routes").iterate():
        print(route["paths"])
"""

from kong_gevent.client.api import Client
from kong_gevent.client.collection import Collection, Entity, Page
from kong_gevent.client.errors import (
    ApiError,
    ClientError,
    Conflict,
    Invalid,
    NotFound,
    ServerFault,
    Unauthorized,
    Unreachable,
)

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "Collection",
    "Conflict",
    "Entity",
    "Invalid",
    "NotFound",
    "Page",
    "ServerFault",
    "Unauthorized",
    "Unreachable",
]
