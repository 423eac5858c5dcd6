"""Reason phrases of answers that the gateway makes itself."""

from http import HTTPStatus

REASONS: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus}
NOTHING_YET = "no configuration available (empty configuration present)"
"""Why a node without a datastore is not ready before its first document."""
