"""`sealgate explain`: its checks, the forms a message comes in, and what it never prints."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from sealgate.cli.explain.findings import REFUSED
from sealgate.cli.explain.given import of_payloads
from sealgate.cli.explain.steps import run_steps
from sealgate.cli.message_json import parse_message
from sealgate.quarantine.publish import Quarantine
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord, Tally
from sealgate.signing.canonical import OMITTED_FOR_SEAL
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message, Peer
from sealgate.wire.frames import encode_frame
from support.explained import AT, KEY, KEYS, SECRET, captured, explain, explained, frames
from support.likeness import Producer
from support.likeness_attacks import ATTACKS
from support.policies import POLICIES, keyrings
from support.rabbitmq_server import RabbitMQServer
from support.refusals import method, refusal
from support.sealed import CHALLENGE, DEPLOYMENT, NOW, a_message, seal, sealed, task_headers, with_token

MESSAGE: dict[str, Any] = {
    "exchange": "",
    "routing_key": "celery",
    "properties": {"content_type": "application/json", "content_encoding": "utf-8", "priority": 3},
    "headers": {
        **task_headers(),
        "sent": {"type": "timestamp", "value": NOW},
        "some": [1, 2.5, True, None, {"type": "bytes", "value": "AAE="}, {"x": {"y": -1}}],
    },
    "body": "[[2, 3], {}, {}]",
}
HEARTBEAT = encode_frame(8, 0, b"")
TAMPERED = with_token(a_message(headers=task_headers(extra="confidential")), seal(a_message(), KEY))


def as_file(path: Path, data: bytes | str) -> str:
    file = path / "given"
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(file)


def test_good_message_passes_every_check(tmp_path: Path) -> None:
    values = explained(captured(tmp_path, sealed(key=KEY)))
    verdicts = {step["name"]: step["verdict"] for step in values["checks"]}
    assert values["verdict"] == "ok"
    assert set(verdicts.values()) == {"ok", "open"}
    assert [name for name, verdict in verdicts.items() if verdict == "open"] == ["nonce"]


def test_bounds_of_the_task_are_asked_for_and_what_they_change_is_told(tmp_path: Path) -> None:
    config = tmp_path / "sealgate.toml"
    config.write_text(
        'upstream.urls = ["amqp://127.0.0.1"]\npublish.countersign_with = "k1"\n'
        '[[bound]]\ntask = "app.*"\nretries.max = 1\ntime_limit = { max = "5m", over = "clamp" }\n'
    )

    def of(**headers: object) -> dict[str, Any]:
        message = sealed(a_message(headers=task_headers(**headers)), key=KEY)
        values = explained(captured(tmp_path, message), "--config", str(config))
        return {step["name"]: step for step in values["checks"]}

    assert of()["bounds"]["verdict"] == "ok"
    assert "time_limit" in of(timelimit=[301, None])["bounds"]["detail"]
    refused = of(retries=2)["bounds"]
    assert (refused["verdict"], refused["reason"]) == ("refused", "celery.retries")
    assert "bounds" not in of(task="other")


def test_checks_are_told_in_the_order_of_the_verifier(tmp_path: Path) -> None:
    names = [step["name"] for step in explained(captured(tmp_path, sealed(key=KEY)))["checks"]]
    assert names == [
        *("body size", "properties", "headers", "seal", "key", "times", "signature", "target", "grants"),
        *("content", "envelope", "nonce"),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_first_check_that_refuses_is_the_verifiers_own(seed: int) -> None:
    """Whatever the message: over all attacks, policies and keyrings of the tests of the verifier."""
    dice = random.Random(seed)
    producer, met = Producer(dice, CHALLENGE), set()
    for attack in [*ATTACKS, *[""] * 50]:
        publish = producer.next(NOW, attack)
        given = of_payloads(method(publish.exchange, publish.routing_key), publish.header, publish.body, "")
        verifier = Verifier(dice.choice(list(POLICIES.values())), dice.choice(keyrings(NOW)))
        findings = run_steps(given, verifier, Peer(DEPLOYMENT, user="app"), NOW)
        refused = [step.reason for step in findings.steps if step.verdict == REFUSED]
        assert (refused[0] if refused else "ok") == findings.reason.value, (publish, findings)
        met.add(findings.reason)
    assert len(met) > 15


def test_message_as_json_is_judged_as_it_would_be_on_the_wire(tmp_path: Path) -> None:
    values = explained(as_file(tmp_path, json.dumps({**MESSAGE, "headers": {**MESSAGE["headers"], **TOKEN}})))
    digests = parse_message(json.dumps(MESSAGE).encode()).digests(OMITTED_FOR_SEAL)
    assert values["headers_sha256"] == digests.headers.hex()
    assert values["properties_sha256"] == digests.properties.hex()
    assert values["body_sha256"] == digests.body.hex()


#: Good in grammar: the sections are told although the signature is another message's.
TOKEN = {"x-seal": seal(a_message(), KEY).decode()}


@pytest.mark.parametrize("form", ["binary", "hex", "with a protocol header", "among others"])
def test_capture_is_read_in_every_form(form: str, tmp_path: Path) -> None:
    data = frames(sealed(key=KEY))
    if form == "with a protocol header":
        data = b"AMQP\0\0\x09\x01" + data
    if form == "among others":
        data = HEARTBEAT + data + encode_frame(1, 1, bytes.fromhex("003c0050000000000000000100"))
    text: bytes | str = data.hex(" ") if form == "hex" else data
    assert explained(as_file(tmp_path, text))["verdict"] == "ok"


def test_capture_of_several_asks_which(tmp_path: Path) -> None:
    file = as_file(tmp_path, frames(sealed(key=KEY)) + frames(TAMPERED, channel=2))
    result = explain(file)
    assert (result.exit_code, "2 publishes; say which with --number" in result.output) == (64, True)
    assert explained(file, "--number", "1")["verdict"] == "ok"
    assert explained(file, "--number", "2")["verdict"] == "sig.bad"
    assert explain(file, "--number", "3").exit_code == 64


@pytest.mark.parametrize("data", [b"", b"hello", b"\x01\x00", b"{}", b"abc", b"0a0", frames(TAMPERED)[:-1]])
def test_what_is_no_message_is_wrong_usage(data: bytes, tmp_path: Path) -> None:
    result = explain(as_file(tmp_path, data))
    assert result.exit_code == 64, result.output


def test_message_of_which_a_part_is_missing_is_not_called_tampered_with(tmp_path: Path) -> None:
    whole = frames(sealed(key=KEY), frame_max=10)
    values = explained(as_file(tmp_path, whole[: -len(encode_frame(3, 1, bytes(1)))]))
    assert values["verdict"] == "conn.stall"
    assert {step["name"]: step["verdict"] for step in values["checks"]}["signature"] == "skipped"


def test_message_with_more_body_than_declared_breaks_framing(tmp_path: Path) -> None:
    file = as_file(tmp_path, frames(sealed(key=KEY)) + encode_frame(3, 1, b"more"))
    assert explained(file)["verdict"] == "ok"
    message = sealed(key=KEY)
    longer = Message("", "celery", False, message.header, message.body + b" ", message.body_sha256)
    assert explained(as_file(tmp_path, frames(longer, frame_max=4000)))["verdict"] == "frame.body_overflow"


def test_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert explain(str(tmp_path / "nowhere")).exit_code == 64
    assert explain().exit_code == 64
    assert explain("x", "--quarantine", "1").exit_code == 64


def test_broken_header_is_told_with_its_reason(tmp_path: Path) -> None:
    whole = frames(sealed(key=KEY))
    cut = whole.replace(b"x-seal", b"x-sea\xff", 1)
    values = explained(as_file(tmp_path, cut))
    assert values["verdict"].startswith("header.")
    assert [step["name"] for step in values["checks"]] == ["form"]


def test_digests_of_the_signer_tell_the_section(tmp_path: Path) -> None:
    """`sealgate sign --json` prints them: nothing of the message has to leave the signer."""
    at_the_signer = explained(captured(tmp_path, sealed(key=KEY)))
    digests = tmp_path / "digests.json"
    digests.write_text(
        json.dumps({"token": "seal1...", **{k: v for k, v in at_the_signer.items() if "sha256" in k}})
    )
    values = explained(captured(tmp_path, TAMPERED), "--original", str(digests))
    assert [(found["section"], found["name"]) for found in values["differences"]] == [("headers", "")]
    same = explained(captured(tmp_path, sealed(key=KEY)), "--original", str(digests))
    assert (same["differences"], same["how"]) == ([], "compared with the digests of the signer: all equal")


def test_failed_check_hides_none_of_those_that_can_be_asked(tmp_path: Path) -> None:
    """Too old, and the key may not name the task: both are told, the verdict is the first."""
    file = captured(tmp_path, sealed(key=KEY, created=NOW - 600))
    keys = tmp_path / "keys.toml"
    keys.touch(mode=0o600)
    secret = KEYS.partition("=")[2]
    lines = ["[[key]]", 'kid = "k1"', 'alg = "hmac-sha256"', f'secret = "{secret}"', 'tasks = ["other"]']
    keys.write_text("\n".join(lines))
    values = explained(file, "--keys", str(keys))
    refused = [step["reason"] for step in values["checks"] if step["verdict"] == REFUSED]
    assert (values["verdict"], refused) == ("time.stale", ["time.stale", "acl.task"])


def test_unknown_key_names_those_that_are_known(tmp_path: Path) -> None:
    file = captured(tmp_path, sealed(key=KEY))
    values = explained(file, keys="k9=" + KEYS.partition("=")[2])
    key = next(step for step in values["checks"] if step["name"] == "key")
    assert (key["reason"], key["saw"], key["wanted"]) == ("sig.kid", "k1", "one of k9")


def test_configuration_decides(tmp_path: Path) -> None:
    """Content type, deployment, rates and mode are those of the gateway's file."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        'deployment = "prod"\n[upstream]\nurls = ["amqp://127.0.0.1"]\n[mode]\ndefault = "observe"\n'
        '[rate]\n"app.add" = "1/s"\n[keys]\nsource = "env:SEALGATE_KEYS"\n'
    )
    values = explained(captured(tmp_path, TAMPERED), "--config", str(config))
    assert values["verdict"] == "sig.bad"
    assert values["checks"][-1]["name"] == "mode"
    assert "app.add" in next(step for step in values["checks"] if step["name"] == "rate")["saw"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_secret_signature_or_body_is_printed(options: tuple[str, ...], tmp_path: Path) -> None:
    message = with_token(a_message(b'[["a body that is private"], {}, {}]'), seal(a_message(), KEY))
    result = explain(captured(tmp_path, message), "--at", AT, *options)
    signature = seal(a_message(), KEY).decode().rpartition(".")[2]
    assert "private" not in result.output
    assert signature not in result.output
    assert KEYS.partition("=")[2] not in result.output
    assert SECRET.hex() not in result.output


def test_text_is_plain_without_a_terminal(tmp_path: Path) -> None:
    result = explain(captured(tmp_path, TAMPERED), "--at", AT)
    assert "\x1b" not in result.output
    assert "differs in headers: extra: was added after it was signed" in result.output
    assert result.output.rstrip().endswith("verdict: sig.bad")


def test_what_a_peer_wrote_can_not_command_the_terminal(tmp_path: Path) -> None:
    message = sealed(a_message(headers=task_headers(task="app\x1b[31m")), key=KEY)
    result = explain(captured(tmp_path, message), "--at", AT)
    assert "\x1b" not in result.output


def kept(message: Message, at: float) -> RefusalRecord:
    return refusal(
        message.body,
        method=method("", "celery"),
        header=message.header.payload,
        at=at,
        reason=Reason.SIG_BAD,
    )


@pytest.mark.system
def test_message_from_quarantine_is_judged_as_of_its_refusal(rabbitmq: RabbitMQServer, vhost: str) -> None:
    url = rabbitmq.url_of(vhost)

    async def fill() -> None:
        quarantine = Quarantine(url, tally=Tally(), log=logging.getLogger("test"))
        await quarantine.start()
        quarantine.keep(kept(sealed(key=KEY), NOW + 1))
        quarantine.keep(kept(TAMPERED, NOW + 2))
        await quarantine.close(20)

    asyncio.run(fill())
    result = explain("--quarantine", "2", "--upstream", url, "--json")
    values = json.loads(result.stdout)
    assert (values["verdict"], values["recorded"], result.exit_code) == ("sig.bad", "sig.bad", 1)
    assert values["at"] == "2026-01-01T00:00:02Z"
    assert values["differences"][0]["name"] == "extra"
    by_id = explain("--quarantine", values["message"].split()[-1], "--upstream", url, "--json")
    assert json.loads(by_id.stdout) == values
    first = json.loads(explain("--quarantine", "1", "--upstream", url, "--json").stdout)
    assert (first["verdict"], first["recorded"]) == ("ok", "sig.bad")
    for absent in ("3", "0", "6f1c2f9e-3b7a-4c62-9a59-0a7f5b6a1c11"):
        assert explain("--quarantine", absent, "--upstream", url).exit_code == 1


def test_digest_of_the_body_is_told(tmp_path: Path) -> None:
    message = sealed(key=KEY)
    assert explained(captured(tmp_path, message))["body_sha256"] == hashlib.sha256(message.body).hexdigest()
