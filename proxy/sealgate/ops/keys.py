"""Keys in force, and the evidence of their use: `GET /keys` of the admin address (docs/keys.md).

What a rotation asks: does everybody have this key, who still uses that one, until when are its seals good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sealgate.ops.tables import Table
from sealgate.session.keyuse import KeyUse
from sealgate.session.records import Tally

PAGE: Final = "/keys"
SCHEMA: Final = 1
#: The most a state permits: of several workers that differ, the one counts that permits more.
_STATES: Final = ("active", "verify", "revoked")
_COLUMNS: Final = ("key", "alg", "state", "since", "ends", "last used", "last hour", "by", "seals end")
_NONE: Final = "-"
#: The last second that has a date: of the year 9999.
_MOMENT_MAX: Final = 253_402_300_799
_FAR: Final = "after the year 9999"


@dataclass(slots=True, frozen=True)
class KeyFacts:
    """One key as a process has it in force; all times are Unix seconds.

    `known_since` is since when it has it, `state_since` since when in this state, as far back as the process
    goes. None in `known_since`: of several workers not every one has it.
    """

    kid: str
    alg: str
    state: str
    can_sign: bool
    not_before: int | None
    not_after: int | None
    max_lifetime_s: int
    known_since: float | None
    state_since: float


@dataclass(slots=True, frozen=True)
class RingFacts:
    """All keys of a process, in the order of their source, which is a reference to a secret."""

    source: str
    keys: tuple[KeyFacts, ...]


def plain(ring: RingFacts) -> dict[str, Any]:
    """`ring` as JSON has it, for `ring_of`."""
    return asdict(ring)


def ring_of(data: Mapping[str, Any]) -> RingFacts:
    """What `plain` gave. Raises KeyError or TypeError for anything else."""
    return RingFacts(str(data["source"]), tuple([KeyFacts(**key) for key in data["keys"]]))


def united(rings: Sequence[RingFacts]) -> RingFacts:
    """What several workers have in force, together.

    A key is since then known when the last of them got it. Where they differ, as one of them has not read its
    keys again yet, the state is the one that permits most.
    """
    having: dict[str, list[KeyFacts]] = {}
    for ring in rings:
        for key in ring.keys:
            having.setdefault(key.kid, []).append(key)
    source = rings[0].source if rings else ""
    return RingFacts(source, tuple([_one(keys, len(rings)) for keys in having.values()]))


def _one(keys: list[KeyFacts], workers: int) -> KeyFacts:
    known = [key.known_since for key in keys if key.known_since is not None]
    return replace(
        min(keys, key=lambda key: _STATES.index(key.state)),
        can_sign=any(key.can_sign for key in keys),
        max_lifetime_s=max(key.max_lifetime_s for key in keys),
        known_since=max(known) if len(known) == workers else None,
        state_since=max(key.state_since for key in keys),
    )


class KeysPage:
    """`rings` gives what each process has in force; `tally` what they have counted, all together."""

    def __init__(
        self,
        deployment: str,
        rings: Callable[[], Iterable[RingFacts]],
        tally: Tally,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._deployment: Final = deployment
        self._rings: Final = rings
        self._tally: Final = tally
        self._clock: Final = clock

    def table(self) -> Table:
        """The page."""
        self._tally.settle()
        now = self._clock()
        ring = self.ring()
        keys = [_told(key, self._tally.key_use.get(key.kid), now) for key in ring.keys]
        data = {
            "schema": SCHEMA,
            "deployment": self._deployment,
            "at": now,
            "source": ring.source,
            "good_at": self._tally.keys_good_at,
            "failing_since": self._tally.keys_failing_since,
            "keys": keys,
        }
        text = f"In force here, from {ring.source}." if ring.source else "No keys are used here."
        return Table("Keys", text, _COLUMNS, [_cells(key) for key in keys], data)

    def ring(self) -> RingFacts:
        """The keys that are in force now."""
        return united(list(self._rings()))


def _told(key: KeyFacts, use: KeyUse | None, now: float) -> dict[str, Any]:
    use = use or KeyUse()
    return {
        **asdict(key),
        "last_used": use.last_used or None,
        "messages_last_hour": use.messages_last_hour(now),
        "expires_latest": use.expires_latest or None,
        "users": use.recent_users(),
        "users_more": use.has_more_users,
    }


def _cells(key: Mapping[str, Any]) -> tuple[str, ...]:
    users = [*key["users"], *(["..."] if key["users_more"] else [])]
    return (
        key["kid"],
        key["alg"],
        key["state"],
        _moment(key["state_since"]),
        _moment(key["not_after"]),
        _moment(key["last_used"]),
        str(key["messages_last_hour"]),
        ", ".join(users) or _NONE,
        _moment(key["expires_latest"]),
    )


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    if seconds > _MOMENT_MAX:
        # A delivery's seal may have been made for as far ahead as its signer likes.
        return _FAR
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
