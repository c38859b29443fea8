"""Every kind of attack of the demo: how its messages are made, and the reason each must be refused for."""

from __future__ import annotations

import pickle
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sealgate.cli.demo import forge
from sealgate.cli.demo.forge import Forged
from sealgate.cli.demo.names import OTHER_ROUTING_KEY, Names
from sealgate.cli.stack import DEPLOYMENT, DemoKey
from sealgate.reason import Reason
from sealgate.wire.constants import FRAME_END

#: Of each kind, where nothing else is said.
SHOTS: Final = 3
#: The rate-limited task's burst, and how often the flood asks for it.
FLOOD_BURST: Final = 5
FLOOD_SHOTS: Final = 100
_PICKLE_PROTOCOLS: Final = range(6)
_HEADER_DEPTH: Final = 20
_TOO_OLD_S: Final = 3600


@dataclass(slots=True, frozen=True)
class Shot:
    """One publish: its octets, and how the auditor would know it. `captured`: it once was legitimate."""

    octets: bytes
    mark: str
    captured: bool = False


@dataclass(slots=True, frozen=True)
class Loot:
    """What the attacker has: what crossed the wire, a cron job's sealed message, keys in wrong hands."""

    names: Names
    vhost: str
    capture: Callable[[], Awaitable[Forged]]
    cron_job: Forged
    insider: DemoKey
    stranger: DemoKey
    revoked: DemoKey

    def refund(self) -> Forged:
        """A task the attacker would like to have run."""
        return forge.task(self.names.exchange, "demo.refund", [1_000_000])

    def sealed_refund(self, key: DemoKey, ago_s: float = 0, deployment: str = DEPLOYMENT) -> Forged:
        return forge.sealed(self.refund(), key, time.time() - ago_s, self.vhost, deployment)

    def sealed(self, message: Forged, ago_s: float = 0) -> Forged:
        """`message`, sealed by the insider some time ago."""
        return forge.sealed(message, self.insider, time.time() - ago_s, self.vhost)


Make = Callable[[Loot], Awaitable[list[Shot]]]


@dataclass(slots=True, frozen=True)
class Attack:
    """`allowed` of its messages are within the rate: they may pass, and are no attack."""

    kind: str
    what: str
    reason: Reason
    make: Make
    allowed: int = 0


def _forged(make: Callable[[Loot], Forged], shots: int = SHOTS) -> Make:
    async def made(loot: Loot) -> list[Shot]:
        messages = [make(loot) for _ in range(shots)]
        return [Shot(message.frames(), message.mark) for message in messages]

    return made


def _captured(change: Callable[[Loot, Forged], Forged]) -> Make:
    async def made(loot: Loot) -> list[Shot]:
        messages = [change(loot, await loot.capture()) for _ in range(SHOTS)]
        return [Shot(message.frames(), message.mark, captured=True) for message in messages]

    return made


async def _replay_of_cron_job(loot: Loot) -> list[Shot]:
    return [Shot(loot.cron_job.frames(), loot.cron_job.mark, captured=True)] * SHOTS


async def _pickles_as_json(loot: Loot) -> list[Shot]:
    shots = []
    for protocol in _PICKLE_PROTOCOLS:
        body = pickle.dumps(([1], {}, {}), protocol)
        message = forge.task(loot.names.exchange, "demo.add", [1], body=body)
        message = loot.sealed(message)
        shots.append(Shot(message.frames(), message.mark))
    return shots


async def _broken_frame_end(loot: Loot) -> list[Shot]:
    messages = [loot.refund() for _ in range(SHOTS)]
    return [Shot(m.frames().replace(bytes((FRAME_END,)), b"\x00", 1), m.mark) for m in messages]


async def _body_longer_than_declared(loot: Loot) -> list[Shot]:
    messages = [loot.refund() for _ in range(SHOTS)]
    return [Shot(m.frames(body_size=len(m.body) - 1), m.mark) for m in messages]


async def _flood(loot: Loot) -> list[Shot]:
    messages = [forge.task(loot.names.exchange, "demo.send_email", [n]) for n in range(FLOOD_SHOTS)]
    sealed = [loot.sealed(message) for message in messages]
    return [Shot(message.frames(), message.mark) for message in sealed]


def _retargeted(routing_key: str | None = None, exchange: str | None = None) -> Make:
    def change(loot: Loot, message: Forged) -> Forged:
        if exchange is not None:
            return Forged(exchange, loot.names.decoy, message.header, message.body, message.mark)
        return Forged(message.exchange, routing_key or "", message.header, message.body, message.mark)

    return _captured(change)


def _signed_pickle(loot: Loot) -> Forged:
    body = pickle.dumps(([1], {}, {}))
    message = forge.task(
        loot.names.exchange, "demo.add", [1], body=body, content_type="application/x-python-serialize"
    )
    return loot.sealed(message)


def _poison(loot: Loot) -> Forged:
    message = forge.task(loot.names.exchange, "demo.add", [1], body=b'{"not": "an envelope"}')
    return loot.sealed(message)


