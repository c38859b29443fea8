"""The content header of a message: its properties as raw bytes, its header table scanned, headers spliced.

Nothing is re-encoded: a spliced header keeps every byte it does not add or remove.
"""

from __future__ import annotations

import struct
from typing import Final

from sealgate.layout import mypyc_attr
from sealgate.reason import GateError, Reason
from sealgate.wire.constants import CLASS_BASIC, SHORT_TEXT_BYTES_MAX
from sealgate.wire.entries import with_entries, without
from sealgate.wire.table import EMPTY_TABLE, Table, scan_table
from sealgate.wire.values import Value

CONTENT_TYPE: Final = 0
CONTENT_ENCODING: Final = 1
HEADERS: Final = 2
DELIVERY_MODE: Final = 3
PRIORITY: Final = 4
CORRELATION_ID: Final = 5
REPLY_TO: Final = 6
EXPIRATION: Final = 7
MESSAGE_ID: Final = 8
TIMESTAMP: Final = 9
TYPE: Final = 10
USER_ID: Final = 11
APP_ID: Final = 12
CLUSTER_ID: Final = 13
PROPERTIES: Final = 14
#: By index, as most client libraries write them.
NAMES: Final = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)

#: Class, weight, body size and property flags.
FIXED_BYTES: Final = 14
_FIXED: Final = struct.Struct(">HHQH")
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
#: The flag of property 0; that of property n is n bits lower. Bit 1 has no property; bit 0 says: more flags.
_FIRST_FLAG: Final = 0x8000
_HEADERS_FLAG: Final = _FIRST_FLAG >> HEADERS
_EXPIRATION_FLAG: Final = _FIRST_FLAG >> EXPIRATION
_UNKNOWN_FLAGS: Final = 0x0003
#: Where the property flags are.
FLAGS_AT: Final = 12


@mypyc_attr(acyclic=True, free_list_len=1)
class ContentHeader:
    """A content header that was checked.

    It lies in `data` from `start` to `stop`; `body_size` in bytes; the header table lies in `data` as well,
    from `table_at` on, its four-byte length included, to `table_stop`, both -1 when there is none;
    `section_p` section P of seal1 where reading gave it as well, else None. Headers with the same `shape`, if
    any, have the same properties but for correlation id, message id, timestamp and type.
    """

    __slots__ = (
        "_changed",
        "_changes",
        "_fields",
        "body_size",
        "data",
        "flags",
        "section_p",
        "shape",
        "start",
        "stop",
        "table",
        "table_at",
        "table_stop",
    )

    def __init__(
        self,
        data: bytes,
        start: int,
        stop: int,
        body_size: int,
        flags: int,
        fields: list[bytes | None],
        table: Table,
        table_at: int,
        table_stop: int,
        section_p: bytes | None = None,
        shape: object = None,
        changed: list[int] | None = None,
        changes: list[bytes] | None = None,
    ) -> None:
        """`changes` are the values at the indices `changed`: `fields` has others there, and may be shared.

        Those of them that are text have their length in front.
        """
        self.data = data
        self.start = start
        self.stop = stop
        self.body_size: Final = body_size
        self.flags: Final = flags
        self.table: Final = table
        self.table_at = table_at
        self.table_stop = table_stop
        self.section_p: Final = section_p
        self.shape: Final = shape
        self._fields = fields
        self._changed = changed
        self._changes = changes

    @property
    def payload(self) -> bytes:
        """The frame's payload as received."""
        data = self.data
        return data if len(data) == self.stop - self.start else data[self.start : self.stop]

    def part(self) -> None:
        """Let go of the bytes around it, so that it can be kept without them."""
        start = self.start
        self.data = self.payload
        self.start = 0
        self.stop -= start
        if self.table_at >= 0:
            self.table_at -= start
            self.table_stop -= start
            self.table.part(self.data, self.table_at + 4)

    @property
    def fields(self) -> list[bytes | None]:
        """The raw value of each property by index.

        Without its length prefix and None when absent; always None at `HEADERS`.
        """
        changed, changes = self._changed, self._changes
        if changed is not None and changes is not None:
            fields = self._fields.copy()
            for index, value in zip(changed, changes, strict=True):
                fields[index] = value if index == TIMESTAMP else value[1:]
            self._fields = fields
            self._changes = None
        return self._fields

    def field(self, index: int) -> bytes | None:
        """As `fields[index]`, without a look at the others."""
        changes = self._changes
        if changes is not None and self._changed is not None and index in self._changed:
            value = changes[self._changed.index(index)]
            return value if index == TIMESTAMP else value[1:]
        return self._fields[index]

    @property
    def table_span(self) -> tuple[int, int] | None:
        """Where the header table lies in `payload`, its length included; None when there is none."""
        start = self.start
        return None if self.table_at < 0 else (self.table_at - start, self.table_stop - start)

    def text(self, index: int) -> str | None:
        """The property as text, None when absent. Only for short strings, which were checked to be UTF-8."""
        value = self.field(index)
        return None if value is None else value.decode()


