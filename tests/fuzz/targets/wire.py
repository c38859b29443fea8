"""Targets for the room `wire`: bytes of a peer that has not even logged in."""

from __future__ import annotations

import random
import struct

from fuzz.oracles import methods as method_oracle
from fuzz.oracles.libraries import LIBRARIES
from fuzz.oracles.reference import NOT_COVERED, Node, Reader, canonical_table, read_header
from fuzz.oracles.strictness import STRICTER
from fuzz.targets.answers import answer, require
from sealgate.reason import Reason
from sealgate.signing import table as signing_table
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    OMITTED_FOR_SEAL,
    STRIPPED_NAMES,
    TOKEN_NAME,
    canonical_properties,
)
from sealgate.wire import frames as wire_frames
from sealgate.wire import properties
from sealgate.wire import table as wire_table
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import HEADERS, ContentHeader
from sealgate.wire.splitter import FrameSplitter
from sealgate.wire.table import Table
from sealgate.wire.values import Decimal, Timestamp, Value

_TOKEN_ENTRY = entry_longstr(TOKEN_NAME, b"seal1.new")
_NO_NAMES: frozenset[str] = frozenset()
_PAYLOAD_BYTES_MAX = 96


def frames(data: bytes) -> None:
    """The first two octets choose how the rest is cut into chunks."""
    stream = data[2:]
    dice = random.Random(data[:2])
    whole = _split(stream, [stream])
    octets = [stream[at : at + 1] for at in range(len(stream))]
    chunks: list[bytes] = []
    at = 0
    while at < len(stream):
        size = dice.choice((0, 1, 2, 6, 7, 8, 9, 20, 64))
        chunks.append(stream[at : at + size])
        at += size
    require(_split(stream, octets) == whole, "octet by octet gives other frames")
    require(_split(stream, chunks) == whole, "other chunks give other frames")
    require(_split(stream, chunks, lazy=True) == whole, "chunks not asked for at once give other frames")
    _check_frames(stream, whole)


Frames = tuple[list[tuple[int, int, bytes]], Reason | None, int]


def _split(stream: bytes, chunks: list[bytes], lazy: bool = False) -> Frames:
    """(frames, the reason of a refusal, octets that wait for more) of `stream` in these chunks."""
    splitter = FrameSplitter(_PAYLOAD_BYTES_MAX)
    found: list[tuple[int, int, bytes]] = []
    refused: Reason | None = None
    at = 0
    for number, chunk in enumerate(chunks):
        splitter.feed(chunk)
        if lazy and number + 1 < len(chunks):
            continue
        while refused is None:
            frame, refused = answer(splitter.next)
            if frame is None:
                break
            require(
                frame.raw == stream[at : at + len(frame.raw)], "a frame's raw octets are not the stream's"
            )
            at += len(frame.raw)
            found.append((frame.type, frame.channel, frame.payload))
    require(splitter.buffered == len(stream) - at, "octets were lost or made up")
    if refused is not None:
        require(answer(splitter.next)[1] is refused, "a refusal is not final")
    return found, refused, splitter.buffered


def _check_frames(stream: bytes, whole: Frames) -> None:
    """The frames against the plainest reading there is."""
    found, refused, _ = whole
    at = 0
    for kind, channel, payload in found:
        encoded = struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"
        require(wire_frames.encode_frame(kind, channel, payload) == encoded, "encoded otherwise")
        require(stream[at : at + len(encoded)] == encoded and kind in (1, 2, 3, 8), "no such frame is there")
        at += len(encoded)
    rest = stream[at:]
    if len(rest) < 7:
        require(refused is None, "refused what is no whole frame header")
        return
    kind, _, size = struct.unpack(">BHI", rest[:7])
    broken = {Reason.FRAME_TYPE} if kind not in (1, 2, 3, 8) else set()
    if size > _PAYLOAD_BYTES_MAX or (size and kind == 8):
        broken.add(Reason.FRAME_SIZE)
    if not broken and size + 8 <= len(rest) and rest[size + 7] != 0xCE:
        broken.add(Reason.FRAME_END)
    require((refused in broken) if broken else refused is None, f"answered {refused} where {broken} is wrong")


