from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import struct
import sys
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.verify.inflate import _ZSTD_MODULES as ZSTD_MODULES
from sealgate.verify.inflate import ALIASES, BZIP2, GZIP, LZMA, RATIO_FREE_BYTES, RATIO_MAX, ZSTD, inflate
from support import zstd_stand_in

LIMIT = 8_388_608
#: Random enough that no method packs it well.
TEXT = b"".join(zlib.crc32(n.to_bytes(2, "big")).to_bytes(4, "big") for n in range(1000))
PACK = {GZIP: zlib.compress, BZIP2: bz2.compress, LZMA: lzma.compress}
methods = pytest.mark.parametrize("method", PACK)


def refusal(method: str, data: bytes, limit: int = LIMIT) -> Reason:
    with pytest.raises(GateError) as caught:
        inflate(method, data, limit)
    return caught.value.reason


@methods
def test_one_whole_stream_is_unpacked(method: str) -> None:
    assert inflate(method, PACK[method](TEXT), LIMIT) == TEXT
    assert inflate(method, PACK[method](b""), LIMIT) == b""


@methods
def test_output_stops_at_the_limit_to_the_byte(method: str) -> None:
    data = PACK[method](TEXT)
    assert inflate(method, data, len(TEXT)) == TEXT
    assert refusal(method, data, len(TEXT) - 1) is Reason.CONTENT_BOMB


@methods
def test_stream_cut_short_or_followed_by_anything_is_refused(method: str) -> None:
    data = PACK[method](TEXT)
    for wrong in (b"", data[:-1], data[:10], data + b"x", data + data, b"x" + data):
        assert refusal(method, wrong) is Reason.CONTENT_COMPRESSION


@methods
def test_ratio_no_message_has_is_a_bomb(method: str) -> None:
    zeros = bytes(4 * RATIO_FREE_BYTES)
    data = PACK[method](zeros)
    assert len(data) * RATIO_MAX < len(zeros)
    assert refusal(method, data) is Reason.CONTENT_BOMB
    small = bytes(RATIO_FREE_BYTES)
    assert inflate(method, PACK[method](small), LIMIT) == small


def test_the_strongest_preset_of_xz_is_unpacked_and_a_larger_dictionary_is_a_bomb() -> None:
    assert inflate(LZMA, lzma.compress(TEXT, preset=9), LIMIT) == TEXT
    alone = lzma.compress(TEXT, lzma.FORMAT_ALONE)
    assert inflate(LZMA, alone, LIMIT) == TEXT
    huge = b"\x5d" + struct.pack("<I", 2**32 - 1) + alone[5:]
    assert refusal(LZMA, huge) is Reason.CONTENT_BOMB


def test_gzip_file_is_not_what_kombu_calls_gzip() -> None:
    assert refusal(GZIP, gzip.compress(TEXT)) is Reason.CONTENT_COMPRESSION


def test_unknown_method_is_refused() -> None:
    assert refusal("application/x-brotli", TEXT) is Reason.CONTENT_COMPRESSION


def test_aliases_are_those_of_kombu() -> None:
    from kombu import compression

    for alias, name in compression._aliases.items():
        assert ALIASES.get(alias, name) == name


def test_zstd_that_can_not_be_unpacked_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ZSTD_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    assert refusal(ZSTD, TEXT) is Reason.CONTENT_COMPRESSION


def zstd_of_this_python() -> Any:
    """What kombu uses: compression.zstd from Python 3.14 on, or backports.zstd."""
    for name in ZSTD_MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    pytest.skip("no zstd on this Python: neither compression.zstd (3.14) nor backports.zstd")


def test_zstd_is_unpacked_where_python_can() -> None:
    zstd = zstd_of_this_python()
    packed = zstd.compress(TEXT)
    assert inflate(ZSTD, packed, LIMIT) == TEXT
    assert refusal(ZSTD, packed, len(TEXT) - 1) is Reason.CONTENT_BOMB
    assert refusal(ZSTD, packed[:-1]) is Reason.CONTENT_COMPRESSION
    assert refusal(ZSTD, packed + packed) is Reason.CONTENT_COMPRESSION
    assert refusal(ZSTD, b"nonsense") is Reason.CONTENT_COMPRESSION
    wide = {zstd.CompressionParameter.window_log: 27}
    assert refusal(ZSTD, zstd.compress(bytes(2**25), options=wide)) is Reason.CONTENT_BOMB


def test_zstd_has_the_same_bounds_through_the_api_python_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, ZSTD_MODULES[0], zstd_stand_in)
    assert inflate(ZSTD, zlib.compress(TEXT), LIMIT) == TEXT
    assert refusal(ZSTD, zlib.compress(TEXT), len(TEXT) - 1) is Reason.CONTENT_BOMB
    assert refusal(ZSTD, b"nonsense") is Reason.CONTENT_COMPRESSION
    assert refusal(ZSTD, b"memory") is Reason.CONTENT_BOMB


@methods
@given(data=st.binary(max_size=200))
def test_any_bytes_are_unpacked_or_refused(method: str, data: bytes) -> None:
    try:
        inflate(method, data, LIMIT)
    except GateError as error:
        assert error.reason in (Reason.CONTENT_COMPRESSION, Reason.CONTENT_BOMB)
