"""The attacker's changes: each is the one it says it is, and the verifier has just that to say about it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable

import pytest
from pamqp import frame

from sealgate.cli import stack
from sealgate.cli.demo import forge
from sealgate.cli.demo.forge import Forged
from sealgate.reason import GateError, Reason
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.material import MaterialKind, parse_secret
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import scan_content_header

KEY = stack.new_key("k")
NOW = time.time()


def verdict(message: Forged) -> Reason:
    """What a gateway says."""
    algorithm = HmacSha256(parse_secret(KEY.secret, MaterialKind.HMAC_SECRET))
    verifier = Verifier(Policy(deployment=stack.DEPLOYMENT), Keyring([Key("k", algorithm)]))
    try:
        header = scan_content_header(message.header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    except GateError as error:
        return error.reason
    digest = hashlib.sha256(message.body).digest()
    whole = Message(message.exchange, message.routing_key, True, header, message.body, digest)
    found = verifier.examine(whole, Peer(stack.DEPLOYMENT), NOW)
    return Reason.OK if isinstance(found, Accepted) else found.reason


def a_sealed_task() -> Forged:
    return forge.sealed(forge.task("x", "demo.add", [1, 2]), KEY, NOW, "/")


def test_sealed_task_is_accepted() -> None:
    assert verdict(a_sealed_task()) is Reason.OK


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (forge.with_body_bit_flipped, Reason.SIG_BAD),
        (forge.with_header_bit_flipped, Reason.SIG_BAD),
        (forge.with_property_bit_flipped, Reason.SIG_BAD),
        (lambda message: forge.with_task(message, "demo.refund"), Reason.SIG_BAD),
        (forge.with_header_twice, Reason.HEADER_DUPLICATE),
        (lambda message: forge.with_deep_header(message, 20), Reason.HEADER_DEPTH),
    ],
)
def test_changed_task_is_refused(change: Callable[[Forged], Forged], reason: Reason) -> None:
    assert verdict(change(a_sealed_task())) is reason


@pytest.mark.parametrize(
    "change", [forge.with_body_bit_flipped, forge.with_header_bit_flipped, forge.with_property_bit_flipped]
)
def test_flipped_bit_is_one_bit_and_leaves_a_message_anybody_reads(
    change: Callable[[Forged], Forged],
) -> None:
    before, after = a_sealed_task(), change(a_sealed_task())
    sealed_again = forge.sealed(after, KEY, NOW, "/")
    assert verdict(sealed_again) is Reason.OK
    assert len(after.header) == len(before.header)
    changed = change(before)
    pairs = [*zip(before.body, changed.body, strict=True), *zip(before.header, changed.header, strict=True)]
    assert [(a ^ b).bit_count() for a, b in pairs if a != b] == [1]
    assert json.loads(changed.body)


def test_frames_are_a_publish_that_others_can_read() -> None:
    octets = a_sealed_task().frames()
    names = []
    while octets:
        size, channel, part = frame.unmarshal(octets)
        assert channel == 1
        names.append(part.name)
        octets = octets[size:]
    assert names == ["Basic.Publish", "ContentHeader", "ContentBody"]
