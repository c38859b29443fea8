"""The API of `compression.zstd` (Python 3.14) over zlib, for Pythons that have no zstd."""

from __future__ import annotations

import zlib
from enum import Enum


class ZstdError(Exception):
    pass


class DecompressionParameter(Enum):
    window_log_max = 100


class ZstdDecompressor:
    def __init__(self, *, options: dict[DecompressionParameter, int]) -> None:
        assert options == {DecompressionParameter.window_log_max: 23}
        self._stream = zlib.decompressobj()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data == b"memory":
            raise ZstdError(
                "Unable to decompress Zstandard data: Frame requires too much memory for decoding"
            )
        try:
            return self._stream.decompress(data, max_length)
        except zlib.error as error:
            raise ZstdError(str(error)) from error
