"""`sealgate explain` called on messages as the verifier has them, written down as a capture of frames."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sealgate.cli import main
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key
from sealgate.signing.material import MaterialKind, format_material
from sealgate.verify.message import Message
from sealgate.wire.frames import encode_frame
from support.sealed import NOW
from support.wire_bytes import short

#: The secret of other tests counts upwards, which no key file may.
SECRET = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")
KEY = Key("k1", HmacSha256(SECRET))
KEYS = "k1=" + format_material(MaterialKind.HMAC_SECRET, SECRET)
AT = "2026-01-01T00:00:00Z"
assert NOW == 1_767_225_600


def frames(message: Message, channel: int = 1, frame_max: int = 60) -> bytes:
    """The publish of `message` as it would be captured, the body in frames of up to `frame_max` bytes."""
    method = (
        struct.pack(">HHH", 60, 40, 0)
        + short(message.exchange.encode())
        + short(message.routing_key.encode())
    )
    parts = [encode_frame(1, channel, method + b"\0"), encode_frame(2, channel, message.header.payload)]
    for start in range(0, len(message.body), frame_max):
        parts.append(encode_frame(3, channel, message.body[start : start + frame_max]))
    return b"".join(parts)


def captured(path: Path, message: Message, name: str = "capture.hex") -> str:
    """A file with the frames of `message` in hexadecimal."""
    file = path / name
    file.write_text(frames(message).hex("\n", 32))
    return str(file)


def explain(*arguments: str, keys: str | None = KEYS, stdin: bytes = b"") -> Result:
    environ = {"SEALGATE_KEYS": keys, "SEALGATE_CONFIG": None}
    result = CliRunner(env=environ).invoke(main, ["explain", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def explained(*arguments: str, keys: str | None = KEYS) -> dict[str, Any]:
    """What `explain --json` prints, as of the moment at which messages of the tests are sealed."""
    result = explain(*arguments, "--json", "--at", AT, keys=keys)
    assert result.exit_code in (0, 1), result.output
    values: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if values["verdict"] == "ok" else 1)
    return values
