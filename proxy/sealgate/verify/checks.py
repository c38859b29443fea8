"""The verifier: every check of seal1 in the order of seal1.md, "Order of checks", steps 2 to 10.

Steps 1 (frames, sizes) and 11 (forward, then commit) are the session's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sealgate.reason import CONNECTION_FAMILIES, GateError, Reason
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import Token
from sealgate.verify.alike import examine_alike
from sealgate.verify.authority import TaskGrant, check_class, check_target
from sealgate.verify.bounds import Edits, apply_bounds, subject_of
from sealgate.verify.celery import TASK_HEADER, Clock, task_name
from sealgate.verify.classes import MessageClass, class_of_target
from sealgate.verify.content import read_body
from sealgate.verify.envelopes import Envelope, check_envelope
from sealgate.verify.fields import check_headers, check_properties
from sealgate.verify.inputs import covered_by
from sealgate.verify.known import Known, Memory
from sealgate.verify.message import Message, Peer
from sealgate.verify.naming import claimed_task, header_names, run_tasks
from sealgate.verify.ordered import check_orders, check_unproven
from sealgate.verify.policy import CELERY, ContentRules, Policy
from sealgate.verify.seals import (
    check_snapshot,
    check_times,
    claim_of,
    context_of,
    nonce_head,
    read_token,
)
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Refused, Verdict

OTHER: Final = "other"
#: What can not be forwarded even where rules only observe: the broker could not read it, or it is too large
#: to hold. A body that is too large for its task only (found once it is authenticated) can.
_NEVER_OBSERVED: Final = frozenset({Reason.BODY_SIZE, Reason.PROPS_FLAGS, Reason.PROPS_TRUNCATED})
#: What an operator has ordered is no rule on trial.
_ORDERED: Final = frozenset({Reason.ACL_REVOKED, Reason.RATE_SHED})
_REFUSALS: Final = {
    ClaimStatus.INFLIGHT: Reason.REPLAY_INFLIGHT,
    ClaimStatus.DUPLICATE: Reason.REPLAY_DUPLICATE,
    ClaimStatus.CONFLICT: Reason.REPLAY_CONFLICT,
    ClaimStatus.LIMITED: Reason.RATE_TASK,
    ClaimStatus.COST: Reason.RATE_COST,
    ClaimStatus.FULL: Reason.STORE_FULL,
    ClaimStatus.HORIZON: Reason.STORE_HORIZON,
    ClaimStatus.UNAVAILABLE: Reason.STORE_UNAVAILABLE,
}


class Examination:
    """One message while it is examined, and what is known of it so far.

    `delivered`: it comes from the broker, for a consumer, and `message` has the target it was published to.
    """

    __slots__ = ("authenticated", "delivered", "expires", "kid", "message", "now", "peer", "rules", "task")

    def __init__(
        self, message: Message, peer: Peer, now: float, rules: ContentRules, delivered: bool = False
    ) -> None:
        self.message: Final = message
        self.peer: Final = peer
        self.now: Final = now
        self.rules: Final = rules
        self.delivered: Final = delivered
        self.kid = ""
        self.task = ""
        self.authenticated = False
        #: When the seal ends, once its signature was found good.
        self.expires = 0


class Verifier:
    """Judges messages by `policy` and `keyring`; both may be replaced whole at any time (reload)."""

    __slots__ = ("keyring", "policy")

    def __init__(self, policy: Policy, keyring: Keyring) -> None:
        self.policy = policy
        self.keyring = keyring

    def examine(self, message: Message, peer: Peer, now: float) -> Verdict:
        """All that can be known without the store, at `now` (Unix seconds).

        An `Accepted` with a claim stands once the store has granted it: see `settled`.
        """
        known = self._known(message, peer)
        if known is not None and known.usable:
            accepted = examine_alike(known, message, peer, now)
            if accepted is not None:
                return accepted
        rules = self.content_for(message, peer)
        examination = Examination(message, peer, now, rules)
        try:
            return self._examine(examination)
        except GateError as error:
            refused = Refused(
                error.reason,
                error.detail,
                kid=examination.kid,
                task=examination.task or claimed_task(message, rules.profile),
                authenticated=examination.authenticated,
                expires=examination.expires,
            )
            return self._ordered(self.refusal(refused, message, peer), message, rules, now)

    def _ordered(self, verdict: Verdict, message: Message, rules: ContentRules, now: float) -> Verdict:
        """`verdict`, or the refusal that was ordered of what would pass because it is observed."""
        if self.policy.controls is None or isinstance(verdict, Refused):
            return verdict
        try:
            verdict.parked = check_unproven(message, rules, self.policy, now)
        except GateError as error:
            # It is not refused for who sent it: no guess was made.
            return Refused(
                error.reason,
                error.detail,
                verdict.kid,
                verdict.task,
                authenticated=True,
                expires=verdict.expires,
            )
        return verdict

    def _known(self, message: Message, peer: Peer) -> Known | None:
        memory = peer.known
        return memory.find(message, self.keyring, self.policy) if isinstance(memory, Memory) else None

    def bound(self, message: Message, peer: Peer, now: float) -> Verdict:
        """What its bounds make of a message that is about to be signed here, at `now` (Unix seconds).

        Only tasks that headers name (Celery 2), and replies that their target tells, are looked at: who sent
        them is trusted, and a gateway judges the rest.
        """
        policy = self.policy
        task = header_names(message).celery
        found = policy.bounds.of(task) if policy.bounds is not None and task else None
        try:
            value: object = None
            if found is not None and found.arguments_bytes_max is not None:
                value = read_body(message, self.content_for(message, peer), policy).value
            bound_task = task if found is not None else None
            return Accepted("", task, edits=self._bound(message, peer, bound_task, value, now, False))
        except GateError as error:
            refused = Refused(error.reason, error.detail, task=task, authenticated=True)
            return self.refusal(refused, message, peer)

    def settled(self, accepted: Accepted, outcome: ClaimOutcome, message: Message, peer: Peer) -> Verdict:
        """What `accepted` becomes now that the store has answered its claim.

        Nothing was claimed where the verdict is not the granted one: there is nothing to settle then.
        """
        if outcome.status is ClaimStatus.GRANTED:
            return accepted
        if outcome.status is ClaimStatus.DEGRADED:
            return replace(accepted, flags=(*accepted.flags, Reason.RATE_DEGRADED))
        refused = Refused(
            _REFUSALS[outcome.status],
            kid=accepted.kid,
            task=accepted.task,
            authenticated=True,
            bucket=outcome.bucket,
            wait_us=outcome.wait_us,
            expires=accepted.expires,
        )
        verdict = self.refusal(refused, message, peer)
        if isinstance(verdict, Accepted):
            verdict.parked = accepted.parked
        return verdict

    def observes(self, peer: Peer, exchange: str, task: str | None = None) -> bool:
        """Whether a refusal of what `peer` sends there is only counted; None for a task that is not known."""
        return self.policy.observes(peer.vhost, exchange, task, peer.user)

    def content_for(self, message: Message, peer: Peer) -> ContentRules:
        """What the body of `message` must be, as far as it is known without reading it."""
        policy = self.policy
        if not policy.rules:
            return policy.content
        return policy.content_for(peer.vhost, message.exchange, header_names(message), peer.user)

    def task_label(self, task: str) -> str:
        """The metric label of a task: a configured name or glob, else "other"; clients make up none."""
        return self.policy.rates.label(task) or OTHER

    def refusal(self, refused: Refused, message: Message, peer: Peer) -> Verdict:
        """`refused`, or where rules only observe an `Accepted` that says so."""
        reason = refused.reason
        never = reason in _ORDERED or (reason in _NEVER_OBSERVED and not refused.authenticated)
        if never or reason.family in CONNECTION_FAMILIES or not self._is_observed(message, peer):
            return refused
        return Accepted(refused.kid, refused.task, observed=reason, expires=refused.expires)

    def _is_observed(self, message: Message, peer: Peer) -> bool:
        """Whether what would happen to `message` is only counted, whatever it runs."""
        policy = self.policy
        tasks: tuple[str | None, ...] = ("",)
        if policy.names_tasks():
            tasks = run_tasks(message, self.content_for(message, peer), policy)
        return all(self.observes(peer, message.exchange, task) for task in tasks)

    def _bound(
        self, message: Message, peer: Peer, task: str | None, value: object, now: float, is_result: bool
    ) -> Edits | None:
        """Step 9, at its end: what bounds change in the message, a `task` (or None). Raises GateError."""
        policy = self.policy
        edits: Edits | None = None
        if task is not None and policy.bounds is not None:
            edits = apply_bounds(policy.bounds, subject_of(message, task, value), now, policy.clock_skew_s)
        if policy.expiry is not None:
            edits = policy.expiry.edits(message, is_result, edits)
        if edits is not None and self._is_observed(message, peer):
            edits.observed = True
        return edits

    def _examine(self, examination: Examination) -> Verdict:
        message, peer, now = examination.message, examination.peer, examination.now
        policy = self.policy
        if len(message.body) > policy.body_bytes_max:
            raise GateError(Reason.BODY_SIZE, f"over {policy.body_bytes_max} bytes")
        check_properties(message.header, peer.user)
        check_headers(message.header.table, examination.rules.profile)
        token = read_token(message, peer)
        key = self.keyring.get(token.kid)
        if key is None:
            raise GateError(Reason.SIG_KID, "unknown key")
        examination.kid = key.kid
        self.keyring.check_for_verify(key, token, now)
        check_times(token, now, policy)
        signed = covered_by(context_of(key, peer, policy), message, token.prefix)
        if not key.algorithm.verify(signed, token.signature):
            raise GateError(Reason.SIG_BAD, "the signature is not of this message")
        examination.authenticated = True
        examination.expires = token.expires
        check_snapshot(message, token)
        envelope, flags = self.authorise(examination, key, token)
        examination.task = envelope.task
        parked = ""
        if policy.controls is not None:
            parked = check_orders(envelope, examination.rules.profile, policy, now)
        task = envelope.task if envelope.message_class is MessageClass.TASK else None
        is_result = envelope.message_class is MessageClass.RESULT
        edits = self._bound(message, peer, task, envelope.body.value, now, is_result)
        head = nonce_head(policy.deployment, key.kid)
        claim = claim_of(task, message, envelope.body.value, peer, token, signed, policy, now, edits, head)
        if claim is not None:
            claim.fingerprint = key.algorithm.fingerprint(signed)
        if task is not None:
            memory = peer.known
            if not isinstance(memory, Memory):
                memory = peer.known = Memory()
            memory.learn(message, peer, key, self.keyring, policy, examination.rules)
        skew_s = token.created - now
        return Accepted(key.kid, envelope.task, claim, flags, None, skew_s, edits, parked, token.expires)

    def authorise(
        self, examination: Examination, key: Key, token: Token
    ) -> tuple[Envelope, tuple[Reason, ...]]:
        """Steps 8 and 9: what the key may do, and content. What a body tells is asked once it is proven.

        Raises `GateError` acl.*, content.*, celery.*, dramatiq.*, taskiq.* or time.expired.
        """
        message, policy = examination.message, self.policy
        check_target(key, message, examination.peer, examination.delivered)
        target_class = class_of_target(message.exchange, message.routing_key)
        rules = examination.rules
        grant = TaskGrant(key)
        if target_class is not None:
            check_class(key, target_class)
            rules = _celery_rules(rules)
        elif rules.profile == CELERY and TASK_HEADER in message.header.table.values:
            check_class(key, MessageClass.TASK)
            examination.task = task_name(message.header.table.values[TASK_HEADER])
            grant.check(examination.task)
        elif rules.profile != CELERY:
            check_class(key, MessageClass.TASK)
            named = header_names(message).celery
            if named:
                # A worker of Celery that got this would run that, whatever the profile takes for its name.
                grant.check(named)
        body = read_body(message, rules, policy)
        clock = Clock(examination.now, policy.clock_skew_s, token.created + key.max_lifetime_s)
        envelope = Envelope(target_class, message, body)
        try:
            check_envelope(envelope, rules, key, grant, clock, policy.protocol_1)
        finally:
            examination.task = envelope.task or examination.task
        return envelope, (Reason.CONTENT_B64_PICKLE,) if body.pickle else ()


def _celery_rules(rules: ContentRules) -> ContentRules:
    """Control and events are Celery's, whatever profile the tasks beside them have."""
    if rules.profile == CELERY:
        return rules
    types = rules.types & ContentRules().types
    return ContentRules(CELERY, types or ContentRules().types, rules.compression)
