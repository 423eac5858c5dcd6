"""What can go wrong while a local server is prepared or started."""

from __future__ import annotations

from kong_gevent.errors import GatewayError


class ToolError(GatewayError):
    """A program is missing, or a server did not come up; the message says what to do about it."""