def read_body_size(payload: bytes) -> int:
    """The declared body size in bytes, from the fixed part alone.

    So that an oversized body is refused, and framing kept, whatever the rest holds. Raises `GateError`
    (frame.truncated, frame.class).
    """
    if len(payload) < FIXED_BYTES:
        raise GateError(Reason.FRAME_TRUNCATED, "content header")
    class_id, weight, size, _ = _FIXED.unpack_from(payload, 0)
    if class_id != CLASS_BASIC:
        raise GateError(Reason.FRAME_CLASS, f"content header of class {class_id}")
    if weight != 0:
        raise GateError(Reason.FRAME_CLASS, f"content header of weight {weight}")
    return int(size)


def scan_content_header(
    payload: bytes, omitted: frozenset[str], absolute: frozenset[str], token_name: str = ""
) -> ContentHeader:
    """Check and read a content header; `omitted`, `absolute` and `token_name` are those of `scan_table`.

    Raises `GateError`: frame.truncated and frame.class as `read_body_size`; props.flags, props.truncated
    (trailing bytes as well), props.utf8 (a short string that is not UTF-8 or has a NUL); header.* and
    sig.duplicate.
    """
    body_size = read_body_size(payload)
    flags: int = _U16.unpack_from(payload, FLAGS_AT)[0]
    if flags & _UNKNOWN_FLAGS:
        raise GateError(Reason.PROPS_FLAGS, f"property flags 0x{flags:04x}")
    fields: list[bytes | None] = [None] * PROPERTIES
    table = EMPTY_TABLE
    table_at = table_stop = -1
    at = FIXED_BYTES
    for index in range(PROPERTIES):
        if not flags & (_FIRST_FLAG >> index):
            continue
        start, stop = _span(payload, index, at)
        at = stop
        if index == HEADERS:
            table = scan_table(payload, start, stop, omitted, absolute, token_name)
            table_at, table_stop = start - 4, stop
            continue
        value = payload[start:stop]
        if index not in (DELIVERY_MODE, PRIORITY, TIMESTAMP):
            _check_text(value, index)
        fields[index] = value
    if at != len(payload):
        raise GateError(Reason.PROPS_TRUNCATED, f"{len(payload) - at} bytes after the properties")
    return ContentHeader(payload, 0, len(payload), body_size, flags, fields, table, table_at, table_stop)


def names_in(table: Table) -> dict[str, Value]:
    """The names of a table's entries, as keys; the values may be those of a table it is like."""
    return table.values if table.alike is None else table.alike.likeness.values


def value_in(table: Table, name: str) -> Value:
    """The value of a table's entry, None where there is none."""
    alike = table.alike
    if alike is None or name in alike.likeness.changing:
        return table.values.get(name)
    return alike.likeness.values.get(name)


def splice(header: ContentHeader, remove: frozenset[str], add: bytes) -> bytes:
    """The header's payload without the top-level headers called `remove`, with the entries `add` appended.

    Every other byte is the original's. A missing table comes to be when there is something to add.
    """
    payload = header.payload
    span = header.table_span
    if span is None:
        return _with_table(header, add) if add else payload
    if not add and remove.isdisjoint(names_in(header.table)):
        return payload
    alike = header.table.alike
    content = None if alike is None else alike.without(header.table.raw, remove)
    if content is None:
        content = without(header.table, remove)
    size = _U32.pack(len(content) + len(add))
    start, stop = span
    return b"%b%b%b%b%b" % (payload[:start], size, content, add, payload[stop:])


