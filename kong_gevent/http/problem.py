"""Error answers made by the gateway: which words, and in which format the client wants to read them.

Messages, templates and the negotiation are those of Kong 3.9, since clients parse these bodies.
"""

from __future__ import annotations

import html
import json
from functools import lru_cache

MESSAGES: dict[int, str] = {
    400: "Bad request",
    401: "Unauthorized",
    402: "Payment required",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    407: "Proxy authentication required",
    408: "Request timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length required",
    412: "Precondition failed",
    413: "Payload too large",
    414: "URI too long",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    417: "Expectation failed",
    418: "I'm a teapot",
    421: "Misdirected request",
    422: "Unprocessable entity",
    423: "Locked",
    424: "Failed dependency",
    425: "Too early",
    426: "Upgrade required",
    428: "Precondition required",
    429: "Too many requests",
    431: "Request header fields too large",
    451: "Unavailable for legal reasons",
    494: "Request header or cookie too large",
    500: "An unexpected error occurred",
    501: "Not implemented",
    502: "An invalid response was received from the upstream server",
    503: "The upstream server is currently unavailable",
    504: "The upstream server is timing out",
    505: "HTTP version not supported",
    507: "Insufficient storage",
    508: "Loop detected",
    511: "Network authentication required",
}
JSON, HTML, XML, PLAIN = "application/json", "text/html", "application/xml", "text/plain"
_KNOWN = {JSON: JSON, HTML: HTML, XML: XML, PLAIN: PLAIN, "application/*": JSON, "text/*": PLAIN, "*/*": JSON}
GRPC_STATUS = {200: 0, 400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14, 504: 4}
GRPC_NAMES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)
"""Names of the gRPC status numbers, from 0."""
TEMPLATES: dict[str, str] = {
    JSON: '{\n  "message":"%s",\n  "request_id":"%s"\n}',
    HTML: (
        '<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8">\n    <title>Error</title>\n  </head>\n'
        "  <body>\n    <h1>Error</h1>\n    <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n"
    ),
    XML: (
        '<?xml version="1.0" encoding="UTF-8"?>\n<error>\n'
        "  <message>%s</message>\n  <requestid>%s</requestid>\n</error>"
    ),
    PLAIN: "%s\nrequest_id: %s\n",
}


def default_message(status: int) -> str:
    """Kong's text for a status."""
    return MESSAGES.get(status) or f"The upstream server responded with {status}"


@lru_cache(maxsize=256)
def negotiate(accept: str) -> str:
    """The media type of an error body for an `Accept` value: the best quality decides, the first one wins ties.

    An unknown best type gives JSON; there is no falling back to the second best, as in Kong 3.9.
    """
    best, best_quality = "", 0.0
    for entry in accept.split(","):
        media, _, parameters = entry.partition(";")
        quality = 1.0
        for parameter in parameters.split(";"):
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    quality = float(value.strip())
                except ValueError:
                    quality = 1.0
        if quality > best_quality:
            best, best_quality = media.strip().lower(), quality
    return _KNOWN.get(best, JSON)


def error_body(media: str, message: str, request_id: str, templates: dict[str, str] | None = None) -> bytes:
    """The body of an error answer in the format `media`, with the message escaped for it."""
    if media == JSON:
        message = json.dumps(message, ensure_ascii=False)[1:-1]
    elif media in (HTML, XML):
        message = html.escape(message)
    return ((templates or TEMPLATES)[media] % (message, request_id)).encode()


def grpc_status(status: int) -> int:
    """The gRPC status number for an HTTP status, as Kong 3.9 translates it."""
    known = GRPC_STATUS.get(status)
    if known is not None:
        return known
    return {2: 0, 4: 3, 5: 13}.get(status // 100, 2)
