"""The journal: nonces on disk, so that a restart forgets nothing (seal1.md "Replay").

Lines of text, each with a CRC-32 that continues the one before it, so that a lost or foreign line shows:

    CRC sealgate-journal-1 BOOT HORIZON         first; which run of the machine, and the store's horizon
    CRC UNTIL NONCE_KEY DIGEST                  one committed nonce, until Unix seconds, in hexadecimal
    CRC UNTIL NONCE_KEY DIGEST L                one leased; R: its lease was given back
    CRC B KEY TAT HELD V                        one bucket whose messages may wait: when it is full again, and
                                                until when they go through its queue, Unix microseconds; V 1
                                                for one that a value in messages made
    CRC closed                                  last, after a clean close

A journal that is written ahead (`in_doubt = "refuse"`) begins with sealgate-journal-2, and alone has lines
of leases: each is there before its message is forwarded, so that what was in doubt at the end is known. A
file of the other kind does not tell that: where it was to be ahead it counts as one with nonces missing. Of
two lines on one nonce the later counts.

A line cut short at the end is a write that did not finish: it is dropped. Anything else that is wrong, or a
machine that went down without a clean close (the kernel held what was not yet on disk), means that nonces
may be missing: the good lines count, and the horizon is now. A file that is absent is no different. A file
that was never a journal is somebody else's, named by mistake: it stops the start and stays as it is.

The file is rewritten without its expired lines at each start, and a slice at a time while it grows.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import ceil
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from sealgate.reason import GateError, Reason
from sealgate.stores.limiter import BucketState
from sealgate.stores.names import of_kept, to_keep
from sealgate.stores.nonces import Fate, NonceTable, Remembered
from sealgate.stores.times import HELD_S

_MAGIC: Final = b"sealgate-journal-1"
_MAGIC_AHEAD: Final = b"sealgate-journal-2"
_CLOSED: Final = b"closed"
#: A record is about 250 bytes; whatever has no line end by here is no line of ours.
_LINE_BYTES_MAX: Final = 4096
#: Expired lines dominate when the file has this many times the lines that are alive, and a few.
_GROWTH_MAX: Final = 2
_GROWTH_LINES_MIN: Final = 10_000
#: Lines copied per write while the file is rewritten: about a millisecond.
_SLICE_LINES: Final = 500
#: Seconds between attempts to write a whole new file after a disk error.
_RETRY_S: Final = 5.0
#: Of a lease that was read back: nobody is left to give it back.
_NO_OWNER: Final = -1


#: How the line of a bucket begins.
_BUCKET: Final = b"B "


class BucketBook(Protocol):
    """Who keeps the buckets: times here are Unix microseconds."""

    def restore(self, state: BucketState) -> None: ...

    def states(self) -> Iterable[BucketState]:
        """All that are not full, each as it is when its turn comes."""

    def __len__(self) -> int: ...


class _NoBuckets:
    """Where no message waits."""

    def restore(self, state: BucketState) -> None:
        return

    def states(self) -> Iterable[BucketState]:
        return ()

    def __len__(self) -> int:
        return 0


class _Writer:
    """Lines into one open file. The CRC of each line starts from that of the line before."""

    __slots__ = ("_crc", "fd", "lines")

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.fd: Final = os.open(
            path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self.lines = 0
        self._crc = 0

    def write(self, texts: list[bytes]) -> None:
        """All in one write. Raises OSError, also for a disk that took a part only."""
        lines = []
        for text in texts:
            self._crc = zlib.crc32(text, self._crc)
            lines.append(b"%08x %b\n" % (self._crc, text))
        data = b"".join(lines)
        if os.write(self.fd, data) != len(data):
            raise OSError("the disk took a part of the journal only")
        self.lines += len(texts)


class Journal:
    """The file at `path`, held by one process at a time. `errors` counts failed writes.

    With `ahead` leases are kept too; the store then appends them before it answers.
    """

    def __init__(self, path: Path, boot: str, ahead: bool = False) -> None:
        self.errors = 0
        self.ahead: Final = ahead
        self._path: Final = path
        self._path_new: Final = path.with_name(path.name + ".new")
        self._boot: Final = boot
        self._nonces: NonceTable = NonceTable(0)
        self._buckets: BucketBook = _NoBuckets()
        self._horizon = 0
        self._lock_fd = -1
        self._writer: _Writer | None = None
        self._rewrite: _Writer | None = None
        self._to_copy: Iterator[Remembered | BucketState] = iter(())
        self._retry_at = 0.0

    def open(self, now: float, nonces: NonceTable, buckets: BucketBook | None = None) -> int:
        """Lock the file and fill `nonces` and `buckets` from it.

        Returns the horizon (Unix seconds; 0: nothing is missing).

        Raises `GateError` (store.unavailable) when another process holds it, it can not be written, or it is
        no journal.
        """
        self._nonces = nonces
        if buckets is not None:
            self._buckets = buckets
        try:
            self._lock()
            whole, horizon = self._read(now)
            self._horizon = horizon if whole else ceil(now)
            self._begin_rewrite()
            self._finish_rewrite()
        except OSError as error:
            self._drop_rewrite()
            self._unlock()
            detail = f"journal {self._path}: {error.strerror or error}"
            raise GateError(Reason.STORE_UNAVAILABLE, detail) from error
        return self._horizon

    def _lock(self) -> None:
        lock = self._path.with_name(self._path.name + ".lock")
        self._lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"another process uses it (it holds {lock})") from error

    def _unlock(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _read(self, now: float) -> tuple[bool, int]:
        """Whether nothing can be missing, and the horizon the file names."""
        reader = _Reader()
        try:
            with self._path.open("rb") as file:
                if _is_foreign(file.readline(_LINE_BYTES_MAX)):
                    raise OSError("this file is no journal and would be overwritten; name another one")
                file.seek(0)
                for record in reader.records(file):
                    if isinstance(record, BucketState):
                        self._buckets.restore(record)
                    elif record.remember_until >= now and not self._read_record(record):
                        reader.whole = False
        except FileNotFoundError:
            return False, 0
        same_boot = bool(self._boot) and reader.boot == self._boot.encode()
        whole = reader.whole and (reader.ahead or not self.ahead)
        return whole and (reader.closed or same_boot), reader.horizon

    def _read_record(self, record: Remembered) -> bool:
        """False for a line that no store wrote."""
        if record.fate is Fate.LEASED and not self.ahead:
            return True
        try:
            self._nonces.read(record, _NO_OWNER, HELD_S)
        except ValueError:
            return False
        return True

    @property
    def in_place(self) -> bool:
        """Whether there is a file that the next start would read."""
        return self._writer is not None

    def append(
        self, records: list[Remembered], monotonic: float, buckets: Sequence[BucketState] = ()
    ) -> bool:
        """Write what happened since the last call. True when it is in the file that the next start reads.

        A disk error gives the file up (a start without it begins with a horizon) until a whole new one can
        be written, a slice with each call.
        """
        try:
            texts = [_record_text(record) for record in records]
            texts += [_bucket_text(state) for state in buckets]
            if self._writer is not None:
                self._writer.write(texts)
            if self._rewrite is not None:
                self._rewrite.write(texts)
                self._copy_slice()
            elif self._due(monotonic):
                self._begin_rewrite()
        except OSError:
            self.errors += 1
            self._retry_at = monotonic + _RETRY_S
            self._give_up()
        return self.in_place

    def _due(self, monotonic: float) -> bool:
        """Whether it is time to begin a new file."""
        if self._writer is None:
            return monotonic >= self._retry_at
        return self._writer.lines > _GROWTH_LINES_MIN + _GROWTH_MAX * (len(self._nonces) + len(self._buckets))

    def _begin_rewrite(self) -> None:
        self._rewrite = _Writer(self._path_new)
        magic = _MAGIC_AHEAD if self.ahead else _MAGIC
        header = b"%b %b %d" % (magic, self._boot.encode() or b"-", self._horizon)
        self._rewrite.write([header])
        self._to_copy = chain(self._nonces.records(leased=self.ahead), self._buckets.states())

    def _copy_slice(self) -> bool:
        """Copy some of what is alive to the new file; the last slice puts it in place, then False."""
        assert self._rewrite is not None
        texts: list[bytes] = []
        for record in self._to_copy:
            texts.append(_bucket_text(record) if isinstance(record, BucketState) else _record_text(record))
            if len(texts) == _SLICE_LINES:
                self._rewrite.write(texts)
                return True
        if texts:
            self._rewrite.write(texts)
        self._path_new.replace(self._path)
        if self._writer is not None:
            os.close(self._writer.fd)
        self._writer, self._rewrite = self._rewrite, None
        return False

    def _finish_rewrite(self) -> None:
        while self._copy_slice():
            pass

    def _drop_rewrite(self) -> None:
        if self._rewrite is not None:
            os.close(self._rewrite.fd)
            self._rewrite = None
            with contextlib.suppress(OSError):
                self._path_new.unlink()

    def _give_up(self) -> None:
        """Leave no file that looks whole and is not."""
        self._drop_rewrite()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._writer.fd, 0)
            os.close(self._writer.fd)
            self._writer = None
        with contextlib.suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Mark the file as whole, bring it to the disk, let go of it."""
        self._drop_rewrite()
        if self._writer is not None:
            try:
                self._writer.write([_CLOSED])
                os.fsync(self._writer.fd)
            except OSError:
                self.errors += 1
            os.close(self._writer.fd)
            self._writer = None
        self._unlock()


