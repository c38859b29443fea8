"""Every check of a publish in the verifier's order, what it saw and what it wanted.

One that fails does not stop those that can still be asked: a message may be wrong in two ways. The verdict is
the verifier's own (`verify.checks`), which a test holds against the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from sealgate.cli.explain.findings import OK, OPEN, REFUSED, SKIPPED, Findings, Step, moment, shown
from sealgate.cli.explain.given import Given
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import TOKEN_NAME
from sealgate.signing.keyring import Key
from sealgate.signing.token import Token, is_session_nonce, split_session_nonce
from sealgate.verify.authority import TaskGrant, check_class, check_target
from sealgate.verify.bounds import BoundTable, Edits, Subject, apply_bounds, subject_of
from sealgate.verify.celery import TASK_HEADER, Clock, task_name
from sealgate.verify.checks import Verifier
from sealgate.verify.classes import MessageClass, class_of_target
from sealgate.verify.content import Body, read_body
from sealgate.verify.envelopes import Envelope, check_envelope
from sealgate.verify.fields import check_headers, check_properties
from sealgate.verify.inputs import covered_by
from sealgate.verify.message import Message, Peer
from sealgate.verify.naming import header_names
from sealgate.verify.policy import CELERY, ContentRules, Policy
from sealgate.verify.seals import check_snapshot, check_times, context_of, read_token
from sealgate.verify.verdict import Refused
from sealgate.wire.properties import CONTENT_ENCODING, CONTENT_TYPE, EXPIRATION, TIMESTAMP


def run_steps(given: Given, verifier: Verifier, peer: Peer, now: float) -> Findings:
    """Ask every check of `given` as sent by `peer` at `now` (Unix seconds)."""
    if given.message is None:
        return _unread(given)
    return _Steps(given, given.message, verifier, peer, now).run()


def _unread(given: Given) -> Findings:
    error = given.error
    assert error is not None  # one of the two is there
    findings = Findings(verdict=Refused(error.reason, error.detail))
    wanted = "a basic.publish and a content header in RabbitMQ's own grammar"
    findings.steps.append(_refused("form", "", wanted, error))
    return findings


def _refused(name: str, saw: str, wanted: str, error: GateError) -> Step:
    return Step(name, REFUSED, saw, wanted, error.reason.value, error.detail)


class _Steps:
    """One message while it is asked about."""

    def __init__(self, given: Given, message: Message, verifier: Verifier, peer: Peer, now: float) -> None:
        self._given: Final = given
        self._message: Final = message
        self._verifier: Final = verifier
        self._policy: Final[Policy] = verifier.policy
        self._peer: Final = peer
        self._now: Final = now
        self._rules: Final[ContentRules] = self._content_rules()
        self._findings: Final = Findings()

    def run(self) -> Findings:
        message, policy, findings = self._message, self._policy, self._findings
        findings.digests = {
            "properties_sha256": sha256(message.section_p).hexdigest(),
            "headers_sha256": sha256(message.header.table.canonical).hexdigest(),
            "body_sha256": message.body_sha256.hex(),
        }
        size, size_max = message.header.body_size, policy.body_bytes_max
        self._ask("body size", f"{size} bytes", f"at most {size_max}", self._check_size)
        self._ask(
            "properties",
            "",
            "what RabbitMQ takes: expiration, delivery mode, user id",
            lambda: check_properties(message.header, self._peer.user),
        )
        values = message.header.table.values
        self._ask(
            "headers",
            f"{len(values)} headers",
            f"no routing in them, no type that profile {self._rules.profile} does not take",
            lambda: check_headers(message.header.table, self._rules.profile),
        )
        self._seal()
        self._content()
        self._store()
        self._judge()
        return findings

    def _check_size(self) -> None:
        size = max(self._message.header.body_size, len(self._message.body))
        if size > self._policy.body_bytes_max:
            raise GateError(Reason.BODY_SIZE, f"over {self._policy.body_bytes_max} bytes")

    def _ask(self, name: str, saw: str, wanted: str, check: Callable[[], object]) -> bool:
        try:
            check()
        except GateError as error:
            self._findings.steps.append(_refused(name, saw, wanted, error))
            return False
        self._findings.steps.append(Step(name, OK, saw, wanted))
        return True

    def _skip(self, because: str, *names: str) -> None:
        for name in names:
            self._findings.steps.append(Step(name, SKIPPED, detail=because))

    def _seal(self) -> None:
        """Grammar, key, times, signature, target, grants: steps 3 to 8 of seal1.md."""
        findings, message, peer = self._findings, self._message, self._peer
        wanted = f"one {TOKEN_NAME} header: seal1.KID.CREATED.EXPIRES.NONCE.PROFILE.SNAPSHOT.SIGNATURE"
        try:
            token = findings.token = read_token(message, peer)
        except GateError as error:
            findings.steps.append(_refused("seal", "", wanted, error))
            self._skip("there is no seal to read", "key", "times", "signature", "target", "grants")
            return
        kind = "session nonce" if is_session_nonce(token.nonce) else "stored nonce"
        findings.steps.append(Step("seal", OK, f"seal1, key {token.kid}, {kind}", wanted))
        key = findings.key = self._key(token)
        saw = f"created {moment(token.created)}, expires {moment(token.expires)}"
        limits = f"created at most {self._policy.max_age_s} s ago, give or take {self._policy.clock_skew_s} s"
        self._ask(
            "times",
            saw,
            f"{limits}, and not over, at {moment(self._now)}",
            lambda: check_times(token, self._now, self._policy),
        )
        if key is None:
            self._skip("the key is not known", "signature")
        else:
            self._signature(key, token)
        self._ask(
            "target", self._target_seen(), self._target_sealed(token), lambda: check_snapshot(message, token)
        )
        if key is None:
            self._skip("the key is not known", "grants")
        else:
            self._ask("grants", self._sender(), _grants(key), lambda: self._check_grants(key))

    def _sender(self) -> str:
        peer, task = self._peer, header_names(self._message).of(self._rules.profile)
        user = shown(peer.user) if peer.user else "unknown"
        return f"vhost {shown(peer.vhost)}, user {user}, task {shown(task) if task else 'not in a header'}"

    def _check_grants(self, key: Key) -> None:
        """Step 8 of seal1.md as far as the target and the headers tell what the message is."""
        message = self._message
        check_target(key, message, self._peer)
        target_class = class_of_target(message.exchange, message.routing_key)
        if target_class is not None:
            check_class(key, target_class)
            return
        headers = message.header.table.values
        if self._rules.profile != CELERY:
            check_class(key, MessageClass.TASK)
            named = header_names(message).celery
            if named:
                TaskGrant(key).check(named)
        elif TASK_HEADER in headers:
            check_class(key, MessageClass.TASK)
            TaskGrant(key).check(task_name(headers[TASK_HEADER]))

    def _key(self, token: Token) -> Key | None:
        keyring, now = self._verifier.keyring, self._now
        key = keyring.get(token.kid)
        if key is None:
            kids = ", ".join(keyring.kids()) or "none"
            error = GateError(Reason.SIG_KID, "unknown key")
            self._findings.steps.append(_refused("key", token.kid, f"one of {kids}", error))
            return None
        saw = (
            f"{key.kid}, {key.algorithm.name}, state {key.state.value}; a signature of "
            f"{len(token.signature)} bytes, good for {token.expires - token.created} s"
        )
        wanted = (
            f"not revoked, in its time, {key.algorithm.signature_bytes} bytes, at most {key.max_lifetime_s} s"
        )
        self._ask("key", saw, wanted, lambda: keyring.check_for_verify(key, token, now))
        return key

    def _signature(self, key: Key, token: Token) -> None:
        message, findings = self._message, self._findings
        table = message.header.table
        signed = covered_by(context_of(key, self._peer, self._policy), message, token.prefix)
        findings.digests["signing_input_sha256"] = sha256(signed).hexdigest()
        covered = table.size - table.foreign - (TOKEN_NAME in table.values)
        saw = f"{covered} headers, {len(message.body)} bytes of body, vhost {shown(self._peer.vhost)}"
        wanted = f"what {key.kid} signed, in deployment {shown(self._policy.deployment)}"
        if not self._given.whole:
            self._skip("not all of the body is here", "signature")
            return
        if len(token.signature) != key.algorithm.signature_bytes:
            self._skip("its length is not the algorithm's", "signature")
            return

        def check() -> None:
            if not key.algorithm.verify(signed, token.signature):
                raise GateError(Reason.SIG_BAD, "the signature is not of this message")

        findings.bad_signature = not self._ask("signature", saw, wanted, check)

    def _target_seen(self) -> str:
        fields = self._message.header.fields
        return _target(
            self._message.exchange, self._message.routing_key, fields[EXPIRATION], fields[TIMESTAMP]
        )

    def _target_sealed(self, token: Token) -> str:
        target = token.target
        return _target(target.exchange, target.routing_key, target.expiration, target.timestamp)

    def _content(self) -> None:
        """What the body is, and what the key may have it do."""
        message, rules, key, token = self._message, self._rules, self._findings.key, self._findings.token
        header = message.header
        content_type, encoding = (header.text(index) or "" for index in (CONTENT_TYPE, CONTENT_ENCODING))
        saw = f"type {shown(content_type)}, encoding {shown(encoding)}"
        types = ", ".join(sorted(rules.types))
        wanted = (
            f"profile {rules.profile}: one of {types}; compression: {', '.join(rules.compression) or 'none'}"
        )
        bodies: list[Body] = []
        if not self._given.whole:
            self._skip("not all of the body is here", "content", "envelope")
            return
        if not self._ask(
            "content", saw, wanted, lambda: bodies.append(read_body(message, rules, self._policy))
        ):
            self._skip("the body can not be read", "envelope")
            return
        if key is None or token is None:
            self._skip("what the key may do is not known", "envelope")
            return
        clock = Clock(self._now, self._policy.clock_skew_s, token.created + key.max_lifetime_s)
        envelope = Envelope(class_of_target(message.exchange, message.routing_key), message, bodies[0])
        self._ask(
            "envelope",
            f"{bodies[0].form.value}, {len(message.body)} bytes",
            f"the fields and embedded tasks of profile {rules.profile}, as key {key.kid} may send them",
            lambda: check_envelope(envelope, rules, key, TaskGrant(key), clock, self._policy.protocol_1),
        )
        self._findings.task = envelope.task
        if envelope.message_class is MessageClass.TASK and self._policy.bounds is not None:
            self._bounds(subject_of(message, envelope.task, envelope.body.value), self._policy.bounds)

    def _bounds(self, task: Subject, bounds: BoundTable) -> None:
        """What the operator lets such a task ask for."""
        if bounds.of(task.task) is None:
            return
        edits: list[Edits | None] = []
        name = shown(task.task)
        policy = self._policy
        if self._ask(
            "bounds",
            name,
            "within what [[bound]] allows",
            lambda: edits.append(apply_bounds(bounds, task, self._now, policy.clock_skew_s)),
        ):
            changes = edits[0]
            if changes is not None:
                self._findings.steps.pop()
                detail = f"the gateway changes {', '.join(changes.bounds)} and countersigns"
                self._findings.steps.append(Step("bounds", OK, name, "clamped", detail=detail))

    def _store(self) -> None:
        """What a running gateway adds: nonces and rates. Nothing of it is touched here."""
        steps, token = self._findings.steps, self._findings.token
        limits = self._policy.rates.limits(self._findings.task) if self._findings.task else []
        if limits:
            names = ", ".join([f"{shown(name)} (cost {cost})" for name, cost in limits])
            steps.append(Step("rate", OPEN, names, "tokens", detail="only a running gateway knows how many"))
        if token is None:
            return
        if is_session_nonce(token.nonce):
            sequence = split_session_nonce(token.nonce)[1]
            saw, wanted = f"number {sequence} of a connection", "this connection's challenge, a rising number"
        else:
            saw, wanted = f"a nonce of {len(token.nonce)} bytes", "never seen"
        steps.append(Step("nonce", OPEN, saw, wanted, detail="only the gateway that saw it knows"))

    def _judge(self) -> None:
        """The verifier's own verdict, for a peer whose session nonces are taken for right."""
        findings, peer = self._findings, self._peer
        token = findings.token
        if token is not None and is_session_nonce(token.nonce):
            peer.challenge = split_session_nonce(token.nonce)[0]
        if self._message.header.body_size > self._policy.body_bytes_max:
            # The session's own, on the content header, and never only observed.
            findings.verdict = Refused(Reason.BODY_SIZE, f"over {self._policy.body_bytes_max} bytes")
            return
        if not self._given.whole:
            self._judge_part()
            return
        findings.verdict = self._verifier.examine(self._message, peer, self._now)
        reason = findings.reason
        told = {step.reason for step in findings.steps}
        if reason is not Reason.OK and reason.value not in told:
            verdict = findings.verdict
            detail = verdict.detail if isinstance(verdict, Refused) else ""
            findings.steps.append(Step("rules", REFUSED, reason=reason.value, detail=detail))
        if not isinstance(findings.verdict, Refused) and reason is not Reason.OK:
            findings.steps.append(Step("mode", OK, "observe", "enforce would refuse it"))

    def _judge_part(self) -> None:
        """Of a message that is not all here: what the gateway said, or what it says when no more comes."""
        findings, message = self._findings, self._message
        refused = [step for step in findings.steps if step.verdict == REFUSED]
        if not refused:
            reason = Reason(self._given.recorded or Reason.CONN_STALL.value)
            saw = f"{len(message.body)} of {message.header.body_size} bytes"
            refused = [Step("body", REFUSED, saw, "all of it", reason.value, "not all of it is here")]
            findings.steps += refused
        findings.verdict = Refused(Reason(refused[0].reason), refused[0].detail)

    def _content_rules(self) -> ContentRules:
        policy, message, peer = self._policy, self._message, self._peer
        rules = policy.content_for(peer.vhost, message.exchange, header_names(message), peer.user)
        if class_of_target(message.exchange, message.routing_key) is None or rules.profile == CELERY:
            return rules
        # Control and events are Celery's, whatever profile the tasks beside them have.
        types = rules.types & ContentRules().types or ContentRules().types
        return ContentRules(CELERY, types, rules.compression)


def _target(exchange: str, routing_key: str, expiration: bytes | None, timestamp: bytes | None) -> str:
    parts = [f"exchange {shown(exchange)}", f"routing key {shown(routing_key)}"]
    if expiration is not None:
        parts.append(f"expiration {shown(expiration.decode('utf-8', 'replace'))}")
    if timestamp is not None:
        parts.append(f"timestamp {int.from_bytes(timestamp, 'big')}")
    return ", ".join(parts)


def _grants(key: Key) -> str:
    parts = []
    for name in ("vhosts", "users", "exchanges", "routing_keys", "reply_to", "classes", "tasks"):
        patterns = getattr(key, name)
        if patterns is not None:
            parts.append(f"{name} {', '.join(map(shown, patterns)) or 'none'}")
    return f"key {key.kid} may: {'; '.join(parts) or 'send anything anywhere'}"
