"""What a process seals itself is what the gateway takes; no nonce is there twice, whatever forks and
threads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from amqp.basic_message import Message as AmqpMessage
from hypothesis import given
from hypothesis import strategies as st

from integrations.conftest import write_keys
from sealgate.integrations.keys import KeysError
from sealgate.integrations.options import Options
from sealgate.integrations.signer import Line, Signer
from sealgate.reason import GateError
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.material import MaterialKind, algorithm_of, generate_ed25519, parse_secret
from sealgate.signing.token import Token, parse_token
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message
from sealgate.verify.policy import ContentRules
from sealgate.verify.sealer import SignerSession
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import scan_content_header
from support.gateway import key, new_secret
from support.sealed import (
    CHALLENGE,
    DEPLOYMENT,
    NOW,
    SECRET,
    a_peer,
    a_policy,
    received,
    task_headers,
)

GENERIC = ContentRules("generic", frozenset({"*"}))
#: Seconds a child may take to sign its share, on a busy machine.
CHILD_SECONDS_MAX = 600


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    # Of the tests' own secret a key file would say that it is a known sample.
    write_keys(path, [key("k1", "hex:" + KEY.hex())])
    return Signer(Options(f"file:{path}", deployment=DEPLOYMENT), clock=lambda: float(NOW))


KEY = HmacSha256(SECRET).sign(b"the key of these tests")


def gateway_verdict(sealed: bytes, body: bytes, challenge: bytes = b"") -> object:
    """What a gateway says to a publish whose properties these are."""
    payload = struct.pack(">HHQ", 60, 0, len(body)) + sealed
    verifier = Verifier(a_policy(content=GENERIC), Keyring((Key("k1", HmacSha256(KEY)),)))
    return verifier.examine(received(payload, body), a_peer(challenge=challenge), float(NOW))


def encoded(body: bytes = b"{}", **properties: object) -> bytes:
    """Properties as py-amqp encodes them."""
    octets: bytes = AmqpMessage(body, **properties)._serialize_properties()
    return octets


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
halves = st.text(max_size=6)  # half surrogate pairs, which py-amqp writes as octets that are no UTF-8
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda name: name not in OMITTED_FOR_SEAL | ABSOLUTE_NAMES and name not in ("CC", "BCC")
)
moments = st.integers(0, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
decimals = st.builds(
    lambda unscaled, scale: Decimal(unscaled).scaleb(-scale), st.integers(0, 2**31 - 1), st.integers(0, 20)
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | halves
    | st.binary(max_size=12)
    | moments
    | moments.map(lambda moment: moment.replace(tzinfo=None))
    | decimals
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=10,
)
short = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": short,
        "content_encoding": short,
        "application_headers": st.dictionaries(names, values, max_size=6),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation_id": short,
        "reply_to": short,
        "expiration": st.integers(0, 2**31).map(str),
        "message_id": short,
        "timestamp": st.integers(0, 2**34),
        "type": short,
        "app_id": short,
        "cluster_id": short,
    },
)


@given(properties, st.binary(max_size=40))
def test_whatever_py_amqp_encodes_is_sealed_as_the_gateway_reads_it(
    signer: Signer, given_properties: dict[str, object], body: bytes
) -> None:
    plain = encoded(body, **given_properties)
    line = Line(signer, "/")
    with line.in_order() as session:
        sealed = line.seal(session, "", "celery", plain, body)
    payload = struct.pack(">HHQ", 60, 0, len(body)) + sealed
    header = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    message = Message("", "celery", False, header, body, received(payload, body).body_sha256)
    token = parse_token(str(header.table.values[TOKEN_NAME]).encode())
    # Not `gateway_verdict`: its other checks refuse some of what can be encoded, such as half characters.
    from sealgate.verify.inputs import covered_by
    from sealgate.verify.seals import check_snapshot, context_of

    check_snapshot(message, token)
    context = context_of(Key("k1", HmacSha256(KEY)), a_peer(), a_policy())
    assert HmacSha256(KEY).verify(covered_by(context, message, token.prefix), token.signature)
    # And nothing else in it has changed.
    without_seal = scan_content_header(
        struct.pack(">HHQ", 60, 0, len(body)) + plain, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME
    )
    assert header.fields == without_seal.fields
    assert header.table.canonical == without_seal.table.canonical


def test_gateway_takes_a_task_of_celery(signer: Signer) -> None:
    body = b"[[2, 3], {}, {}]"
    line = Line(signer, "/", CHALLENGE)
    with line.in_order() as session:
        sealed = line.seal(
            *(session, "", "celery"),
            encoded(body, application_headers=task_headers(), content_type="application/json"),
            body,
        )
    assert isinstance(gateway_verdict(sealed, body, CHALLENGE), Accepted)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_no_gateway_takes_is_refused_before_it_is_sent(signer: Signer, value: float) -> None:
    line = Line(signer, "/")
    with line.in_order() as session, pytest.raises(GateError, match="no finite number"):
        line.seal(session, "", "celery", encoded(application_headers={"ratio": value}), b"{}")


def test_header_that_outgrows_a_frame_is_refused(signer: Signer) -> None:
    line = Line(signer, "/")
    plain = encoded(application_headers={"big": "x" * 3990})
    with line.in_order() as session:
        assert line.seal(session, "", "celery", plain, b"{}", 131_072)
        with pytest.raises(GateError, match="outgrows"):
            line.seal(session, "", "celery", plain, b"{}", 4096)


def test_seals_and_broker_headers_that_a_retry_copies_are_replaced(signer: Signer) -> None:
    copied = {TOKEN_NAME: "seal1.old", "x-countersign": "old", "x-delivery-count": 2, "tenant": "acme"}
    line = Line(signer, "/")
    with line.in_order() as session:
        sealed = line.seal(session, "", "celery", encoded(application_headers=copied), b"{}")
    header = received(struct.pack(">HHQ", 60, 0, 2) + sealed, b"{}").header
    assert set(header.table.values) == {TOKEN_NAME, "tenant"}
    assert isinstance(gateway_verdict(sealed, b"{}"), Accepted)


def test_challenge_of_a_gateway_is_answered_with_rising_numbers(signer: Signer) -> None:
    line = Line(signer, "/", CHALLENGE)
    peer = a_peer()
    verifier = Verifier(a_policy(content=GENERIC), Keyring((Key("k1", HmacSha256(KEY)),)))
    for _ in range(3):
        with line.in_order() as session:
            sealed = line.seal(session, "", "celery", encoded(), b"{}")
        message = received(struct.pack(">HHQ", 60, 0, 2) + sealed, b"{}")
        assert isinstance(verifier.examine(message, peer, float(NOW)), Accepted)
    assert peer.last_sequence == 2


def test_seal_ends_with_the_task(signer: Signer) -> None:
    eta = datetime.fromtimestamp(NOW, UTC) + timedelta(hours=30)
    for headers, ends in (
        (task_headers(), 24 * 3600),
        (task_headers(eta=eta.isoformat()), 54 * 3600),
        (task_headers(expires=(eta - timedelta(hours=29)).isoformat()), 3600),
    ):
        line = Line(signer, "/")
        with line.in_order() as session:
            sealed = line.seal(session, "", "celery", encoded(application_headers=headers), b"{}")
        value = received(struct.pack(">HHQ", 60, 0, 2) + sealed, b"{}").header.table.values[TOKEN_NAME]
        assert parse_token(str(value).encode()).expires == NOW + ends


def test_ed25519_signs_with_a_private_key_alone(tmp_path: Path) -> None:
    private, public = generate_ed25519(os.urandom(32))
    path = tmp_path / "keys.toml"
    write_keys(path, [{"kid": "k1", "alg": "ed25519", "private": private}])
    line = Line(Signer(Options(f"file:{path}"), clock=lambda: float(NOW)), "/")
    with line.in_order() as session:
        sealed = line.seal(session, "", "celery", encoded(application_headers=task_headers()), b"{}")
    gateway = Key(
        "k1", algorithm_of(MaterialKind.ED25519_PUBLIC, parse_secret(public, MaterialKind.ED25519_PUBLIC))
    )
    verifier = Verifier(a_policy(content=GENERIC), Keyring((gateway,)))
    message = received(struct.pack(">HHQ", 60, 0, 2) + sealed, b"{}")
    assert isinstance(verifier.examine(message, a_peer(), float(NOW)), Accepted)
    write_keys(path, [{"kid": "k1", "alg": "ed25519", "public": public}])
    with pytest.raises(KeysError, match="0 keys are active and can sign"):
        Signer(Options(f"file:{path}"))


class TestWhichKeySigns:
    def test_only_active_key_that_can(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.toml"
        write_keys(path, [key("old", new_secret(), state="verify"), key("new", new_secret())])
        assert kid_of(Signer(Options(f"file:{path}"))) == "new"

    def test_named_one_of_several(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.toml"
        write_keys(path, [key("a", new_secret()), key("b", new_secret())])
        assert kid_of(Signer(Options(f"file:{path}", sign_with="a"))) == "a"
        with pytest.raises(KeysError, match="2 keys are active and can sign"):
            Signer(Options(f"file:{path}"))
        with pytest.raises(KeysError, match=r'"c" can not sign: no such key to sign with \(keys: a, b\)'):
            Signer(Options(f"file:{path}", sign_with="c"))

    @pytest.mark.parametrize("limit", [{"state": "verify"}, {"not_after": "2020-01-01T00:00:00Z"}])
    def test_key_that_can_not_sign_is_no_start(self, tmp_path: Path, limit: dict[str, object]) -> None:
        path = tmp_path / "keys.toml"
        write_keys(path, [key("a", new_secret(), **limit)])
        for sign_with in ("a", "a*", None):
            with pytest.raises(KeysError, match=r"key a is|0 keys are active"):
                Signer(Options(f"file:{path}", sign_with=sign_with))

    def test_first_of_a_name_that_can_sign_now(self, tmp_path: Path) -> None:
        """As the sidecar has it."""
        path, now = tmp_path / "keys.toml", [NOW]
        write_keys(
            path,
            [
                key("web1-a", new_secret(), state="verify"),
                key("web1-b", new_secret(), not_after=moment(10)),
                key("pos", new_secret()),
                key("web1-c", new_secret(), not_before=moment(5)),
            ],
        )
        signer = Signer(Options(f"file:{path}", sign_with="web1-*"), clock=lambda: float(now[0]))
        signed = []
        for now[0] in (NOW, NOW + 10, NOW + 11):
            signed.append(kid_of(signer))
        assert signed == ["web1-b", "web1-b", "web1-c"]


class TestRotation:
    """What is in the key file while others are at another step of it."""

    @pytest.mark.parametrize("sign_with", [None, "web1-*"])
    def test_is_followed_without_a_restart(self, turning: Turning, sign_with: str | None) -> None:
        signer = turning.signer(sign_with)
        assert kid_of(signer) == "web1-a"
        turning.write(a="active", b="verify")
        assert kid_of(signer) == "web1-a"
        turning.write(a="verify", b="active")
        assert kid_of(signer) == "web1-b"
        turning.write(b="active")
        assert kid_of(signer) == "web1-b"

    @pytest.mark.parametrize("states", [{"a": "verify", "b": "verify"}, {"a": "verify"}, {"x": "active"}, {}])
    def test_without_a_signer_leaves_signing_to_the_last_one(
        self, turning: Turning, states: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """No publish fails because a file is wrong for a moment; the log says what is, once."""
        signer = turning.signer("web1-*")
        turning.write(**states)
        assert [kid_of(signer) for _ in range(3)] == ["web1-a"] * 3
        told = [text for text in caplog.messages if "signs on" in text or "old keys stay" in text]
        assert len(told) == 1
        turning.write(a="verify", b="active")
        assert kid_of(signer) == "web1-b"

    def test_that_leaves_two_signers_leaves_it_to_the_last_one(
        self, turning: Turning, caplog: pytest.LogCaptureFixture
    ) -> None:
        signer = turning.signer(None)
        turning.write(a="active", b="active")
        assert kid_of(signer) == "web1-a"
        assert "web1-a signs on: 2 keys are active and can sign: say sign_with" in caplog.text

    def test_revoked_signer_signs_no_more(self, turning: Turning) -> None:
        """Here, and not only where the gateway would refuse it."""
        signer = turning.signer("web1-*")
        turning.write(a="revoked")
        with pytest.raises(GateError, match=r"sig\.key_state key web1-a is revoked"):
            kid_of(signer)
        turning.write(a="revoked", b="active")
        assert kid_of(signer) == "web1-b"

    def test_each_attempt_is_sealed_by_the_key_of_then(self, turning: Turning) -> None:
        """A message that waited in a client's buffer, or is published again, is sealed anew."""
        signer, line_options = turning.signer("web1-*"), encoded(application_headers=task_headers())
        line = Line(signer, "/")
        tokens = []
        for states in ({"a": "active"}, {"a": "verify", "b": "active"}):
            turning.write(**states)
            with line.in_order() as session:
                line_options = line.seal(session, "", "celery", line_options, b"{}")
            tokens.append(token_in(line_options))
        assert [token.kid for token in tokens] == ["web1-a", "web1-b"]
        assert tokens[0].nonce != tokens[1].nonce


