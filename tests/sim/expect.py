"""What must become of a publish, by how it was made and what the store said; what must reach the broker."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from sealgate.session.conversation import Confirmed, Role, Unconfirmed
from sealgate.verify.verdict import ClaimStatus
from sim import messages, octets
from sim.script import Publish
from sim.settings import Settings

_STORE_REASONS: Final = {
    ClaimStatus.INFLIGHT: "replay.inflight",
    ClaimStatus.DUPLICATE: "replay.duplicate",
    ClaimStatus.CONFLICT: "replay.conflict",
    ClaimStatus.LIMITED: "rate.task",
    ClaimStatus.FULL: "store.full",
    ClaimStatus.HORIZON: "store.horizon",
    ClaimStatus.UNAVAILABLE: "store.unavailable",
}
#: What a broker could not read, or a gate could not hold: refused also where rules only observe.
_NEVER_PASSED: Final = ("props.utf8", "body.size")
_STRIPPED: Final = (*messages.BROKER_NAMES, messages.COUNTERSIGN)


class Decision(NamedTuple):
    """`passes` to the broker or not; `reason` is why not, or what was only observed, "" for neither."""

    passes: bool
    reason: str


ACCEPTED: Final = Decision(True, "")


def needs_store(publish: Publish, settings: Settings) -> bool:
    """Whether a claim must be granted before it may pass."""
    message = publish.message
    if settings.role is not Role.VERIFY or message.fault:
        return False
    return bool(message.nonce) or settings.rates


def decide(publish: Publish, settings: Settings) -> Decision | None:
    """None as long as the store has not answered."""
    message = publish.message
    if settings.role is Role.PASS:
        return ACCEPTED
    if settings.role is Role.SIGN:
        return ACCEPTED if message.readable else Decision(False, message.fault)
    reason = message.fault
    if needs_store(publish, settings):
        if publish.outcome is None:
            return None
        reason = _STORE_REASONS.get(publish.outcome, "")
        if publish.held:
            if publish.way is None:
                return None
            reason = "rate.task" if publish.way else ""
    if not reason:
        return ACCEPTED
    observed = settings.observe and message.exchange == messages.OPEN_EXCHANGE and reason not in _NEVER_PASSED
    return Decision(observed, reason)


def is_guess(publish: Publish, reason: str) -> bool:
    """Whether this refusal counts as a failed verification."""
    return not publish.message.authentic or (reason != publish.message.fault and reason in _NEVER_PASSED)


def answer_to(publish: Publish, reason: str, settings: Settings) -> str:
    """How a refusal must be told (DESIGN.md, "How a refusal is told")."""
    if reason == "replay.duplicate":
        return "basic.ack" if publish.tag else "none"
    comes_back = publish.mandatory and publish.message.readable
    if not publish.tag:
        if settings.unconfirmed is Unconfirmed.CLOSE:
            return "channel.close"
        return "basic.return" if comes_back else "none"
    py_amqp = settings.confirmed is Confirmed.AUTO and settings.product == "py-amqp"
    if settings.confirmed is Confirmed.CLOSE or py_amqp:
        return "channel.close"
    return "basic.nack"


def check_forwarded(
    publish: Publish, frames: list[octets.Frame], decision: Decision, settings: Settings, now: float
) -> None:
    """The broker got what the client sent, byte for byte, but for headers that are the gate's business.

    What is held was sent to its queue, with the time until its slot.
    """
    message = publish.message
    if publish.held:
        frames = _as_not_held(publish, frames, now)
    assert frames[0].payload == publish.method, "the method was changed"
    body = b"".join(frame.payload for frame in frames[2:])
    assert body == message.body, "the body was changed"
    header = frames[1].payload
    if settings.role is Role.PASS:
        assert frames == publish.frames, "passed, and changed"
        return
    if settings.role is Role.SIGN:
        _check_added(publish, header, (messages.SEAL, messages.COUNTERSIGN), messages.SEAL)
    elif not message.readable:
        assert header == publish.frames[1].payload, "the content header was changed"
    elif settings.countersign and not decision.reason:
        _check_added(publish, header, _STRIPPED, messages.COUNTERSIGN)
    else:
        _check_entries(publish, header, _STRIPPED, ())


def _as_not_held(publish: Publish, frames: list[octets.Frame], now: float) -> list[octets.Frame]:
    """What was sent to a queue, with the target and the expiration that it had."""
    method, header, *bodies = frames
    name = method.payload[8:-1]
    assert method.payload[:7] == b"\0\x3c\0\x28\0\0\0" and name.startswith(b"sealgate.wait."), (
        "not to a queue"
    )
    assert method.payload[-1:] == b"\x01", "a queue that is gone would be noticed by nobody"
    found = octets.read_header(header.payload)
    left_ms = max(math.ceil((publish.slot - now) * 1000), 0)
    assert found.properties.pop(7) == octets.short(b"%d" % left_ms), "it waits for another slot"
    before = publish.message.properties
    properties = {**found.properties, **({7: before[7]} if 7 in before else {})}
    payload = octets.write_header(found.size, properties, found.entries, publish.frames[1].payload)
    return [
        octets.Frame(method.kind, method.channel, publish.method),
        octets.Frame(header.kind, header.channel, payload),
        *bodies,
    ]


def _check_added(publish: Publish, header: bytes, removed: tuple[bytes, ...], name: bytes) -> None:
    """One entry `name` was added, at the end, and it is our own signature of this message."""
    entries = octets.read_header(header).entries
    assert entries and entries[-1][0] == name, f"no {name.decode()} was added"
    added = entries[-1]
    _check_entries(publish, header, removed, (added,))
    value = added[1][len(name) + 6 :]
    omitted = (*_STRIPPED, messages.SEAL) if name == messages.SEAL else _STRIPPED
    assert messages.is_signed_by_us(publish.message, value, omitted), "the added signature is wrong"


def _check_entries(
    publish: Publish, header: bytes, removed: tuple[bytes, ...], added: tuple[tuple[bytes, bytes], ...]
) -> None:
    message = publish.message
    kept = tuple(item for item in message.entries if item[0] not in removed)
    if kept == message.entries and not added:
        assert header == message.header, "the content header was changed"
        return
    found = octets.read_header(header)
    assert tuple(found.entries) == (*kept, *added), "the header table was changed"
    assert found.properties == message.properties, "the properties were changed"
    assert found.size == len(message.body), "the body size was changed"


def returned_header(header: bytes, settings: Settings) -> bytes:
    """The content header of a publish that the broker returns, as the client must get it: without our own."""
    ours = {Role.SIGN: (messages.SEAL, messages.COUNTERSIGN), Role.VERIFY: (), Role.PASS: ()}[settings.role]
    if settings.role is Role.VERIFY and settings.countersign:
        ours = (messages.COUNTERSIGN,)
    if not ours:
        return header
    found = octets.read_header(header)
    kept = tuple(item for item in found.entries if item[0] not in ours)
    if len(kept) == len(found.entries):
        return header
    at = 14 + sum(len(found.properties[index]) for index in (0, 1) if index in found.properties)
    length = sum(len(item[1]) for item in found.entries)
    if not kept:
        # Its sender had none, as far as can be known.
        flags = int.from_bytes(header[12:14], "big") & ~0x2000
        return header[:12] + flags.to_bytes(2, "big") + header[14:at] + header[at + 4 + length :]
    table = octets.long(b"".join(item[1] for item in kept))
    return header[:at] + table + header[at + 4 + length :]