def header(data: bytes) -> None:
    """The payload of a content header frame."""
    heard = read_header(data)
    found, refused = answer(
        properties.scan_content_header, data, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME
    )
    if found is None:
        require(refused in heard.broken, f"refused as {refused}, broken is {heard.broken}")
        require(
            refused in STRICTER or not _all_read(data), f"all libraries read what is refused as {refused}"
        )
        return
    require(not heard.broken, f"accepted, though {heard.broken}")
    fields = {index: value for index, value in enumerate(found.fields) if value is not None}
    require(fields == heard.fields and found.body_size == heard.body_size, "other properties")
    _check_table(found.table, heard.entries, NOT_COVERED)
    for library in LIBRARIES:
        require(not (differences := library.differences(data, heard)), f"{differences}")
    _check_splices(found)
    for cut in (data[:-1], data + b"\x00"):
        require(
            answer(properties.scan_content_header, cut, _NO_NAMES, _NO_NAMES)[0] is None,
            "a length is not kept",
        )


def _all_read(data: bytes) -> bool:
    for library in LIBRARIES:
        try:
            library.read(data)
        except Exception:
            return False
    return True


def _check_table(found: Table, entries: list[tuple[bytes, Node]], left_out: frozenset[bytes]) -> None:
    """One table as our scanner has it against the reference's reading of it."""
    require(
        list(found.values) == [name.decode() for name, _ in entries]
        and all(ours(found.values[name.decode()], node) for name, node in entries),
        "other values",
    )
    require(found.canonical == canonical_table(entries, left_out), "another canonical form")
    require(found.canonical_without(_NO_NAMES) == canonical_table(entries), "another canonical form of all")
    require(
        b"".join([found.raw[start:end] for _, start, end in found.entries]) == found.raw,
        "entries leave a gap",
    )
    values = {name: _as_signed(value) for name, value in found.values.items()}
    python = answer(signing_table.canonical_table, values)[0]
    # Signed from Python values the table may be over its limit: its canonical form is longer than its bytes.
    require(python is None or python == found.canonical, "signing without a wire gives another form")


def ours(value: Value, node: Node) -> bool:
    """Whether the scanner's `value` is what `node` says."""
    wanted = node.value
    if node.kind == "t":
        return value is (wanted != 0)
    if node.kind == "T":
        return value == Timestamp(wanted)  # type: ignore[arg-type]
    if isinstance(wanted, tuple):
        return value == Decimal(*wanted)
    if isinstance(wanted, bytes):
        text = value.encode() if isinstance(value, str) and node.kind == "S" else value
        return text == wanted
    if node.kind == "A":
        return (isinstance(value, list) and isinstance(wanted, list) and len(value) == len(wanted)) and all(
            map(ours, value, wanted)
        )
    if node.kind == "F":
        return (
            isinstance(value, dict)
            and isinstance(wanted, list)
            and list(value) == [name.decode() for name, _ in wanted]
            and all(ours(value[name.decode()], inner) for name, inner in wanted)
        )
    if isinstance(wanted, float):
        return type(value) is float and struct.pack(">d", value) == struct.pack(">d", wanted)
    return type(value) is type(wanted) and value == wanted


def _as_signed(value: Value) -> object:
    """A value in the types of `signing.table`."""
    if isinstance(value, dict):
        return {name: _as_signed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_signed(inner) for inner in value]
    if isinstance(value, Timestamp):
        return signing_table.Timestamp(value.seconds)
    if isinstance(value, Decimal):
        return signing_table.Decimal(value.scale, value.unscaled)
    return value


def _scan(payload: bytes) -> ContentHeader:
    return properties.scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)


