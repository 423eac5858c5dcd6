"""Reason phrases of answers that the gateway makes itself."""

from http import HTTPStatus

REASONS: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus}