def _record_text(record: Remembered) -> bytes:
    nonce_key, digest, until, fate = record
    text = b"%d %b %b" % (until, to_keep(nonce_key).hex().encode(), digest.hex().encode())
    return text if fate is Fate.COMMITTED else b"%b %b" % (text, fate.value)


def _bucket_text(state: BucketState) -> bytes:
    key = state.key.encode().hex().encode()
    return b"%b%b %d %d %d" % (_BUCKET, key, state.tat, state.held_until, state.valued)


def _parse_bucket(text: bytes) -> BucketState | None:
    try:
        key, tat, held_until, valued = text.removeprefix(_BUCKET).split(b" ")
        name = bytes.fromhex(key.decode()).decode()
        return BucketState(name, int(tat), int(held_until), valued == b"1")
    except ValueError:
        return None


def _parse_record(text: bytes) -> Remembered | None:
    until, *rest = text.split(b" ")
    try:
        kept, digest = [bytes.fromhex(field.decode()) for field in rest[:2]]
        return Remembered(of_kept(kept), digest, int(until), Fate(b" ".join(rest[2:])))
    except ValueError:
        return None


class _Reader:
    """Reads a file line by line. Afterwards `whole` says that no line is missing but a torn last one."""

    __slots__ = ("ahead", "boot", "closed", "horizon", "whole")

    def __init__(self) -> None:
        self.ahead = False
        self.boot = b""
        self.horizon = 0
        self.closed = False
        self.whole = False

    def records(self, file: BinaryIO) -> Iterator[Remembered | BucketState]:
        """The good records, also those after a bad line."""
        crc = self._header(file.readline(_LINE_BYTES_MAX))
        last_good = True
        while line := file.readline(_LINE_BYTES_MAX):
            if self.closed or not last_good:
                self.whole = False
            text = line[9:-1]
            stated = _parse_crc(line)
            last_good = stated == zlib.crc32(text, crc) and line.endswith(b"\n")
            crc = stated
            self.closed = last_good and text == _CLOSED
            if not last_good or self.closed:
                continue
            record = _parse_bucket(text) if text.startswith(_BUCKET) else _parse_record(text)
            if record is not None:
                yield record
            else:
                self.whole = False

    def _header(self, line: bytes) -> int:
        """Read the first line; returns the CRC that the second starts from."""
        text = line[9:-1]
        crc = _parse_crc(line)
        fields = text.split(b" ")
        known = len(fields) == 3 and fields[0] in (_MAGIC, _MAGIC_AHEAD) and fields[2].isdigit()
        if known and crc == zlib.crc32(text):
            self.ahead = fields[0] == _MAGIC_AHEAD
            self.boot = fields[1]
            self.horizon = int(fields[2])
            self.whole = True
        return crc


def _is_foreign(line: bytes) -> bool:
    """Whether a first line was never one of ours. Damage leaves a CRC, the name, or zeros to know it by."""
    ours = _parse_crc(line) >= 0 or b"sealgate-journal-" in line or line.startswith(b"\0")
    return bool(line.strip()) and not ours


def _parse_crc(line: bytes) -> int:
    try:
        return int(line[:8], 16)
    except ValueError:
        return -1