def _expired(loot: Loot) -> Forged:
    message = forge.task(loot.names.exchange, "demo.refund", [1], expiration="1000")
    return loot.sealed(message, ago_s=60)


def _forbidden(loot: Loot) -> Forged:
    return loot.sealed(forge.task(loot.names.exchange, "ops.wipe", []))


def _sealed_shutdown(loot: Loot) -> Forged:
    return loot.sealed(forge.command(loot.names.pidbox, "shutdown"))


ATTACKS: Final = (
    Attack("unsigned", "a task nobody signed", Reason.SIG_MISSING, _forged(Loot.refund)),
    Attack(
        "unsigned command",
        "remote control: shut down every worker",
        Reason.SIG_MISSING,
        _forged(lambda loot: forge.command(loot.names.pidbox, "shutdown")),
    ),
    Attack(
        "tampered body",
        "captured, one bit of the body flipped",
        Reason.SIG_BAD,
        _captured(lambda _, message: forge.with_body_bit_flipped(message)),
    ),
    Attack(
        "tampered header",
        "captured, one bit of a header flipped",
        Reason.SIG_BAD,
        _captured(lambda _, message: forge.with_header_bit_flipped(message)),
    ),
    Attack(
        "tampered property",
        "captured, one bit of a property flipped",
        Reason.SIG_BAD,
        _captured(lambda _, message: forge.with_property_bit_flipped(message)),
    ),
    Attack(
        "swapped task",
        "captured, its header names another task",
        Reason.SIG_BAD,
        _captured(lambda _, message: forge.with_task(message, "demo.refund")),
    ),
    Attack(
        "other routing key",
        "captured, sent elsewhere",
        Reason.TARGET_MISMATCH,
        _retargeted(routing_key=OTHER_ROUTING_KEY),
    ),
    Attack(
        "other exchange",
        "captured, straight to another queue",
        Reason.TARGET_MISMATCH,
        _retargeted(exchange=""),
    ),
    Attack(
        "other deployment",
        "good where it was signed: in staging",
        Reason.SIG_BAD,
        _forged(lambda loot: loot.sealed_refund(loot.insider, deployment="staging")),
    ),
    Attack("expired", "its own time is over", Reason.TIME_EXPIRED, _forged(_expired)),
    Attack(
        "too old",
        "sealed an hour ago",
        Reason.TIME_STALE,
        _forged(lambda loot: loot.sealed_refund(loot.insider, ago_s=_TOO_OLD_S)),
    ),
    Attack(
        "from the future",
        "sealed in an hour",
        Reason.TIME_FUTURE,
        _forged(lambda loot: loot.sealed_refund(loot.insider, ago_s=-_TOO_OLD_S)),
    ),
    Attack(
        "replayed",
        "captured and sent again, octet by octet",
        Reason.REPLAY_SESSION,
        _captured(lambda _, message: message),
    ),
    Attack(
        "replayed, stored nonce",
        "a cron job's sealed task again",
        Reason.REPLAY_DUPLICATE,
        _replay_of_cron_job,
    ),
    Attack(
        "unknown key",
        "sealed with a key nobody knows",
        Reason.SIG_KID,
        _forged(lambda loot: loot.sealed_refund(loot.stranger)),
    ),
    Attack(
        "revoked key",
        "sealed with a key that was stolen",
        Reason.SIG_KEY_STATE,
        _forged(lambda loot: loot.sealed_refund(loot.revoked)),
    ),
    Attack("forbidden task", "an insider beyond the key's rights", Reason.ACL_TASK, _forged(_forbidden)),
    Attack("forbidden command", "an insider's shutdown", Reason.CELERY_CONTROL, _forged(_sealed_shutdown)),
    Attack("pickle", "an insider's pickle, under its own type", Reason.CONTENT_TYPE, _forged(_signed_pickle)),
    Attack("pickle as JSON", "the same in disguise, protocols 0 to 5", Reason.CONTENT_JSON, _pickles_as_json),
    Attack("poison", "an insider's JSON that is no Celery task", Reason.CELERY_ENVELOPE, _forged(_poison)),
    Attack(
        "header twice",
        "two task headers: readers differ",
        Reason.HEADER_DUPLICATE,
        _forged(lambda loot: forge.with_header_twice(loot.refund())),
    ),
    Attack(
        "deep header",
        f"tables nested {_HEADER_DEPTH} deep",
        Reason.HEADER_DEPTH,
        _forged(lambda loot: forge.with_deep_header(loot.refund(), _HEADER_DEPTH)),
    ),
    Attack("bad frame", "a frame that ends wrong", Reason.FRAME_END, _broken_frame_end),
    Attack(
        "hidden body",
        "more body than declared",
        Reason.FRAME_BODY_OVERFLOW,
        _body_longer_than_declared,
    ),
    Attack(
        "flood",
        f"a runaway insider: {FLOOD_SHOTS} emails at once",
        Reason.RATE_TASK,
        _flood,
        allowed=FLOOD_BURST,
    ),
)