class Turning:
    """A key file that is turned, and a signer that has looked since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets = {name: new_secret() for name in "abx"}
        self.signers: list[Signer] = []
        self.write(a="active")

    def write(self, **states: str) -> None:
        names = {"a": "web1-a", "b": "web1-b", "x": "other"}
        write_keys(
            self.path, [key(names[name], self.secrets[name], state=state) for name, state in states.items()]
        )
        for signer in self.signers:
            signer._keys._next = 0.0

    def signer(self, sign_with: str | None) -> Signer:
        self.signers.append(Signer(Options(f"file:{self.path}", sign_with=sign_with)))
        return self.signers[-1]


@pytest.fixture
def turning(tmp_path: Path) -> Turning:
    return Turning(tmp_path / "keys.toml")


def moment(seconds: int) -> str:
    """That long after `NOW`."""
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def kid_of(signer: Signer) -> str:
    line = Line(signer, "/")
    with line.in_order() as session:
        return token_in(line.seal(session, "", "celery", encoded(), b"{}")).kid


def token_in(sealed: bytes) -> Token:
    """Of the properties of a publish."""
    value = received(struct.pack(">HHQ", 60, 0, 2) + sealed, b"{}").header.table.values[TOKEN_NAME]
    return parse_token(str(value).encode())


@pytest.mark.parametrize("challenge", [b"", CHALLENGE], ids=["random", "numbered"])
def test_pool_of_8_processes_and_8_threads_uses_no_nonce_twice(
    signer: Signer, challenge: bytes, full: bool, tmp_path: Path
) -> None:
    """Eight children forked from a process that signs, each with eight threads, all on the parent's line: the
    worst that a pool can do. 100,000 messages with --full."""
    share = 100_000 // 64 if full else 40
    line = Line(signer, "/", challenge)
    nonces: list[bytes] = []
    pids = []
    parents_done = threading.Event()

    def sign_all_the_while() -> None:
        while not parents_done.is_set():
            nonces.append(nonce_on(line))

    busy = threading.Thread(target=sign_all_the_while)
    busy.start()  # so that forks meet a lock that is held
    try:
        for child in range(8):
            pid = os.fork()
            if pid == 0:
                os._exit(sign_in_child(line, share, tmp_path / str(child)))
            pids.append(pid)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 8
    finally:
        parents_done.set()
        busy.join()
    for child in range(8):
        octets = (tmp_path / str(child)).read_bytes()
        assert len(octets) == 16 * 8 * share, "children take random nonces"
        nonces += [octets[at : at + 16] for at in range(0, len(octets), 16)]
    assert len(nonces) >= 64 * share
    assert len(set(nonces)) == len(nonces)


def sign_in_child(line: Line, share: int, path: Path) -> int:
    """Eight threads sign; returns the exit code. A child that hangs is ended by its alarm."""
    import signal

    signal.alarm(CHILD_SECONDS_MAX)
    found: list[list[bytes]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=sign_share, args=(line, share, mine)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path.write_bytes(b"".join(b"".join(mine) for mine in found))
    return 0


def sign_share(line: Line, share: int, mine: list[bytes]) -> None:
    for _ in range(share):
        mine.append(nonce_on(line))


def nonce_on(line: Line) -> bytes:
    with line.in_order() as session:
        sealed = line.seal(session, "", "celery", PLAIN, b"{}")
    value = received(struct.pack(">HHQ", 60, 0, 2) + sealed, b"{}").header.table.values[TOKEN_NAME]
    return parse_token(str(value).encode()).nonce


PLAIN = encoded(application_headers=task_headers())


def test_threads_on_one_line_write_in_the_order_of_their_numbers(signer: Signer) -> None:
    line = Line(signer, "/", CHALLENGE)
    written: list[int] = []

    def publish() -> None:
        for _ in range(100):
            with line.in_order() as session:
                number = session.sequence
                line.seal(session, "", "celery", PLAIN, b"{}")
                written.append(number)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == list(range(800))


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_session_is_not_shared_with_a_fork(signer: Signer, first: bool) -> None:
    """Whether the parent had signed already or not: the child's session is never the parent's."""
    line = Line(signer, "/", CHALLENGE)
    if first:
        nonce_on(line)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with line.in_order() as session:
            os.write(write, b"shared" if session.challenge else b"own")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert os.read(read, 10) == b"own"
    os.close(read)
    with line.in_order() as session:
        assert session.challenge == CHALLENGE


PURE = """
import sys
before = set(sys.modules)
import sealgate.integrations.{module}
found = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(sorted(found - set(sys.stdlib_module_names)))
"""


def imported_by(statement: str) -> str:
    # Without site-packages' own hooks, which import what they like.
    told = subprocess.run(
        [sys.executable, "-c", statement], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


@pytest.mark.parametrize("module", ["options", "keys", "signer", "deliveries", "decoded"])
def test_signing_imports_nothing_but_the_standard_library(module: str) -> None:
    imported = imported_by(PURE.format(module=module))
    # A compiled core is one library beside the package.
    assert [name for name in eval(imported) if not name.endswith("__mypyc")] == ["sealgate"]


def test_hmac_needs_no_cryptography_at_run_time(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, [key("k1", new_secret())])
    statement = f"""
import sys
from sealgate.integrations.options import Options
from sealgate.integrations.signer import Line, Signer
line = Line(Signer(Options("file:{path}")), "/")
with line.in_order() as session:
    assert b"x-seal" in line.seal(session, "", "q", bytes(2), b"")
print("cryptography" in sys.modules)
"""
    assert imported_by(statement) == "False"


def test_signer_session_of_no_challenge_is_random() -> None:
    """What a child relies on."""
    taken: Callable[[int], bytes] = os.urandom
    assert len({SignerSession().nonce_text(taken) for _ in range(100)}) == 100