def edit(header: ContentHeader, entries: dict[str, bytes], fields: dict[int, bytes]) -> bytes:
    """The header's payload with encoded header `entries` by name, and property values by index, put in.

    They take the place of those that are there; a property's value is without its length prefix. Every other
    byte is the original's.
    """
    payload = header.payload
    flags = header.flags
    parts = [b""]
    at = FIXED_BYTES
    for index in range(PROPERTIES):
        flag = _FIRST_FLAG >> index
        start = at
        if flags & flag:
            at = _span(payload, index, at)[1]
        if index == HEADERS and entries:
            content = with_entries(header.table, entries)
            parts.append(_U32.pack(len(content)) + content)
            flags |= flag
        elif index in fields:
            parts.append(_encoded_field(index, fields[index]))
            flags |= flag
        else:
            parts.append(payload[start:at])
    parts[0] = payload[:FLAGS_AT] + _U16.pack(flags)
    return b"".join(parts)


def _encoded_field(index: int, value: bytes) -> bytes:
    if index in (DELIVERY_MODE, PRIORITY, TIMESTAMP):
        return value
    assert len(value) <= SHORT_TEXT_BYTES_MAX  # what is put in is made here
    return bytes((len(value),)) + value


def restore(header: ContentHeader, remove: frozenset[str]) -> bytes:
    """The header's payload as it was before headers called `remove` were added by `splice`.

    A table that is left empty goes too: whether its sender had an empty one or none can not be known.
    """
    names = names_in(header.table)
    span = header.table_span
    if span is None or not names or not remove.issuperset(names):
        return splice(header, remove, b"")
    payload = header.payload
    start, stop = span
    flags = _U16.pack(header.flags & ~_HEADERS_FLAG)
    return payload[:FLAGS_AT] + flags + payload[FIXED_BYTES:start] + payload[stop:]


def with_expiration(payload: bytes, value: bytes | None) -> bytes:
    """`payload`, which was checked, with the expiration property `value` (None: without), whatever it had.

    Every other byte stays.
    """
    flags: int = _U16.unpack_from(payload, FLAGS_AT)[0]
    at = FIXED_BYTES
    for index in range(EXPIRATION):
        if flags & (_FIRST_FLAG >> index):
            at = _span(payload, index, at)[1]
    end = _span(payload, EXPIRATION, at)[1] if flags & _EXPIRATION_FLAG else at
    flags = flags & ~_EXPIRATION_FLAG if value is None else flags | _EXPIRATION_FLAG
    encoded = b"" if value is None else bytes((len(value),)) + value
    return payload[:FLAGS_AT] + _U16.pack(flags) + payload[FIXED_BYTES:at] + encoded + payload[end:]


def _with_table(header: ContentHeader, content: bytes) -> bytes:
    payload = header.payload
    at = FIXED_BYTES
    for index in (CONTENT_TYPE, CONTENT_ENCODING):
        value = header.fields[index]
        if value is not None:
            at += 1 + len(value)
    flags = _U16.pack(header.flags | _HEADERS_FLAG)
    table = _U32.pack(len(content)) + content
    return payload[:FLAGS_AT] + flags + payload[FIXED_BYTES:at] + table + payload[at:]


def _span(payload: bytes, index: int, at: int) -> tuple[int, int]:
    """Where the value of property `index` lies whose encoding begins at `at`, without its length prefix."""
    end = len(payload)
    if index == HEADERS:
        if at + 4 > end:
            raise GateError(Reason.PROPS_TRUNCATED, "property 2")
        start = at + 4
        stop: int = start + _U32.unpack_from(payload, at)[0]
        if stop > end:
            raise GateError(Reason.HEADER_TRUNCATED, "the header table is past its frame")
        return start, stop
    if index in (DELIVERY_MODE, PRIORITY):
        start, stop = at, at + 1
    elif index == TIMESTAMP:
        start, stop = at, at + 8
    elif at < end:
        start = at + 1
        stop = start + payload[at]
    else:
        start, stop = at, at + 1
    if stop > end:
        raise GateError(Reason.PROPS_TRUNCATED, f"property {index}")
    return start, stop


def _check_text(value: bytes, index: int) -> None:
    if 0 in value:
        raise GateError(Reason.PROPS_UTF8, f"property {index} has a NUL")
    if value.isascii():
        return
    try:
        value.decode()
    except UnicodeDecodeError:
        raise GateError(Reason.PROPS_UTF8, f"property {index} is not UTF-8") from None
