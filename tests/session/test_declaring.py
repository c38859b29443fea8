"""Reply queues on their way to the broker: which arguments they get, and what stays as it was."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from sealgate.session.conversation import Role
from sealgate.verify.expiry import Expiry
from sealgate.verify.policy import Policy
from sealgate.wire.frames import encode_frame
from support.sealed import TASK_ID, table
from support.talk import DEPLOYMENT, Talk
from support.wire_bytes import long, short

ROLES = [Role.VERIFY, Role.SIGN, Role.PASS]
BOUNDED = Expiry(expires_ms_max=60_000, message_ttl_ms_max=5_000)


def a_talk(role: Role = Role.VERIFY, expiry: Expiry = BOUNDED) -> Talk:
    talk = Talk(role=role, policy=Policy(DEPLOYMENT, expiry=expiry)).shake_hands().open_channel(1)
    talk.to_broker = b""
    return talk


def a_declare(name: str = TASK_ID, bits: int = 8, arguments: bytes = b"") -> bytes:
    """By default an auto-delete queue, as Celery's rpc backend declares one."""
    payload = struct.pack(">HHH", 50, 10, 0) + short(name.encode()) + bytes((bits,)) + long(arguments)
    return encode_frame(1, 1, payload)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [1, 1000])
def test_reply_queue_gets_its_arguments(role: Role, size: int) -> None:
    talk = a_talk(role)
    data = a_declare(arguments=table({"x-expires": 86_400_000, "x-max-length": 9}))
    for at in range(0, len(data), size):
        talk.client_bytes(data[at : at + size])
    (declare,) = talk.heard_by_broker()
    assert (declare.queue, declare.auto_delete, declare.arguments) == (
        TASK_ID,
        True,
        {"x-expires": 60_000, "x-max-length": 9, "x-message-ttl": 5_000},
    )
    assert talk.tally.queue_arguments_limited == {"x-expires": 1, "x-message-ttl": 1}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("name", "bits", "arguments"),
    [
        (TASK_ID, 8, {"x-expires": 60_000, "x-message-ttl": 5_000}),
        (TASK_ID, 2, {}),  # durable, and neither exclusive nor auto-delete
        (TASK_ID, 8 | 1, {}),  # passive
        ("celery", 8, {}),
        ("w1@host.celery.pidbox", 8, {"x-expires": 99_000}),
    ],
)
def test_other_queues_are_declared_as_they_came(
    role: Role, name: str, bits: int, arguments: dict[str, Any]
) -> None:
    talk = a_talk(role)
    data = a_declare(name, bits, table(arguments))
    talk.client_bytes(data)
    assert talk.to_broker == data
    assert not talk.tally.queue_arguments_limited


def test_exclusive_queue_of_the_brokers_naming_is_a_reply_queue() -> None:
    talk = a_talk()
    talk.client(1, commands.Queue.Declare(queue="", exclusive=True))
    assert talk.heard_by_broker()[0].arguments == {"x-expires": 60_000, "x-message-ttl": 5_000}


def test_observed_queue_is_declared_as_it_came_and_counted() -> None:
    talk = a_talk(expiry=Expiry(expires_ms_max=1, observed=True))
    data = a_declare()
    talk.client_bytes(data)
    assert talk.to_broker == data
    assert talk.tally.queue_arguments_limited == {"observed": 1}


@pytest.mark.parametrize("role", ROLES)
def test_reply_queue_whose_arguments_nobody_can_tell_is_not_declared(role: Role) -> None:
    """The last of two equal names counts for the broker, or the first."""
    talk = a_talk(role)
    talk.client_bytes(a_declare(arguments=table({"x-expires": 1}) * 2))
    assert b"x-expires" not in talk.to_broker
    assert talk.heard_by_client()[-1].reply_code in (503, 540)


@pytest.mark.parametrize("role", ROLES)
def test_broken_declare_is_for_the_broker_to_refuse(role: Role) -> None:
    talk = a_talk(role)
    data = encode_frame(1, 1, a_declare()[7:-2])
    talk.client_bytes(data)
    assert talk.to_broker == data


def test_declare_is_not_looked_at_without_bounds() -> None:
    for expiry in (Expiry(expiration_ms_max=1), Expiry(expires_ms_max=1, queues=("other",))):
        talk = a_talk(expiry=expiry)
        data = a_declare(arguments=table({"x-expires": 1}) * 2)
        talk.client_bytes(data)
        assert talk.to_broker == data


@given(
    arguments=st.dictionaries(
        st.sampled_from(["x-expires", "x-message-ttl", "x-max-length", "x-queue-type", "other"]),
        st.one_of(st.integers(0, 2**40), st.text(max_size=5), st.booleans(), st.none()),
    ),
    bits=st.integers(0, 31),
)
def test_declared_again_it_is_the_same_queue(arguments: dict[str, Any], bits: int) -> None:
    """What was declared once goes through unchanged the next time, and nothing but the two is touched."""
    talk = a_talk()
    first = a_declare(bits=bits, arguments=table(arguments))
    talk.client_bytes(first)
    sent, talk.to_broker = talk.to_broker, b""
    talk.client_bytes(sent)
    assert talk.to_broker == sent
    (declare,) = on_wire(sent)
    for name, value in arguments.items():
        if name not in ("x-expires", "x-message-ttl"):
            assert declare.arguments[name] == value


def on_wire(data: bytes) -> list[Any]:
    talk = Talk()
    talk.to_broker = data
    return talk.heard_by_broker()
