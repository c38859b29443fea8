"""Whether a step of a rotation may be done now: every reason against it, from the files and the gateways.

No clock, no files, no network: what is known comes in. Moments are Unix seconds of this machine's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sealgate.cli.keys.gateways import KeyUse, Witness
from sealgate.cli.keys.words import ago, span
from sealgate.signing.keyring import Key, KeyState

#: From a new key in the files to every gateway having it, where none is asked. Files are looked at every 2 s,
#: stores on the network every minute; Kubernetes takes up to two minutes to bring a Secret to a volume.
SETTLING_S: Final = 300.0
#: `replay.clock_skew` if no configuration says otherwise: as long a seal is good after its end.
CLOCK_SKEW_S: Final = 30.0
#: So long after a promotion, or after the last message under the old key, every signer has switched. Signers
#: look at files every 2 s; what takes long is to bring a file to all machines, or one that was off.
QUIET_S: Final = 3600.0
#: Clocks further apart than this make nonsense of what the files say of time.
CLOCKS_APART_S_MAX: Final = 30.0


@dataclass(slots=True, frozen=True)
class Limits:
    """How long seals count: `lifetime_s` in place of a key's max_lifetime where that is shorter.

    `quiet_s`: no message must have come under the old key for so long.
    """

    clock_skew_s: float = CLOCK_SKEW_S
    lifetime_s: float | None = None
    quiet_s: float = QUIET_S

    def lifetime_of(self, key: Key) -> float:
        return min(key.max_lifetime_s, self.lifetime_s or key.max_lifetime_s)


@dataclass(slots=True, frozen=True)
class Standing:
    """A key as the key files given have it: of several that differ, the one that permits most and the latest
    moment. `successor` is the kid that replaces it there, `predecessor` the one it replaces, while that is
    there and not revoked. `successor_waits`: it only verifies yet."""

    key: Key
    signs_in: tuple[str, ...]
    state_since: int | None
    created: int | None
    successor: str | None
    predecessor: str | None = None
    successor_waits: bool = False


def against_promoting(new: Standing, witnesses: Sequence[Witness], now: float) -> list[str]:
    """Why the signers may not switch to `new` yet."""
    key = new.key
    reasons = list(_doubts(new, witnesses, now))
    if key.not_before is not None and now < key.not_before:
        reasons.append(f"{key.kid} is not valid before {span(key.not_before - now)} from now (not_before)")
    if key.not_after is not None and now > key.not_after:
        reasons.append(f"{key.kid} has not been valid for {ago(key.not_after, now)} (not_after)")
    if not witnesses:
        since = new.state_since if new.state_since is not None else new.created
        if since is None or now - since < SETTLING_S:
            age = "of unknown age" if since is None else f"{span(max(now - since, 0))} old"
            reasons.append(
                f"{key.kid} is {age}, and no gateway was asked whether it has it: "
                f"name them all (--gateway), or wait until it is {span(SETTLING_S)} old"
            )
    for witness in witnesses:
        reasons += _without_key(witness, key.kid, now)
    return reasons


def against_retiring(
    old: Standing, witnesses: Sequence[Witness], now: float, limits: Limits = Limits()
) -> list[str]:
    """Why `old` may still be needed."""
    key = old.key
    waiting = [f"{old.successor}, which replaces {key.kid}, does not sign yet: promote it first"]
    if key.state is KeyState.REVOKED:
        return waiting if old.successor_waits else []  # nobody takes it any more
    reasons = list(_doubts(old, witnesses, now))
    if old.signs_in:
        reasons.append(f"{key.kid} is active: it signs (in {', '.join(old.signs_in)})")
    elif old.successor_waits:
        reasons += waiting
    elif old.predecessor is not None and key.state is KeyState.VERIFY:
        reasons.append(
            f"{key.kid} is to take over from {old.predecessor}: promote it, or take it back by force"
        )
    if not witnesses:
        reasons.append(f"no gateway was asked whether messages still come under {key.kid}: --gateway")
    for witness in witnesses:
        if witness.error:
            reasons.append(witness.error)
            continue
        use = witness.keys.get(key.kid)
        if use is not None:
            reasons += _still_used(old, use, witness.address, now, limits)
        if old.successor is not None:
            reasons += _without_key(witness, old.successor, now)
    return reasons


def in_flight_until(old: Standing, use: KeyUse, now: float, limits: Limits) -> tuple[float, bool]:
    """Until when seals under `old` may count at this gateway, and whether it has seen the last of them.

    What was sealed before the gateway began to watch, it can not know of: unless it has watched for all of
    the key's life, that may be valid for a lifetime from then, or from when the last signer has switched.
    """
    seen = (use.expires_latest or 0.0) + limits.clock_skew_s if use.expires_latest else 0.0
    if _has_watched_all(old, use):
        return seen, True
    unseen_end = use.known_since if use.known_since is not None else now
    if not old.signs_in and old.state_since is not None:
        unseen_end = min(unseen_end, old.state_since + limits.quiet_s)
    unseen = unseen_end + limits.lifetime_of(old.key) + limits.clock_skew_s
    return (seen, True) if seen >= unseen else (unseen, False)


def _has_watched_all(old: Standing, use: KeyUse) -> bool:
    """Whether the gateway has had the key for all of its life."""
    return (
        old.created is not None
        and use.known_since is not None
        and use.known_since <= old.created + SETTLING_S
    )


def _still_used(old: Standing, use: KeyUse, address: str, now: float, limits: Limits) -> Iterator[str]:
    kid = old.key.kid
    if use.state == KeyState.ACTIVE.value and use.can_sign and not old.signs_in:
        yield f"{address} still has {kid} in state active: it has not read these keys yet"
    if use.last_used is not None and now - use.last_used < limits.quiet_s:
        last = f", the last {ago(use.last_used, now)} ago"
        by = f", by {', '.join(use.users)}" if use.users else ""
        messages = "message" if use.messages_last_hour == 1 else "messages"
        yield f"{use.messages_last_hour} {messages} in the last hour came under {kid} at {address}{last}{by}"
    elif not _has_watched_all(old, use) and now - (use.known_since or now) < limits.quiet_s:
        yield (
            f"{address} has watched {kid} for {ago(use.known_since, now)} only: whether messages still come "
            f"under it is known after {span(limits.quiet_s)}"
        )
    until, seen = in_flight_until(old, use, now, limits)
    if until > now and seen:
        yield f"seals under {kid} that {address} has seen are good for another {span(until - now)}"
    elif until > now:
        watched = f"for {ago(use.known_since, now)} only" if use.known_since else "not yet in all its workers"
        yield (
            f"{address} has watched {kid} {watched}: what was sealed before "
            f"may be good for another {span(until - now)}"
        )


def _without_key(witness: Witness, kid: str, now: float) -> Iterator[str]:
    """Why this gateway would refuse messages under `kid`."""
    if witness.error:
        yield witness.error
        return
    use = witness.keys.get(kid)
    failing = ""
    if witness.failing_since:
        failing = f" (its keys have not been readable for {ago(witness.failing_since, now)}: see its /readyz)"
    if use is None:
        yield f"{witness.address} does not have {kid}{failing}"
    elif use.known_since is None:
        yield f"not every worker of {witness.address} has {kid} yet{failing}"
    elif use.state == KeyState.REVOKED.value:
        yield f"{kid} is revoked at {witness.address}{failing}"
    elif (use.not_before is not None and now < use.not_before) or (
        use.not_after is not None and now > use.not_after
    ):
        yield f"{kid} is not valid now at {witness.address} (not_before, not_after)"


def _doubts(standing: Standing, witnesses: Sequence[Witness], now: float) -> Iterator[str]:
    moments: Mapping[str, int | None] = {"created": standing.created, "state_since": standing.state_since}
    for name, moment in moments.items():
        if moment is not None and moment > now + CLOCKS_APART_S_MAX:
            yield (
                f"{name} of {standing.key.kid} is {span(moment - now)} in the future: "
                "is the clock of this machine right?"
            )
    deployments = {witness.deployment: witness.address for witness in witnesses if not witness.error}
    if len(deployments) > 1:
        told = ", ".join([f"{address} is of {name}" for name, address in sorted(deployments.items())])
        yield f"gateways of different deployments were asked: {told}"
    for witness in witnesses:
        if abs(witness.clock_ahead_s) > CLOCKS_APART_S_MAX:
            way = "behind" if witness.clock_ahead_s > 0 else "ahead of"
            yield (
                f"the clock of this machine is {span(abs(witness.clock_ahead_s))} {way} that of "
                f"{witness.address}, and the key files say when each step was done"
            )