def _check_splices(found: ContentHeader) -> None:
    """Headers taken out and put in: everything else stays, to the octet."""
    values = found.table.values
    removed = {name: value for name, value in values.items() if name not in OMITTED_FOR_SEAL}
    stripped = _spliced(found, OMITTED_FOR_SEAL, b"", removed)
    if stripped is None:
        return
    sealed = _spliced(found, frozenset({TOKEN_NAME}), _TOKEN_ENTRY, None)
    if sealed is not None:
        require(sealed.table.values[TOKEN_NAME] == "seal1.new", "the token is not there")
        require(sealed.table.canonical == found.table.canonical, "a seal changes what it covers")
        again = properties.splice(sealed, frozenset({TOKEN_NAME}), b"")
        without = properties.splice(found, frozenset({TOKEN_NAME}), b"")
        gone = again == without or found.table_span is None
        require(gone, "a token that was put in and taken out leaves a trace")
    _spliced(found, STRIPPED_NAMES, b"", {n: v for n, v in values.items() if n not in STRIPPED_NAMES})


def _spliced(
    found: ContentHeader, remove: frozenset[str], add: bytes, values: dict[str, Value] | None
) -> ContentHeader | None:
    """`found` spliced and scanned again; None where the entry that was added is over a limit."""
    payload = properties.splice(found, remove, add)
    again, refused = answer(_scan, payload)
    if again is None:
        require(add and refused in (Reason.HEADER_COUNT, Reason.HEADER_SIZE), f"spliced, it is {refused}")
        return None
    require(
        again.fields == found.fields and again.body_size == found.body_size, "splicing changes a property"
    )
    require(
        canonical_properties(again.fields) == canonical_properties(found.fields), "splicing changes section P"
    )
    kept = [found.table.raw[start:end] for name, start, end in found.table.entries if name not in remove]
    require(again.table.raw == b"".join(kept) + add, "splicing changes an entry it does not concern")
    if values is not None:
        require(again.table.values == values, "splicing changes a value")
    if found.table_span is not None:
        start, stop = found.table_span
        after = len(payload) - (len(found.payload) - stop)
        require(
            payload[:start] == found.payload[:start] and payload[after:] == found.payload[stop:],
            "splicing changes octets outside the table",
        )
    else:
        require(found.fields[HEADERS] is None, "a header table that has no place")
    return again


def table(data: bytes) -> None:
    """The content of a field table, and the same amid other octets."""
    reader = Reader(data)
    entries = reader.top(len(data))
    outside = b"\xff\x00" + data + b"\x00\xff"
    scanned = (data, 0, len(data)), (outside, 2, 2 + len(data))
    (alone, refused), (amid, refused_amid) = [
        answer(wire_table.scan_table, *span, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME) for span in scanned
    ]
    require(refused is refused_amid, f"{refused} alone, {refused_amid} amid other octets")
    if alone is None or amid is None:
        require(refused in reader.broken, f"refused as {refused}, broken is {reader.broken}")
        return
    require(not reader.broken, f"accepted, though {reader.broken}")
    _check_table(alone, entries, NOT_COVERED)
    _check_table(amid, entries, NOT_COVERED)
    require(alone.traits == amid.traits and alone.raw == amid.raw == data, "another table amid other octets")


def methods(data: bytes) -> None:
    """The first octet chooses a method, the rest are its arguments."""
    readers = method_oracle.READERS
    if not data:
        return
    reader = readers[data[0] % len(readers)]
    payload = struct.pack(">I", reader.method) + data[1:]
    broken, arguments = method_oracle.read(reader, payload)
    value, refused = answer(reader.read, payload)
    if refused is not None:
        require(refused in broken, f"refused as {refused}, broken is {broken}")
        return
    require(not broken, f"accepted, though {broken}")
    require(reader.ours(value) == reader.plain(arguments), f"other arguments: {value!r}")
    require(not (differences := method_oracle.differences(reader, payload, arguments)), f"{differences}")
    reader.check(payload, value)
