"""The reference signers of docs/signers: the vectors, short enough to be read, and a message through a
gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sealgate.signing.canonical import ABSOLUTE_NAMES, TOKEN_NAME
from sealgate.wire.properties import (
    DELIVERY_MODE,
    PRIORITY,
    TIMESTAMP,
    ContentHeader,
    scan_content_header,
)
from sealgate.wire.values import Decimal, Timestamp, Value
from support.gateway import gateway, key, new_secret
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.vectors import VECTORS, Vector

SIGNERS = Path(__file__).resolve().parents[2] / "docs" / "signers"
PUBLISH = Path(__file__).resolve().parents[1] / "data" / "publish_sealed.js"
#: Of code: neither empty nor all comment.
LINES_MAX = 100
#: A first `go run` compiles; `npm install` downloads.
TOOL_SECONDS_MAX = 120
AMQPLIB = "amqplib@2.3.1"
NAMES = (
    *("contentType", "contentEncoding", "headers", "deliveryMode", "priority", "correlationId", "replyTo"),
    *("expiration", "messageId", "timestamp", "type", "userId", "appId", "clusterId"),
)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(arguments: list[str], data: str, **options: Any) -> str:
    result = subprocess.run(
        arguments, input=data, capture_output=True, text=True, timeout=TOOL_SECONDS_MAX, **options
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def tagged(value: Value) -> object:
    """A header value in JSON, with a tag where JSON would not tell its type."""
    if isinstance(value, dict):
        return {name: tagged(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [tagged(inner) for inner in value]
    if isinstance(value, bytes):
        return {"!": "bytes", "value": value.hex()}
    if isinstance(value, Timestamp):
        return {"!": "timestamp", "value": str(value.seconds)}
    if isinstance(value, Decimal):
        return {"!": "decimal", "value": {"places": value.scale, "digits": value.unscaled}}
    if isinstance(value, float):
        return {"!": "double", "value": value}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"!": "long", "value": str(value)}
    return value


def options_of(header: ContentHeader) -> dict[str, object]:
    options: dict[str, object] = {}
    for index, octets in enumerate(header.fields):
        if octets is None:
            continue
        if index in (DELIVERY_MODE, PRIORITY):
            options[NAMES[index]] = octets[0]
        elif index == TIMESTAMP:
            options[NAMES[index]] = int.from_bytes(octets, "big")
        else:
            options[NAMES[index]] = octets.decode()
    if header.table_span is not None:
        options["headers"] = tagged(header.table.values)
    return options


def as_message(vector: Vector) -> str:
    header = scan_content_header(vector.content_header, frozenset(), ABSOLUTE_NAMES, TOKEN_NAME)
    bytes_of = {"secret": vector.key, "nonce": vector.nonce, "body": vector.body}
    return json.dumps(
        {
            "kid": vector.kid,
            "alg": vector.alg,
            "deployment": vector.deployment,
            "vhost": vector.vhost,
            "exchange": vector.exchange,
            "routingKey": vector.routing_key,
            "created": vector.created,
            "expires": vector.expires,
            "options": options_of(header),
            **{name: {"!": "bytes", "value": data.hex()} for name, data in bytes_of.items()},
        }
    )


MESSAGES = "\n".join(as_message(vector) for vector in VECTORS.values())
TOKENS = [vector.token.decode() for vector in VECTORS.values()]


def test_javascript_makes_the_tokens_of_the_vectors() -> None:
    assert run([tool("node"), str(SIGNERS / "vectors.js")], MESSAGES).splitlines() == TOKENS


def test_go_makes_the_tokens_of_the_vectors(tmp_path: Path) -> None:
    files = [str(SIGNERS / name) for name in ("seal1.go", "vectors.go")]
    environ = {
        "PATH": str(Path(tool("go")).parent),
        "HOME": str(tmp_path),
        "GOFLAGS": "-mod=mod",
        "CGO_ENABLED": "0",
    }
    assert run([tool("go"), "run", *files], MESSAGES, env=environ).splitlines() == TOKENS


@pytest.mark.parametrize("name", ["seal1.js", "seal1.go"])
def test_signer_is_short_enough_to_be_read(name: str) -> None:
    lines = (SIGNERS / name).read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith("//")]) < LINES_MAX
    assert max(map(len, lines)) <= 130


def test_vectors_say_what_they_are_for() -> None:
    """Nothing that a signer could leave out: properties, every type, both algorithms, both nonces."""
    messages = [json.loads(line) for line in MESSAGES.splitlines()]
    assert {message["alg"] for message in messages} == {"hmac-sha256", "ed25519"}
    assert {len(message["nonce"]["value"]) for message in messages} == {32, 48}
    assert {"deliveryMode", "priority", "expiration", "timestamp", "replyTo"} <= {
        name for message in messages for name in message["options"]
    }


@pytest.mark.system
@pytest.mark.timeout(180)
def test_message_sealed_in_javascript_passes_the_gateway(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    node, npm = tool("node"), tool("npm")
    modules = tmp_path / "js"
    modules.mkdir()
    installed = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", AMQPLIB],
        cwd=modules,
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS_MAX,
    )
    if installed.returncode:
        pytest.skip(f"{AMQPLIB} can not be fetched")
    secret = new_secret()
    settings = {"content": {"profile": "generic", "types": ["*"]}, "replay": {"clock_skew": "0s"}}
    with gateway(tmp_path / "gateway", rabbitmq.port, [key("js", secret)], settings) as process:
        ready = time.time()
        wait_until(lambda: time.time() > ready + 2, 5, "its horizon to pass")
        arguments = [str(SIGNERS / "seal1.js"), process.url(vhost), vhost, secret.removeprefix("hex:")]
        told = run(
            [node, str(PUBLISH), *arguments],
            "",
            env={**os.environ, "NODE_PATH": str(modules / "node_modules")},
        )
        assert told.split() == ["confirmed", "confirmed", "confirmed", "refused"]
        assert process.refusals() == {"sig.missing": 1}
    assert rabbitmq.depth(vhost, "orders") == 3
