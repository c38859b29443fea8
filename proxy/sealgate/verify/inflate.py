"""Decompression that stops: bounded output, ratio and memory; one whole stream and nothing after it.

kombu decompresses before it looks at anything else, so what a worker would unpack is unpacked here first.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from importlib import import_module
from typing import Final, Protocol

from sealgate.reason import GateError, Reason

GZIP: Final = "application/x-gzip"  # kombu's name for a zlib stream
BZIP2: Final = "application/x-bz2"
LZMA: Final = "application/x-lzma"
ZSTD: Final = "application/zstd"
#: kombu takes these for the same.
ALIASES: Final = {
    "gzip": GZIP,
    "zlib": GZIP,
    "bzip2": BZIP2,
    "bzip": BZIP2,
    "lzma": LZMA,
    "xz": LZMA,
    "zstd": ZSTD,
    "zstandard": ZSTD,
}
#: The strongest preset of xz needs 65 MiB to unpack; a dictionary of 4 GiB would need as much.
LZMA_MEMORY_BYTES_MAX: Final = 83_886_080
#: 8 MiB, what RFC 8878 asks every reader to take.
ZSTD_WINDOW_LOG_MAX: Final = 23
#: JSON seldom shrinks to a tenth; long runs of one value shrink to a thousandth. Small bodies may be such
#: runs.
RATIO_MAX: Final = 200
RATIO_FREE_BYTES: Final = 1_048_576
_ZSTD_MODULES: Final = ("compression.zstd", "backports.zstd")
#: How liblzma and libzstd say that a stream asks for more memory than it may.
_MEMORY_MESSAGES: Final = ("Memory usage limit exceeded", "requires too much memory")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def inflate(method: str, data: bytes, inflated_bytes_max: int) -> bytes:
    """Unpack `data`, compressed by `method` (a canonical name above).

    Raises `GateError` content.compression for what is not one whole stream of that kind or can not be
    unpacked here, content.bomb for what grows over its limit.
    """
    limit = min(inflated_bytes_max, max(RATIO_FREE_BYTES, RATIO_MAX * len(data)))
    decompressor, failures = _decompressor(method)
    try:
        # One byte over the limit is enough to know.
        inflated = decompressor.decompress(data, limit + 1)
    except failures as error:
        raise _failure(str(error)) from None
    if len(inflated) > limit:
        raise GateError(Reason.CONTENT_BOMB, f"over {limit} bytes unpacked")
    if not decompressor.eof or decompressor.unused_data:
        raise GateError(Reason.CONTENT_COMPRESSION, "not one whole stream")
    return inflated


def _failure(message: str) -> GateError:
    for text in _MEMORY_MESSAGES:
        if text in message:
            return GateError(Reason.CONTENT_BOMB, "asks for more memory than it may have")
    return GateError(Reason.CONTENT_COMPRESSION, "not what it says")


def _decompressor(method: str) -> tuple[_Decompressor, tuple[type[Exception], ...]]:
    """A decompressor, and what it raises for bytes that are no such stream."""
    match method:
        case "application/x-gzip":
            return zlib.decompressobj(), (zlib.error,)
        case "application/x-bz2":
            return bz2.BZ2Decompressor(), (OSError, ValueError)
        case "application/x-lzma":
            return lzma.LZMADecompressor(lzma.FORMAT_AUTO, LZMA_MEMORY_BYTES_MAX), (lzma.LZMAError,)
        case "application/zstd":
            return _zstd_decompressor()
    raise GateError(Reason.CONTENT_COMPRESSION, "unknown method")


def _zstd_decompressor() -> tuple[_Decompressor, tuple[type[Exception], ...]]:
    """From the standard library (Python 3.14) or its backport, which kombu uses as well; they are one API."""
    for name in _ZSTD_MODULES:
        try:
            zstd = import_module(name)
        except ImportError:
            continue
        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
        return zstd.ZstdDecompressor(options=options), (zstd.ZstdError,)
    raise GateError(Reason.CONTENT_COMPRESSION, "zstd can not be unpacked here")
