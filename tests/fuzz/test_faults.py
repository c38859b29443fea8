"""The targets notice faults: each of these, put into the product, fails a target on the corpus or near it."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzz import corpus
from fuzz.strategies import headers, near, tables
from fuzz.targets import TARGETS, bodies, conversations, messages, records, seals, wire
from sealgate.reason import GateError, Reason
from sealgate.signing import base64url, canonical, keyfile, token, token_reader
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.material import MaterialKind
from sealgate.stores import journal
from sealgate.verify import alike, authority, checks, inflate, pickles, strict_json, strict_msgpack
from sealgate.verify.verdict import GRANTED, Accepted
from sealgate.wire import methods, properties, splitter, table

Patch = pytest.MonkeyPatch
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Fault:
    """`put_in` breaks the product; one of `targets` must notice."""

    name: str
    target: str
    put_in: Callable[[Patch], None]


FAULTS: list[Fault] = []


def fault(target: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def register(put_in: Callable[[Patch], None]) -> Callable[[Patch], None]:
        FAULTS.append(Fault(put_in.__name__, target, put_in))
        return put_in

    return register


def wrapped(patch: Patch, place: Any, name: str, wrap: Wrap) -> None:
    patch.setattr(place, name, wrap(getattr(place, name)))


@fault("header")
def accepts_a_duplicate_name(patch: Patch) -> None:
    class Careless(table.Scanner):
        def duplicate(self, name: str, depth: int) -> GateError:
            raise _DuplicateError(name)

    class _DuplicateError(Exception):
        pass

    def scan_table(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(data: bytes, start: int, end: int, *rest: Any) -> Any:
            try:
                return original(data, start, end, *rest)
            except _DuplicateError:
                # As libraries do: the last one counts. Here by leaving out what came before it.
                first = data[start] + 1 + start
                return original(data, start, start, *rest) if first > end else table.EMPTY_TABLE

        return careless

    patch.setattr(table, "Scanner", Careless)
    wrapped(patch, properties, "scan_table", scan_table)


@fault("header")
def narrows_integers(patch: Patch) -> None:
    patch.setitem(table._INTEGERS, ord("l"), _Narrow(">q"))


class _Narrow(struct.Struct):
    def unpack_from(self, *arguments: Any) -> tuple[Any, ...]:
        return (super().unpack_from(*arguments)[0] & 0x7FFFFFFF,)


@fault("header")
def takes_l_for_unsigned(patch: Patch) -> None:
    class Unsigned(struct.Struct):
        def unpack_from(self, *arguments: Any) -> tuple[Any, ...]:
            return (abs(super().unpack_from(*arguments)[0]),)

    patch.setitem(table._INTEGERS, ord("L"), Unsigned(">q"))


@fault("header")
def ignores_what_follows_the_properties(patch: Patch) -> None:
    def scan(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(payload: bytes, *rest: Any) -> Any:
            try:
                return original(payload, *rest)
            except GateError as error:
                if error.reason is not Reason.PROPS_TRUNCATED or not payload:
                    raise
                return careless(payload[:-1], *rest)

        return careless

    wrapped(patch, properties, "scan_content_header", scan)


@fault("header")
def cuts_what_is_past_its_container(patch: Patch) -> None:
    patch.setattr(table, "_within", min)


@fault("header")
def signs_the_octet_of_a_bool(patch: Patch) -> None:
    class Careless(table.Scanner):
        def value(self, end: int, depth: int) -> Any:
            value = super().value(end, depth)
            if value is True:
                self.piece = b"t" + self.data[self.at - 1 : self.at]
            return value

    patch.setattr(table, "Scanner", Careless)


@fault("header")
def forgets_to_sort(patch: Patch) -> None:
    def join(pieces: dict[str, bytes], omitted: frozenset[str]) -> bytes:
        parts = [piece for name, piece in pieces.items() if name not in omitted]
        return struct.pack(">I", len(parts)) + b"".join(parts)

    patch.setattr(table, "_join", join)


@fault("header")
def leaves_out_a_nested_name_as_well(patch: Patch) -> None:
    patch.setattr(table, "_NO_NAMES", frozenset({"k", "a", "x-seal"}))


@fault("header")
def splices_in_front(patch: Patch) -> None:
    def splice(header: properties.ContentHeader, remove: frozenset[str], add: bytes) -> bytes:
        if header.table_span is None:
            return header.payload
        start, stop = header.table_span
        content = add + table.without(header.table, remove)
        return header.payload[:start] + struct.pack(">I", len(content)) + content + header.payload[stop:]

    patch.setattr(properties, "splice", splice)


@fault("table")
def reads_offsets_from_the_start_of_the_data(patch: Patch) -> None:
    def scan_table(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(data: bytes, start: int, end: int, *rest: Any) -> Any:
            found = original(data, start, end, *rest)
            found._starts[:] = [at + start for at in found._starts]
            return found

        return careless

    wrapped(patch, table, "scan_table", scan_table)


@fault("frames")
def loses_what_comes_after_a_short_chunk(patch: Patch) -> None:
    def feed(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(self: splitter.FrameSplitter, data: bytes) -> None:
            original(self, data[:-1] if len(data) == 9 else data)

        return careless

    wrapped(patch, splitter.FrameSplitter, "feed", feed)


@fault("frames")
def does_not_look_at_the_end_octet(patch: Patch) -> None:
    def cut(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(self: splitter.FrameSplitter) -> Any:
            try:
                return original(self)
            except GateError as error:
                if error.reason is Reason.FRAME_END:
                    return None
                raise

        return careless

    wrapped(patch, splitter.FrameSplitter, "_cut", cut)


@fault("methods")
def ignores_what_follows_the_arguments(patch: Patch) -> None:
    patch.setattr(methods.Arguments, "finish", lambda self: None)


@fault("methods")
def takes_mandatory_for_immediate(patch: Patch) -> None:
    def octet(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(self: Any) -> int:
            value = original(self)
            return int(value) >> 1

        return careless

    wrapped(patch, methods.Arguments, "octet", octet)


@fault("token")
def takes_base64_that_is_not_canonical(patch: Patch) -> None:
    patch.setattr(base64url, "_LAST_OF_TWO", frozenset(range(256)))
    patch.setattr(base64url, "_LAST_OF_THREE", frozenset(range(256)))


@fault("token")
def takes_a_short_nonce(patch: Patch) -> None:
    pattern = token._FIELDS.pattern.replace(b"{22,32}", b"{2,32}")
    patch.setattr(token, "_FIELDS", re.compile(pattern))


@fault("token")
def takes_a_number_with_a_zero_in_front(patch: Patch) -> None:
    pattern = token._FIELDS.pattern.replace(b"(0|[1-9][0-9]{0,11})", b"([0-9]{1,12})")
    patch.setattr(token, "_FIELDS", re.compile(pattern))


@fault("keyfile")
def tells_a_secret(patch: Patch) -> None:
    def parse(text: str, kind: object) -> bytes:
        raise ValueError(f"{text} is no key")

    patch.setattr(keyfile, "parse_secret", parse)


@fault("material")
def takes_a_key_of_another_kind(patch: Patch) -> None:
    def parse(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(text: str, kind: MaterialKind) -> Any:
            return original(kind.value + text.partition("_")[2].partition("_")[2], kind)

        return careless

    wrapped(patch, seals, "parse_secret", parse)


@fault("msgpack")
def takes_a_msgpack_name_twice(patch: Patch) -> None:
    patch.setattr(strict_msgpack, "_map", dict)


@fault("envelopes")
def permits_any_task(patch: Patch) -> None:
    patch.setattr(authority.TaskGrant, "check", lambda self, task: None)


@fault("json")
def takes_a_json_name_twice(patch: Patch) -> None:
    decoder = strict_json.JSONDecoder(parse_constant=strict_json._constant)
    patch.setattr(strict_json, "_PLAIN", decoder)


@fault("json")
def takes_nan(patch: Patch) -> None:
    patch.setattr(strict_json, "_PLAIN", strict_json.JSONDecoder(object_pairs_hook=strict_json._plain_object))


@fault("inflate")
def ignores_what_follows_the_stream(patch: Patch) -> None:
    def inflated(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(method: str, data: bytes, limit: int) -> bytes:
            try:
                return bytes(original(method, data, limit))
            except GateError:
                if method != inflate.GZIP:
                    raise
                try:
                    return zlib.decompress(data)
                except zlib.error:
                    return b""

        return careless

    wrapped(patch, bodies.inflate, "inflate", inflated)


@fault("pickles")
def knows_one_alphabet_only(patch: Patch) -> None:
    patch.setattr(pickles, "_URL_SAFE", {})


@fault("verifier")
def does_not_compare_the_target(patch: Patch) -> None:
    patch.setattr(checks, "check_snapshot", lambda message, token: None)


@fault("verifier")
def forgets_a_property(patch: Patch) -> None:
    indices = tuple(index for index in canonical.SECTION_P_INDICES if index != 12)
    patch.setattr(canonical, "SECTION_P_INDICES", indices)
    _sign_again(patch)


@fault("verifier")
def accepts_any_signature(patch: Patch) -> None:
    patch.setattr(HmacSha256, "verify", lambda self, data, signature: True)


@fault("verifier")
def strips_what_was_signed(patch: Patch) -> None:
    patch.setattr(messages, "STRIPPED_NAMES", canonical.STRIPPED_NAMES | {"task"})


def _sign_again(patch: Patch) -> None:
    """Have the messages of the target signed by the faulty product."""
    for made in (messages.signed_messages, messages._signing_inputs, messages._tokens):
        made.cache_clear()


@fault("session")
def lets_every_message_pass(patch: Patch) -> None:
    patch.setattr(checks.Verifier, "_examine", lambda self, examination: Accepted("k1", ""))


@fault("memory")
def looks_for_no_pickle_in_what_is_alike(patch: Patch) -> None:
    patch.setattr(alike, "may_hold_pickle", lambda body: False)


@fault("memory")
def reads_no_token_twice(patch: Patch) -> None:
    def read(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, value: self._last.token if self._last else original(self, value)

    wrapped(patch, token_reader.TokenReader, "read", read)


@fault("session")
def forgets_what_came_before_a_single_octet(patch: Patch) -> None:
    def feed(original: Callable[..., Any]) -> Callable[..., Any]:
        def careless(self: splitter.FrameSplitter, data: bytes) -> None:
            if len(data) == 1 and data == b"\xce":
                self._pending.clear()
                self._dribble.clear()
                self._pending_bytes = 0
            original(self, data)

        return careless

    wrapped(patch, splitter.FrameSplitter, "feed", feed)


@fault("session")
def forwards_a_message_twice(patch: Patch) -> None:
    patch.setattr(conversations._Store, "__call__", lambda self, claim: GRANTED)


@fault("record")
def writes_more_than_was_kept(patch: Patch) -> None:
    more = struct.pack(">BHI", 3, 1, 1) + b"x\xce"
    wrapped(patch, records, "encode_body", lambda original: lambda record: original(record) + more)


@fault("journal")
def reads_a_number_that_is_none(patch: Patch) -> None:
    def header(self: Any, line: bytes) -> int:
        fields = line[9:-1].split(b" ")
        self.horizon = int(fields[2]) if len(fields) == 3 else 0
        return journal._parse_crc(line)

    patch.setattr(journal._Reader, "_header", header)


def notice(target: str) -> None:
    """Run a target on all that is known of it, and near that."""
    for data in known_of(target):
        TARGETS[target].run(data)
    notice_nearby(target)


def known_of(target: str) -> list[bytes]:
    return [*corpus.inputs(target), *corpus.cases(target).values()]


def notice_nearby(target: str) -> None:
    quick = settings(
        max_examples=200, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), derandomize=True
    )
    quick(given(near(known_of(target)))(TARGETS[target].run))()
    if target == "header":
        quick(given(headers(tables))(wire.header))()


@pytest.mark.replaces_core
@pytest.mark.parametrize("found", FAULTS, ids=lambda found: f"{found.target}-{found.name}")
def test_a_fault_in_the_product_is_noticed(found: Fault, monkeypatch: Patch) -> None:
    found.put_in(monkeypatch)
    try:
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, a fuzzer would stop there
            notice(found.target)
    finally:
        monkeypatch.undo()
        _sign_again(monkeypatch)


def test_every_target_has_a_fault_to_notice() -> None:
    without = TARGETS.keys() - {found.target for found in FAULTS}
    assert without == set(), f"no fault is put in for {without}"


@pytest.mark.parametrize("target", TARGETS)
def test_without_a_fault_nothing_is_noticed(target: str) -> None:
    """What is known passes as well: `test_corpus` runs all of it."""
    notice_nearby(target)
