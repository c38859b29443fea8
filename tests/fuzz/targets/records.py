"""Targets for what Sealgate reads back: quarantine queues, which others may write to, and its journals."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pamqp.decode

from fuzz.targets.answers import require
from sealgate.quarantine.describe import body_preview, summary, whole
from sealgate.quarantine.record import CONTENT_TYPE, NotAPublicationError, decode, encode_body, encode_headers
from sealgate.reason import GateError
from sealgate.stores.journal import Journal
from sealgate.stores.nonces import NonceTable

_MESSAGE_ID = "b3f359bd-b8c5-4497-848c-a9ef77163319"
_NOW = 1_767_225_600
_BOOT = "b1"


def record(data: bytes) -> None:
    """Two octets for the size of the header table, the table (aio-pika's decoder reads it), the body."""
    size = int.from_bytes(data[:2], "big")
    table, body = data[2 : 2 + size], data[2 + size :]
    try:
        _, headers = pamqp.decode.field_table(len(table).to_bytes(4, "big") + table)
    except Exception:
        return
    try:
        kept = decode(CONTENT_TYPE, _MESSAGE_ID, headers, body)
    except NotAPublicationError:
        return
    shown = json.dumps(whole(kept), allow_nan=False)
    require(
        json.loads(shown)["id"] == _MESSAGE_ID and summary(kept)["reason"], "what is kept can not be shown"
    )
    require(body_preview(kept.record.body, 100).isprintable(), "a terminal would obey a body")
    again = decode(CONTENT_TYPE, _MESSAGE_ID, encode_headers(kept.record), encode_body(kept.record))
    # A date is a float of seconds: microseconds are not kept in every century.
    same_date = replace(again.record, at=kept.record.at)
    require(replace(again, record=same_date) == kept, "written again, it is another record")


@cache
def _folder() -> Path:
    """In memory where there is such a place: a journal is brought to the disk when it is closed."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="sealgate-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def journal(data: bytes) -> None:
    """The first octet chooses whether the check sums of the lines are made right, the rest is the file."""
    lines = data[1:]
    if data[:1] and data[0] & 1:
        lines = _summed(lines)
    path = _folder() / "nonces"
    path.write_bytes(lines)
    try:
        horizon, nonces = _read(path)
    except GateError:
        require(path.read_bytes() == lines, "a file that was refused is not as it was")
        require(b"sealgate-journal-" not in lines.partition(b"\n")[0], "a journal was taken for another file")
        return
    horizon_again, nonces_again = _read(path)
    require(horizon_again == horizon, "rewritten, it has another horizon")
    require(nonces_again == nonces, "rewritten, it has other nonces")


def _summed(data: bytes) -> bytes:
    crc = 0
    lines = []
    for text in data.split(b"\n"):
        crc = zlib.crc32(text, crc)
        lines.append(b"%08x %b\n" % (crc, text))
    return b"".join(lines)


def _read(path: Path) -> tuple[int, dict[bytes, tuple[bytes, int]]]:
    nonces = NonceTable(1000)
    journal = Journal(path, _BOOT)
    try:
        horizon = journal.open(_NOW, nonces)
    finally:
        journal.close()
    found = {
        record.nonce_key: (record.digest, record.remember_until) for record in nonces.records(leased=True)
    }
    require(len(found) == len(nonces), "a nonce is remembered twice")
    return horizon, found
