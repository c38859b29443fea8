"""The reader says what the strict scanner says of every header, whatever it has read before."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.wire.properties import ContentHeader, restore, scan_content_header, splice
from sealgate.wire.reader import HeaderReader
from support import wire_bytes
from support.wire_bytes import long, short

SEEDS = range(150)
NAMES = (
    "lang",
    "task",
    "id",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "x-seal",
    "ü",
)
#: What a gateway or a signer takes out of a header.
LEFT_OUT = tuple(
    frozenset(names)
    for names in ({"x-seal"}, {"x-seal", "x-death"}, {"id", "group"}, {"lang", "ü"}, set(NAMES))
)
RARE_NAMES = ("x-death", "x-delay", "CC")


def entry(name: str, value: bytes) -> bytes:
    """An entry; `value` is its type and what follows."""
    return wire_bytes.entry(name, value[:1].decode(), value[1:])


def content_header(parts: dict[int, bytes], body_size: int) -> bytes:
    """With the encoded properties in `parts`, by index."""
    flags = sum([0x8000 >> index for index in parts])
    return wire_bytes.content_header(flags, b"".join([parts[index] for index in sorted(parts)]), body_size)


def read(reader: HeaderReader, payload: bytes) -> tuple[object, ...]:
    """What is said of a payload that lies among bytes which could go on with it."""
    start = len(payload) // 2
    data = payload[:start] + payload + payload
    try:
        header = reader.read_in(data, start, start + len(payload))
    except GateError as error:
        return error.reason, error.detail
    if len(payload) % 2:
        header.part()
        assert header.data == payload
        return told(header)
    found = told(header)
    header.part()
    assert told(header) == found
    return found


def scanned(payload: bytes) -> tuple[object, ...]:
    try:
        return told(scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME))
    except GateError as error:
        return error.reason, error.detail


def told(header: ContentHeader) -> tuple[object, ...]:
    """All there is to a header, its values with their types."""
    table = header.table
    section_p = canonical_properties(header.fields)
    assert header.section_p in (None, section_p)
    return (
        header.payload,
        header.body_size,
        header.flags,
        header.fields,
        header.table_span,
        repr(list(table.values.items())),
        table.raw,
        table.canonical,
        table.traits,
        table.entries,
        table.canonical_without(frozenset({"task"})),
        [(splice(header, names, b""), restore(header, names)) for names in LEFT_OUT],
    )


class Producer:
    """Writes headers that are like the one before, most of the time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        names = list(NAMES)
        if seed % 5 == 0:
            names.insert(self._random.randrange(len(names)), self._random.choice(RARE_NAMES))
        if seed % 3 == 0:
            self._random.shuffle(names)
        self._values = {name: self._value() for name in names}
        self._texts = {index: self._text(20) for index in (0, 1, 5, 6)}

    def _text(self, size: int) -> bytes:
        return self._random.choice((b"", b"a" * size, b"%d" % self._random.getrandbits(60), "é€".encode()))

    def _value(self) -> bytes:
        """Type and value."""
        choice = self._random
        return choice.choice(
            (
                b"V",
                b"t" + bytes((choice.getrandbits(1),)),
                b"I" + struct.pack(">i", choice.getrandbits(20)),
                b"l" + struct.pack(">q", -choice.getrandbits(40)),
                b"d" + struct.pack(">d", choice.random()),
                b"S" + long(self._text(9)),
                b"S" + long(self._text(300)),
                b"S" + long(b"\xff"),
                b"x" + long(b"\x00\xff"),
                b"A" + long(b"VV" + b"I" + struct.pack(">i", 7)),
                b"F" + long(entry("k", b"S" + long(self._text(3)))),
                b"T" + struct.pack(">Q", 1_800_000_000),
            )
        )

    def next(self) -> bytes:
        chance = self._random
        for name in self._values:
            if name in ("id", "x-seal") or chance.random() < 0.05:
                self._values[name] = self._value() if chance.random() < 0.2 else b"S" + long(self._text(36))
        if chance.random() < 0.05:
            self._values.pop(chance.choice(list(self._values)), None)
        if chance.random() < 0.3:
            self._texts[5] = self._text(36)
        if chance.random() < 0.05:
            self._texts[chance.choice((0, 1, 6, 8, 10))] = self._text(5)
        content = b"".join([entry(name, value) for name, value in self._values.items()])
        parts = {index: short(text) for index, text in self._texts.items()}
        parts[2] = long(content)
        parts[3] = b"\x02"
        if chance.random() < 0.1:
            parts[9] = struct.pack(">Q", chance.getrandbits(40))
        payload = bytearray(content_header(parts, chance.choice((0, 300, 70_000))))
        if chance.random() < 0.15:
            payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.03:
            del payload[chance.randrange(len(payload)) :]
        return bytes(payload)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_read_does_not_hang_on_what_was_read_before(seed: int) -> None:
    producers = [Producer(seed), Producer(seed + 1000)]
    readers = [a_reader(), a_reader("task"), a_reader("group")]
    for step in range(60):
        payload = producers[seed % 2 and step % 7 == 0].next()
        for reader in readers:
            assert read(reader, payload) == scanned(payload)


