"""What is known of the use of a key: counted by sessions, forgotten after an hour, united over processes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pamqp import body, commands, header

from sealgate.session.conversation import Role
from sealgate.session.keyuse import KEY_USERS_MAX, MINUTES, KeyUse, of_plain
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.delivery import DeliveryPolicy, Requirement
from sealgate.verify.sealer import LIFETIME_S
from sealgate.verify.verdict import ClaimOutcome, ClaimStatus
from support.talk import START_S, Talk, generic_policy, on, sealed, unsealed

Basic = commands.Basic
NOW = 1_000_000.0
END = int(START_S) + LIFETIME_S


def evidence(talk: Talk) -> dict[str, tuple[float, int, int, list[str]]]:
    """Last use, messages, end of seals and users, by key."""
    now = talk.now.wall
    return {
        kid: (use.last_used, use.messages_last_hour(now), use.expires_latest, use.recent_users())
        for kid, use in talk.tally.key_use.items()
    }


def octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("in_pieces", [False, True])
def test_accepted_publishes_are_evidence_by_the_short_way_and_the_ordinary_one(in_pieces: bool) -> None:
    talk = Talk().shake_hands().open_channel(1)
    for second in range(3):
        talk.mono = float(second)
        data = on(1, *talk.sealed(), *talk.sealed())
        for piece in octets(data) if in_pieces else [data]:
            talk.client_bytes(piece)
    assert evidence(talk) == {"k1": (START_S + 2, 6, END + 2, ["guest"])}


@pytest.mark.parametrize("in_pieces", [False, True])
def test_what_is_signed_here_is_evidence(in_pieces: bool) -> None:
    talk = Talk(Role.SIGN).shake_hands().open_channel(1)
    data = on(1, *unsealed(), *unsealed())
    for piece in octets(data) if in_pieces else [data]:
        talk.client_bytes(piece)
    assert evidence(talk) == {"k1": (START_S, 2, END, ["guest"])}
    assert talk.tally.key_messages == {("k1", "signed"): 2}


def test_signer_that_changes_its_key_has_seals_of_both() -> None:
    talk = Talk(Role.SIGN).shake_hands().open_channel(1)
    talk.client(1, *unsealed())
    sealer = talk.terms.sealer
    assert sealer is not None
    sealer.keyring = Keyring([Key("k2", HmacSha256(b"s" * 32), max_lifetime_s=60)])
    sealer.kid = "k2"
    talk.client(1, *unsealed())
    assert evidence(talk) == {
        "k1": (START_S, 1, END, ["guest"]),
        "k2": (START_S, 1, int(START_S) + 60, ["guest"]),
    }


def test_countersignature_is_a_use_of_its_key() -> None:
    talk = Talk(countersign=True)
    countersealer = talk.terms.countersealer
    assert countersealer is not None
    countersealer.keyring, countersealer.kid = Keyring([Key("gw", HmacSha256(b"g" * 32))]), "gw"
    talk.shake_hands().open_channel(1).client(1, *talk.sealed(), *talk.sealed(), *talk.sealed())
    used = (START_S, 3, END, ["guest"])
    assert evidence(talk) == {"k1": used, "gw": used}
    assert talk.tally.key_messages == {("k1", "accepted"): 3, ("gw", "signed"): 3}


def test_what_has_no_good_signature_is_no_evidence() -> None:
    """Neither refused nor observed: not even where it names a key that is known."""
    for policy in (generic_policy(), generic_policy(observe_default=True)):
        talk = Talk(policy=policy).shake_hands().open_channel(1)
        tampered = talk.sealed()[:2]
        talk.client(1, *tampered, body.ContentBody(b"jello"))
        talk.client(1, *unsealed())
        assert [kid for kid, _ in talk.tally.key_messages] == ["k1"]
        assert evidence(talk) == {}


def test_of_what_is_refused_for_another_reason_the_end_of_its_seal_is_known() -> None:
    """Quarantine may release it."""
    talk = Talk(outcomes=lambda claim: ClaimOutcome(ClaimStatus.DUPLICATE)).shake_hands().open_channel(1)
    talk.client(1, *talk.sealed())
    assert talk.tally.key_messages == {("k1", "refused"): 1}
    assert evidence(talk) == {"k1": (0.0, 0, END, [])}


def test_what_passes_as_it_is_only_observed_is_evidence_once_it_is_proven() -> None:
    talk = Talk(policy=generic_policy(observe_default=True)).shake_hands().open_channel(1)
    talk.terms.verifier.keyring = Keyring([Key("k1", _algorithm(talk), tasks=("other",))])
    talk.client(1, *talk.sealed())
    assert talk.tally.key_messages == {("k1", "observed"): 1}
    assert evidence(talk) == {"k1": (START_S, 1, END, ["guest"])}


def _algorithm(talk: Talk) -> Any:
    key = talk.terms.verifier.keyring.get("k1")
    assert key is not None
    return key.algorithm


def a_worker(delivery: DeliveryPolicy = DeliveryPolicy()) -> Talk:  # noqa: B008  # it is frozen
    talk = Talk(Role.SIGN, delivery=delivery).shake_hands().open_channel(1)
    talk.client(1, Basic.Consume(queue="q", consumer_tag="t"))
    talk.broker(1, Basic.ConsumeOk("t"))
    return talk


@pytest.mark.parametrize("in_pieces", [False, True])
def test_deliveries_are_evidence_and_name_nobody(in_pieces: bool) -> None:
    """Who consumes did not seal it."""
    talk = a_worker()
    data = b"".join(on(1, Basic.Deliver("t", tag, False, "", "q"), *sealed()[1:]) for tag in (1, 2, 3))
    for piece in octets(data) if in_pieces else [data]:
        talk.broker_bytes(piece)
    assert evidence(talk) == {"k1": (START_S, 3, END, [])}


def test_forged_delivery_is_no_evidence() -> None:
    talk = a_worker()
    head = header.ContentHeader(body_size=1, properties=Basic.Properties(content_type="text/plain"))
    talk.broker(1, Basic.Deliver("t", 1, False, "", "q"), head, body.ContentBody(b"x"))
    deliver, kept, _ = Basic.Deliver("t", 2, False, "", "q"), *sealed()[1:]
    talk.broker(1, deliver, kept, body.ContentBody(b"jello"))
    assert talk.tally.key_messages == {("k1", "refused"): 1}
    assert evidence(talk) == {}


def test_countersigned_delivery_is_evidence_of_both_keys() -> None:
    gateway = Talk(countersign=True)
    countersealer = gateway.terms.countersealer
    assert countersealer is not None
    keys = Keyring([Key("k1", _algorithm(gateway)), Key("gw", HmacSha256(b"g" * 32), max_lifetime_s=60)])
    countersealer.keyring, countersealer.kid = keys, "gw"
    gateway.shake_hands().open_channel(1).client(1, *gateway.sealed())
    sent = gateway.to_broker
    worker = a_worker(DeliveryPolicy(Requirement.BOTH, frozenset({"gw"})))
    worker.terms.verifier.keyring = keys
    publish = on(1, Basic.Publish(routing_key="q"))
    assert sent.startswith(publish)
    worker.broker_bytes(on(1, Basic.Deliver("t", 1, False, "", "q")) + sent[len(publish) :])
    assert worker.tally.messages["deliver", "accepted", "ok"] == 1
    assert evidence(worker) == {"k1": (START_S, 1, END, []), "gw": (START_S, 1, int(START_S) + 60, [])}


# The hour


def test_hour_rolls_by_the_minute() -> None:
    use = KeyUse()
    for minute in range(200):
        use.note(minute, NOW + 60 * minute, 0, "")
    newest = NOW + 60 * 199
    assert use.messages_last_hour(newest) == sum(range(200 - MINUTES, 200))
    assert use.messages_last_hour(newest + 60 * 60) == 199, "nothing is forgotten before an hour is over"
    assert use.messages_last_hour(newest + 60 * 61) == 0
    use.note(5, newest + 30 * 60, 0, "")
    assert use.messages_last_hour(newest + 30 * 60) == 5 + sum(range(200 - MINUTES + 30, 200))
    use.note(1, newest + 1e6, 0, "")
    assert use.messages_last_hour(newest + 1e6) == 1


def test_clock_that_is_set_back_forgets_nothing_and_keeps_nothing_for_ever() -> None:
    use = KeyUse()
    use.note(3, NOW, 0, "")
    use.note(4, NOW + 600, 0, "")
    use.note(1, NOW - 86_400, 0, "")
    assert use.last_used == NOW - 86_400
    assert use.messages_last_hour(NOW - 86_400) == 8
    assert use.messages_last_hour(NOW - 86_400 + 62 * 60) == 0


def test_what_is_told_late_counts_for_when_it_was() -> None:
    use = KeyUse()
    use.note(3, NOW, 0, "a")
    use.note(4, NOW + 60, 0, "b")
    use.note(5, NOW + 1, 0, "b")
    assert (use.last_used, use.users) == (NOW + 60, {"a": NOW, "b": NOW + 60})
    assert use.messages_last_hour(NOW + 60 * 60) == 12
    assert use.messages_last_hour(NOW + 60 * 61) == 4


def test_users_are_those_of_the_last_hour_of_use() -> None:
    use = KeyUse()
    use.note(1, NOW, 0, "a")
    use.note(1, NOW + 3000, 0, "b")
    assert use.recent_users() == ["a", "b"]
    use.note(1, NOW + 3700, 0, "c")
    assert use.recent_users() == ["b", "c"], "who has gone over to another key is not in the way"
    assert list(use.users) == ["b", "c"]
    use.note(1, NOW + 9000, 0, "")
    assert (use.recent_users(), use.has_more_users) == ([], False)


def test_users_of_a_key_are_bounded() -> None:
    use = KeyUse()
    names = [f"u{number:02}" for number in range(KEY_USERS_MAX)]
    for name in names:
        use.note(1, NOW, 0, name)
    assert (use.recent_users(), use.has_more_users) == (names, False)
    use.note(1, NOW + 1, 0, "one more")
    use.note(1, NOW + 1, 0, names[0])
    assert (use.recent_users(), use.has_more_users) == (names, True)
    use.note(1, NOW + 3700, 0, "one more")
    assert (use.recent_users(), use.has_more_users) == (["one more"], False)


# Several processes


def test_evidence_of_several_processes_is_united() -> None:
    one, other = KeyUse(), KeyUse()
    one.note(3, NOW, 500, "a")
    one.note(2, NOW + 1800, 400, "b")
    other.note(7, NOW + 60, 600, "a")
    other.note(1, NOW + 3000, 1, "c")
    other.clock_skew_s = 0.5
    for first, second in ((one, other), (other, one)):
        total = KeyUse()
        total.add(first)
        total.add(of_plain(json.loads(json.dumps(second.plain()))))
        assert (total.last_used, total.expires_latest, total.clock_skew_s) == (NOW + 3000, 600, 0.5)
        assert (total.recent_users(), total.has_more_users) == (["a", "b", "c"], False)
        assert total.messages_last_hour(NOW + 3000) == 13
        assert total.messages_last_hour(NOW + 61 * 60) == 10
    assert one.recent_users() == ["a", "b"], "it changes none of those it is made of"


def test_users_of_several_processes_are_bounded_together() -> None:
    total = KeyUse()
    for number in range(KEY_USERS_MAX + 1):
        one = KeyUse()
        one.note(1, NOW + number, 0, f"u{number:02}")
        total.add(one)
    assert (len(total.recent_users()), total.has_more_users) == (KEY_USERS_MAX, True)
    assert "u00" not in total.users


@pytest.mark.parametrize(
    "wrong", [[], [0.0, None, 0, 0.0, [], 0, [0] * MINUTES], [0.0, None, 0, 0.0, {}, 0, [0]], ["x"] * 7]
)
def test_what_is_no_evidence_is_not_taken(wrong: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        of_plain(wrong)
