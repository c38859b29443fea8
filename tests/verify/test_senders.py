"""Keys that take turns on one connection: what the first message of one is asked, and what is remembered."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from differential.picture import picture
from sealgate.reason import Reason
from sealgate.signing.algorithms import Ed25519, HmacSha256
from sealgate.signing.base64url import b64url_encode
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.verify.alike import examine_alike
from sealgate.verify.checks import Verifier
from sealgate.verify.inputs import covered_by
from sealgate.verify.known import KINDS_MAX, TARGETS_MAX, Memory
from sealgate.verify.message import Message
from sealgate.verify.seals import context_of
from sealgate.verify.senders import GRANTS_MAX, KEYS_MAX
from sealgate.verify.verdict import Accepted, Refused, Verdict
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import splice
from sealgate.wire.reader import HeaderReader
from support.sealed import JSON_HEADER, NOW, a_message, a_peer, a_policy, seal, task_headers

NARROW: dict[str, Any] = {
    "vhosts": ("other",),
    "users": ("nobody",),
    "tasks": ("app.mul",),
    "exchanges": ("other",),
    "routing_keys": ("other",),
    "reply_to": ("other",),
    "classes": ("event",),
}
#: What a key is known by, what is asked of it each time, and what no check reads.
ELSE = {"kid", "algorithm", "state", "not_before", "not_after", "max_lifetime_s"}
ELSE |= {"created", "state_since", "replaces"}


def a_key(number: int, **limits: Any) -> Key:
    return Key(f"k{number}", HmacSha256(number.to_bytes(32, "big")), **limits)


class Client:
    """One connection, each of whose messages is judged by itself as well.

    `short` tells whether the last one was judged by what is remembered.
    """

    def __init__(self, *keys: Key) -> None:
        self.verifier = Verifier(a_policy(), Keyring(keys))
        self.peer = a_peer()
        self.reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, "task")
        self.count = 0
        self.short = False
        self.now = float(NOW)

    def send(
        self,
        key: Key,
        created: int = NOW,
        expires: int = NOW + 3600,
        replacing: tuple[bytes, bytes] = (b"", b""),
        sealing: tuple[bytes, bytes] = (b"", b""),
        routing_key: str = "celery",
        **headers: object,
    ) -> Verdict:
        """A message under `key`; `replacing` changes its token after it was sealed, `sealing` before."""
        self.count += 1
        named = {"id": f"id-{self.count}", "root_id": f"id-{self.count}", **headers}
        properties = {**JSON_HEADER, 6: b"answers"}
        message = a_message(headers=task_headers(**named), properties=properties, routing_key=routing_key)
        token = seal(message, key, created, expires, self.count.to_bytes(16, "big"))
        if sealing[0]:
            token = resealed(message, key, token.rpartition(b".")[0].replace(*sealing, 1))
        token = token.replace(*replacing, 1)
        payload = splice(message.header, frozenset({TOKEN_NAME}), entry_longstr(TOKEN_NAME, token))
        return self._judge(
            Message("", routing_key, False, self.reader.read(payload), message.body, message.body_sha256)
        )

    def _judge(self, message: Message) -> Verdict:
        verifier = self.verifier
        wanted = verifier.examine(message, a_peer(), self.now)
        memory = self.memory
        known = memory.find(message, verifier.keyring, verifier.policy) if memory is not None else None
        alike = examine_alike(known, message, self.peer, self.now) if known is not None else None
        self.short = alike is not None
        verdict = alike or verifier.examine(message, self.peer, self.now)
        assert picture(verdict) == picture(wanted)
        return verdict

    @property
    def memory(self) -> Memory | None:
        return self.peer.known if isinstance(self.peer.known, Memory) else None

    def warm(self, key: Key) -> None:
        """Remember the kind."""
        for _ in range(4):
            self.send(key)
        assert self.short


def resealed(message: Message, key: Key, prefix: bytes) -> bytes:
    """A token that begins like this, whether or not one may, with the signature of `key`."""
    covered = covered_by(context_of(key, a_peer(), a_policy()), message, prefix)
    return prefix + b"." + b64url_encode(key.algorithm.sign(covered))


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refused) else None


def test_first_message_of_a_key_is_judged_by_what_is_known_of_one_that_may_do_the_same() -> None:
    keys = [a_key(number, created=number, replaces=f"k{number - 1}") for number in range(50)]
    client = Client(*keys)
    client.warm(keys[0])
    for created in (NOW, NOW + 1, NOW - 1, NOW):
        for key in keys:
            assert isinstance(client.send(key, created, created + 3600), Accepted)
            assert client.short
    # Nor was any of their tokens parsed but the first.
    assert client.memory is not None
    assert {known.tokens.kid for known in client.memory.all() if known.tokens is not None} == {"k0"}


@pytest.mark.parametrize("name", NARROW)
def test_key_that_may_do_less_is_not_taken_for_one_that_may_do_more(name: str) -> None:
    wide, narrow = a_key(1), a_key(2, **{name: NARROW[name]})
    client = Client(wide, narrow)
    client.warm(wide)
    for _ in range(3):
        assert isinstance(client.send(narrow), Refused)
        assert isinstance(client.send(wide), Accepted)
        assert client.short


def test_key_of_one_kind_is_none_of_another() -> None:
    wide, narrow = a_key(1), a_key(2, tasks=("app.mul",))
    client = Client(wide, narrow)
    for _ in range(4):
        assert isinstance(client.send(narrow, task="app.mul"), Accepted)
        assert isinstance(client.send(wide, task="app.add"), Accepted)
    for _ in range(3):
        assert reason(client.send(narrow, task="app.add")) is Reason.ACL_TASK
        assert isinstance(client.send(wide, task="app.mul"), Accepted)
    assert client.short


def test_all_that_a_key_may_do_is_looked_at() -> None:
    """A new field of `Key` must be put where it belongs."""
    assert {field.name for field in fields(Key)} == NARROW.keys() | ELSE


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"state": KeyState.REVOKED}, Reason.SIG_KEY_STATE),
        ({"state": KeyState.VERIFY}, None),
        ({"not_before": NOW + 1}, Reason.SIG_KEY_STATE),
        ({"not_after": NOW - 1}, Reason.SIG_KEY_STATE),
        ({"not_after": NOW}, None),
        ({"max_lifetime_s": 3599}, Reason.SIG_LIFETIME),
        ({"max_lifetime_s": 3600}, None),
    ],
)
def test_state_and_times_of_a_new_key_are_asked_for(limits: dict[str, Any], wanted: Reason | None) -> None:
    first, second = a_key(1), a_key(2, **limits)
    client = Client(first, second)
    client.warm(first)
    assert reason(client.send(second)) is wanted
    assert client.short == (wanted is None)


def test_seal_of_a_new_key_must_be_good() -> None:
    first, second = a_key(1), a_key(2)
    client = Client(first, second)
    client.warm(first)
    for key, replacing, wanted in (
        (replace(first, kid="k2"), (b"", b""), Reason.SIG_BAD),
        (replace(second, kid="k3"), (b"", b""), Reason.SIG_KID),
        (second, (b"seal1", b"seal2"), Reason.SIG_VERSION),
        (second, (b".k2.", b".k 2."), Reason.SIG_MALFORMED),
        (second, (b".k2.", ".kü.".encode()), Reason.SIG_MALFORMED),
        (second, (b".k2.", b".."), Reason.SIG_MALFORMED),
        (second, (b".k2.", b"." + b"k" * 65 + b"."), Reason.SIG_MALFORMED),
        (second, (b".k2.", b"."), Reason.SIG_MALFORMED),
        (second, (b".k2", b""), Reason.SIG_MALFORMED),
        (second, (b".c1.", b".c2."), Reason.SIG_PROFILE),
        (second, (b".%d." % NOW, b".0%d." % NOW), Reason.SIG_MALFORMED),
        (second, (b".%d." % NOW, b".%d." % (NOW + 1)), Reason.SIG_BAD),
    ):
        assert reason(client.send(key, replacing=replacing)) is wanted
        assert not client.short
        # Nothing of it is remembered.
        client.send(first)
        assert client.short


@pytest.mark.parametrize(
    ("sealing", "wanted"),
    [
        ((b"seal1.", b"seal2."), Reason.SIG_VERSION),
        ((b"seal1.", b"x"), Reason.SIG_VERSION),
        ((b".c1.", b".c2."), Reason.SIG_PROFILE),
        ((b".%d." % NOW, b".+%d." % NOW), Reason.SIG_MALFORMED),
        ((b".%d." % NOW, b".%d." % (NOW + 1)), None),
        ((b"k2", b"k1"), Reason.SIG_BAD),
    ],
)
def test_good_signature_of_what_is_no_token_counts_for_nothing(
    sealing: tuple[bytes, bytes], wanted: Reason | None
) -> None:
    first, second = a_key(1), a_key(2)
    client = Client(first, second)
    client.warm(first)
    for _ in range(3):
        assert reason(client.send(second, sealing=sealing)) is wanted
        assert client.short == (wanted is None)


def test_name_that_no_token_may_have_is_refused_though_there_is_a_key_of_it() -> None:
    first, second = a_key(1), Key("k 2", HmacSha256(bytes(32)))
    client = Client(first, second)
    client.warm(first)
    named = replace(second, kid="k_2")
    assert reason(client.send(named, sealing=(b"k_2", b"k 2"))) is Reason.SIG_MALFORMED


def test_keys_of_both_algorithms_take_turns() -> None:
    keys = (a_key(1), Key("e1", Ed25519.of_private(bytes(32))), Key("a-longer-kid", HmacSha256(bytes(32))))
    client = Client(*keys)
    for turn in range(8):
        for number, key in enumerate(keys):
            assert isinstance(client.send(key, NOW - number, NOW + 3600 - number), Accepted)
            assert client.short or turn < 2


def test_more_keys_than_are_remembered_are_judged_all_the_same() -> None:
    keys = [a_key(number) for number in range(KEYS_MAX + 3)]
    client = Client(*keys)
    client.warm(keys[0])
    for key in keys:
        assert isinstance(client.send(key), Accepted)
        assert client.short
    assert client.memory is not None
    for known in client.memory.all():
        assert len(known.senders._by_start) == 3


def test_grants_are_bounded() -> None:
    keys = [a_key(number, reply_to=("answers", str(number))) for number in range(GRANTS_MAX + 5)]
    client = Client(*keys)
    for key in keys:
        assert isinstance(client.send(key), Accepted)
    assert client.memory is not None
    held = client.memory._grants
    assert held == sum(known.grants for known in client.memory.all())
    # All were forgotten once, when there was no room.
    assert 0 < held <= 5


def test_what_is_forgotten_of_kinds_counts_no_more() -> None:
    keys = [a_key(1), a_key(2, reply_to=("answers",))]
    client = Client(*keys)
    for number in range(KINDS_MAX + 5):
        for queue in range(TARGETS_MAX + 2):
            for key in keys:
                client.send(key, routing_key=f"q{queue}", task=f"app.t{number}")
    memory = client.memory
    assert memory is not None
    assert memory._grants == sum(known.grants for known in memory.all())
    assert len(memory.all()) <= KINDS_MAX * TARGETS_MAX


def test_other_keys_in_force_make_all_forgotten() -> None:
    keys = [a_key(number) for number in range(3)]
    client = Client(*keys)
    client.warm(keys[0])
    client.verifier.keyring = Keyring(keys[:2])
    assert isinstance(client.send(keys[0]), Accepted)
    assert not client.short
    client.send(keys[1])
    assert client.short
    assert reason(client.send(keys[2])) is Reason.SIG_KID
    client.verifier.policy = a_policy(clock_skew_s=31)
    for key in keys[:2]:
        assert isinstance(client.send(key), Accepted)
    assert client.short