def a_reader(kind_name: str = "") -> HeaderReader:
    return HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, kind_name)


def celery(number: int, task: str = "shop.tasks.send_email", id_octets: int = 36) -> bytes:
    values = {
        "lang": b"S" + long(b"py"),
        "task": b"S" + long(task.encode()),
        "id": b"S" + long(b"%0*d" % (id_octets, number)),
        "eta": b"V",
        "retries": b"I" + struct.pack(">i", number),
        "x-seal": b"S" + long(b"seal1.%d" % number),
    }
    table = long(b"".join([entry(name, value) for name, value in values.items()]))
    return content_header({0: short(b"application/json"), 2: table, 3: b"\x02", 5: short(b"%d" % number)}, 9)


def test_headers_like_the_last_ones_are_not_scanned_again() -> None:
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
    for number in range(1, 4):
        reader.read(celery(number))
    scans = reader.scans
    for number in range(4, 99):
        assert read(reader, celery(number)) == scanned(celery(number))
        assert reader.read(celery(number)).section_p is not None
    assert reader.scans == scans


@pytest.mark.parametrize("kinds", [1, 2, 16, 32, 100])
def test_kinds_that_take_turns_are_not_scanned_again(kinds: int) -> None:
    """Past as many as there is room for they are read as what they have in common."""
    reader = a_reader("task")
    dice = random.Random(kinds)
    for number in range(kinds * 4):
        reader.read(celery(number, f"task_{number % kinds}"))
    scans = reader.scans
    for number in range(300):
        payload = celery(number, f"task_{dice.randrange(kinds)}")
        assert read(reader, payload) == scanned(payload)
    assert reader.scans == scans


def test_what_lies_where_a_kind_would_is_no_kind() -> None:
    """An entry of another name there, of another type, or a length that leads out of the table."""
    reader = a_reader("task")
    for number in range(4):
        reader.read(celery(number, "one"))
        reader.read(celery(number, "two"))
    for task in (b"S" + long(b"one"), b"x" + long(b"one"), b"S\x00\x00\x00\xffone", b"S\xff\xff\xff\xffone"):
        for name in ("task", "tusk"):
            head = entry("lang", b"S" + long(b"py")) + entry(name, task)
            rest = entry("id", b"S" + long(b"%036d" % 7))
            for table in (head, head + rest, rest + head):
                payload = content_header({2: long(table), 5: short(b"7")}, 9)
                assert read(reader, payload) == scanned(payload)


def test_nothing_is_kept_of_a_table_that_has_become_large() -> None:
    reader = a_reader("task")
    for number in range(1, 4):
        reader.read(celery(number))
    scans = reader.scans
    payload = celery(4, id_octets=60_000)
    tracemalloc.start()
    try:
        assert reader.read(payload).table.size == 6
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.scans == scans
    assert kept < 10_000


def test_large_tables_are_read_and_not_remembered() -> None:
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
    for size in (10, 10, 5000, 10, 65_000, 65_500, 65_536, 70_000, 10):
        table = long(entry("id", b"S" + long(b"i" * size)))
        payload = content_header({2: table}, 0)
        assert read(reader, payload) == scanned(payload)


