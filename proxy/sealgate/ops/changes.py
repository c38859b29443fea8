"""Changes that are asked for over HTTP: from whom they are taken.

The admin address has no login, and everything there is for reading but this. A change needs the token of
`admin.token` in the header Authorization. No browser sends that to another site's page unasked, so that
neither a forged form nor a name that is bound to another address brings one here.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from sealgate.ops.answers import Answer
from sealgate.ops.logging import AUDIT_LOGGER
from sealgate.signing.algorithms import same_bytes

#: Of a request: a task name, and what is around it.
BODY_BYTES_MAX: Final = 4096
JSON_TYPE: Final = "application/json"
_SCHEME: Final = "bearer"
#: Between two log lines about requests that were turned away; they are counted all the same.
_DENIED_S: Final = 1.0

#: Gives an HTTP status and what JSON says.
CarryOut = Callable[[dict[str, Any]], Awaitable[tuple[int, dict[str, Any]]]]


class Changes:
    """Hands to `carry_out` what who knows `token` asks for; without a token nobody does."""

    def __init__(
        self, token: str | None, carry_out: CarryOut, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._token: Final = token
        self._carry_out: Final = carry_out
        self._clock: Final = clock
        self._audit: Final = logging.getLogger(AUDIT_LOGGER)
        self._told_at = float("-inf")
        #: Requests that were turned away.
        self.denied = 0

    async def answer(self, authorization: str, content_type: str, body: bytes, client: str) -> Answer:
        """The answer to a POST from `client`, with these headers."""
        if self._token is None:
            return self._deny(client, "changes are off: set admin.token")
        if not self._knows(authorization, self._token):
            return self._deny(client, "a change needs the header Authorization: Bearer, with admin.token")
        if content_type.partition(";")[0].strip().lower() != JSON_TYPE:
            return _told(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": f"the body is to be {JSON_TYPE}"})
        try:
            asked: Any = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return _told(HTTPStatus.BAD_REQUEST, {"error": "the body is no JSON object"})
        status, told = await self._carry_out(asked)
        self._tell(asked, status, told, client)
        return _told(status, told)

    def _knows(self, authorization: str, token: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == _SCHEME and same_bytes(given.strip().encode(), token.encode())

    def _deny(self, client: str, why: str) -> Answer:
        self.denied += 1
        now = self._clock()
        if now - self._told_at >= _DENIED_S:
            self._told_at = now
            self._audit.warning("order.denied", extra={"client": client, "count": self.denied})
        return _told(HTTPStatus.FORBIDDEN, {"error": why})

    def _tell(self, asked: dict[str, Any], status: int, told: dict[str, Any], client: str) -> None:
        """One record for each change, also for one that was not made."""
        fields = {name: str(asked.get(name, ""))[:255] for name in ("order", "subject", "for_s", "by")}
        extra = {**fields, "client": client, "status": status, "error": told.get("error", "")}
        self._audit.info("order.taken" if status == HTTPStatus.OK else "order.refused", extra=extra)


def _told(status: int, told: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(told, ensure_ascii=False).encode() + b"\n", JSON_TYPE)
