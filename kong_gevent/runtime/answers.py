"""Ways in which a call to the upstream ends other than by the upstream's answer."""

from __future__ import annotations

from kong_gevent.errors import GatewayError
from kong_gevent.pdk import Exit


class AnswerNow(GatewayError):
    """The request is answered by the gateway itself, with `answer`."""

    def __init__(self, answer: Exit) -> None:
        self.answer = answer
        super().__init__(f"answered {answer.status}")


class ClientFault(GatewayError):
    """The client, not the upstream, broke off while its body was being passed on; `cause` says how."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))