@pytest.mark.parametrize(("values", "again"), [(60, 0), (200, 3)])
def test_tables_of_many_values_are_read_and_not_remembered(values: int, again: int) -> None:
    """They take little room on the wire, and 40 KiB as objects."""
    reader = a_reader("task")
    inner = b"".join([entry(f"{number:02x}", b"F" + long(b"")) for number in range(values)])
    for _ in range(4):
        table = entry("task", b"S" + long(b"t")) + entry("stamps", b"F" + long(inner))
        payload = content_header({2: long(table)}, 0)
        assert read(reader, payload) == scanned(payload)
    assert reader.scans == 1 + again


def after_each_other(*tables: bytes) -> list[bool]:
    """Read these on one connection; each as if it were the first. Returns whether they were taken."""
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
    taken = []
    for table in tables:
        payload = content_header({2: long(table), 5: short(b"c")}, 0)
        found = read(reader, payload)
        assert found == scanned(payload)
        taken.append(not isinstance(found[0], Reason))
    return taken


@pytest.mark.parametrize("others", [0, 1, 62, 63, 64, 100])
@pytest.mark.parametrize("over", [0, 1])
def test_count_of_entries_is_the_same_for_what_is_remembered(others: int, over: int) -> None:
    ids = [entry("id", b"S" + long(b"%d" % number)) for number in range(4)]
    scalars = b"".join([entry(f"{number:x}", b"t\x01") for number in range(others)])
    items = entry("list", b"A" + long(b"V" * (256 - others - 2 + over)))
    right = [one + scalars + entry("list", b"A" + long(b"V")) for one in ids]
    assert after_each_other(*right, ids[0] + scalars + items, *right)[4] is not bool(over)
    assert after_each_other(*[one + scalars + items for one in ids]) == [not over] * 4


@pytest.mark.parametrize("room", [-1, 0, 1])
def test_size_of_a_table_is_the_same_for_what_is_remembered(room: int) -> None:
    small = [entry("id", b"S" + long(b"%d" % number)) for number in range(4)]
    large = entry("id", b"S" + long(b"i" * (65_536 - 8 - room)))
    assert after_each_other(*small, large, *small) == [*[True] * 4, room >= 0, *[True] * 4]
    for edge in (4096, 4097):
        sized = [entry("id", b"S" + long(b"%d" % n * (edge - 8 - room))) for n in range(4)]
        assert all(after_each_other(*sized, large, *sized)[:4])


def test_value_that_runs_past_its_table_is_not_read_from_the_properties_behind_it() -> None:
    """The table's length says one thing and that of its last value another; both end within the header."""
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
    for size in range(40):
        for declared in range(size + 12):
            value = b"S" + struct.pack(">I", size) + b"i" * size
            table = struct.pack(">I", declared) + b"\x02id" + value
            payload = wire_bytes.content_header(0x2400, table + short(b"c"))
            assert read(reader, payload) == scanned(payload)
        right = content_header({2: long(entry("id", b"S" + long(b"i" * size))), 5: short(b"c")}, 0)
        assert read(reader, right) == scanned(right)


@pytest.mark.parametrize("kinds", [b"VSI", b"SxT", b"tdf", b"ISA", b"FSV", b"SDS", b"LlS"])
def test_value_that_changes_its_type_is_read_anew(kinds: bytes) -> None:
    values = {
        b"V": b"V",
        b"S": b"S" + long(b"text"),
        b"x": b"x" + long(b"\xff"),
        b"I": b"I" + struct.pack(">i", -1),
        b"l": b"l" + struct.pack(">q", -1),
        b"L": b"L" + struct.pack(">q", 7),
        b"t": b"t\x02",
        b"d": b"d" + struct.pack(">d", float("inf")),
        b"f": b"f" + struct.pack(">f", 0.5),
        b"T": b"T" + struct.pack(">Q", 2**60),
        b"D": b"D\x00\x00\x00\x00\x01",
        b"A": b"A" + long(b"V"),
        b"F": b"F" + long(entry("k", b"V")),
    }
    turns = [values[kinds[at : at + 1]] for at in (0, 1, 2, 0, 0, 1, 1, 2, 2, 1, 0)]
    after_each_other(*[entry("id", turn) + entry("z", b"V") for turn in turns])
