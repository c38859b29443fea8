"""What a client heard, as text: one list of lines per channel, and how its connection ended.

Two transcripts are equal when no client could tell one from the other. Taken out is only what must differ
from one connection to the next: names that the broker makes up, heartbeats, and how it groups its confirms.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pamqp import frame as pamqp_frame

from sealgate.reason import GateError
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.wire.methods import splice_start
from sealgate.wire.properties import scan_content_header, splice
from support.raw_client import BODY, HEADER, HEARTBEAT, METHOD, frame

SHORT_BODY_BYTES = 64
PROTOCOL_HEADER_KIND = ord("A")
_START = b"\x00\x0a\x00\x0a"
_GENERATED = (
    (re.compile(r"amq\.(gen|ctag)-[\w-]{22}"), r"amq.\1-*"),
    (re.compile(r"amq\.rabbitmq\.reply-to\.[\w=+/.-]+"), "amq.rabbitmq.reply-to.*"),
)
_FRAMES = " in frames: "
#: When a message was dead-lettered.
_DEATH_TIME = re.compile(rb"(\x04timeT).{8}", re.DOTALL)
_CONFIRM = re.compile(r"Basic\.(Ack|Nack)\(")


@dataclass(frozen=True)
class Heard:
    """A frame as it came."""

    kind: int
    channel: int
    payload: bytes


@dataclass
class Transcript:
    """`streams` by "client channel": lines. `endings` by client. `remarks` are the player's own.

    `splits_elsewhere`: frame_max was tuned apart on purpose, so that bodies are split into other frames.
    """

    streams: dict[str, list[str]]
    endings: dict[str, str]
    remarks: list[str]
    splits_elsewhere: bool = False

    def text(self, splits: bool = True) -> list[str]:
        """All of it, to compare and to show; with how bodies are split into frames, or without."""
        lines: list[str] = []
        for name in sorted(self.streams):
            lines.append(f"channel {name}:")
            stream = self.streams[name]
            lines += [f"    {line if splits else line.partition(_FRAMES)[0]}" for line in stream]
        lines += [f"{name} ended: {how}" for name, how in sorted(self.endings.items())]
        return lines + [f"remark: {remark}" for remark in self.remarks]


def difference(direct: Transcript, gated: Transcript) -> str:
    """A diff of the two, empty when they are equal."""
    splits = not gated.splits_elsewhere
    mine, theirs = direct.text(splits), gated.text(splits)
    if mine == theirs:
        return ""
    return "\n".join(
        difflib.unified_diff(mine, theirs, "directly on the broker", "through Sealgate", lineterm="", n=100)
    )


@dataclass(frozen=True)
class Notation:
    """How the frames of one route are written down.

    `strips_seal`: the test sealed its messages itself, or the gate did for good: the seal is taken out.
    `frame_max_taken`: so much is taken from the frame_max that the client is offered.
    """

    vhost: str
    strips_seal: bool = False
    strips_challenge: bool = False
    frame_max_taken: int = 0

    def lines(self, frames: Iterable[Heard], confirms: bool = True) -> list[str]:
        """One channel's frames, in order; without its confirms where those are up to chance."""
        lines: list[str] = []
        bodies: list[bytes] = []
        for heard in frames:
            if heard.kind == HEARTBEAT and not heard.payload:
                continue
            if heard.kind == BODY:
                bodies.append(heard.payload)
                continue
            if bodies:
                lines.append(_body(bodies))
                bodies = []
            lines.append(self._line(heard))
        if bodies:
            lines.append(_body(bodies))
        if not confirms:
            return [line for line in lines if not _CONFIRM.match(line)]
        return list(_expand_confirms(lines))

    def _line(self, heard: Heard) -> str:
        payload = heard.payload
        if heard.kind == PROTOCOL_HEADER_KIND:
            return f"protocol header {payload!r}"
        if heard.kind == HEADER and self.strips_seal:
            payload = _unsealed(payload)
        if heard.kind == HEADER:
            payload = _DEATH_TIME.sub(rb"\1" + bytes(8), payload)
        if heard.kind == METHOD and self.strips_challenge and payload.startswith(_START):
            payload = splice_start(payload, frozenset({"sealgate"}), b"")
        text = self._tuned(_decoded(heard.kind, heard.channel, payload))
        for pattern, replacement in _GENERATED:
            text = pattern.sub(replacement, text)
        return text.replace(self.vhost, "<vhost>")

    def _tuned(self, text: str) -> str:
        if self.frame_max_taken and text.startswith("Connection.Tune("):
            return re.sub(r"frame_max=(\d+)", lambda m: f"frame_max={int(m[1]) + self.frame_max_taken}", text)
        return text


def _decoded(kind: int, channel: int, payload: bytes) -> str:
    """The frame as pamqp reads it where that says all there is; its octets otherwise."""
    raw = frame(kind, channel, payload)
    try:
        said: Any = pamqp_frame.unmarshal(raw)[2]
        if pamqp_frame.marshal(said, channel) == raw:
            values = dict(said.properties) if kind == HEADER else dict(said)
            size = f"{said.body_size} bytes, " if kind == HEADER else ""
            return f"{said.name}({size}{', '.join(f'{name}={value!r}' for name, value in values.items())})"
    except Exception:  # whatever pamqp makes of it: then octets it is
        pass
    return f"frame {kind} {payload!r}"


def _body(frames: list[bytes]) -> str:
    payload = b"".join(frames)
    if len(payload) <= SHORT_BODY_BYTES:
        text = f"body {payload!r}"
    else:
        text = f"body of {len(payload)} bytes, sha256 {hashlib.sha256(payload).hexdigest()[:16]}"
    sizes = [f"{len(list(run))} of {size}" for size, run in groupby(len(each) for each in frames)]
    return f"{text}{_FRAMES}{', '.join(sizes)}"


def _unsealed(payload: bytes) -> bytes:
    """The header without a seal, and without the table when only the seal was in there."""
    try:
        header = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    except GateError:
        return payload
    if TOKEN_NAME not in header.table.values:
        return payload
    without = splice(header, frozenset({TOKEN_NAME}), b"")
    if len(header.table.values) > 1:
        return without
    start = header.table_span[0] if header.table_span else 0
    flags = int.from_bytes(without[12:14], "big") & ~0x2000
    return without[:12] + flags.to_bytes(2, "big") + without[14:start] + without[start + 4 :]


def _expand_confirms(lines: list[str]) -> Iterator[str]:
    """Acks and nacks that follow one another as one line per tag, in the order of tags."""
    answered = 0
    run: dict[int, str] = {}
    for line in lines:
        if not _CONFIRM.match(line):
            yield from _told(run)
            run = {}
            if line.startswith(("Channel.OpenOk", "Channel.CloseOk")):
                answered = 0
            yield line
            continue
        name = "ack" if line.startswith("Basic.Ack") else "nack"
        tag = int(re.findall(r"delivery_tag=(\d+)", line)[0])
        if "multiple=True" in line:
            for covered in range(answered + 1, tag):
                run.setdefault(covered, name)
        if tag in run:
            yield f"{name} {tag} again"
        run[tag] = name
        answered = max(answered, tag) if "multiple=True" in line or tag == answered + 1 else answered
    yield from _told(run)


def _told(run: dict[int, str]) -> list[str]:
    return [f"confirm {name} {tag}" for tag, name in sorted(run.items())]
