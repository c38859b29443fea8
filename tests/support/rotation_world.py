"""A rotation in virtual time: signers, gateways and workers read their copies of a key file at moments of
their own, and the operator goes by the rules of `sealgate keys rotate`.

Keyrings, sealer, checks and rules are the product's; clock, network, queue and files are events from a seed.
"""

from __future__ import annotations

import heapq
import os
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count

from sealgate.cli.keys.gateways import KeyUse, Witness
from sealgate.cli.keys.judging import SETTLING_S, Limits, Standing, against_promoting, against_retiring
from sealgate.reason import GateError
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import parse_token
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier, QueueTerms
from sealgate.verify.message import Message
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import Accepted, Verdict
from support.sealed import DEPLOYMENT, NOW, a_message, a_peer, a_policy, with_token

NAME = "web1-*"
OLD, NEW = "web1-a", "web1-b"
HOUR_S = 3600.0
SKEW_S = 30
#: A message may wait in its client that long; older ones no gateway takes (`replay.max_age`).
TRANSIT_S_MAX = 240.0
#: From the operator's file to the last copy of it that can be asked for, and of those that can not.
SPREAD_S_MAX, UNASKED_SPREAD_S_MAX = 900.0, SETTLING_S - 10
#: Of one world: a few hundred messages, most of them while copies differ.
BUSY_GAP_S, QUIET_GAPS, IDLE_S_MAX = 20.0, 40, HOUR_S / 2


@dataclass(frozen=True)
class Rules:
    """How the operator goes about it; each of these breaks the workflow."""

    promotes_at_once: bool = False
    asks_one_gateway: bool = False
    retires_at_once: bool = False
    retires_after_an_hour: bool = False


@dataclass
class Told:
    """What happened: refusals of legitimate messages, and how often a step was refused."""

    refused: list[str] = field(default_factory=list)
    sealed: dict[str, int] = field(default_factory=lambda: {OLD: 0, NEW: 0})
    promote_refused: list[str] = field(default_factory=list)
    retire_refused: list[str] = field(default_factory=list)
    steps: list[tuple[float, str]] = field(default_factory=list)


class Signer:
    """Signs as a sidecar does: with the first key that can, else with the one that signed last."""

    def __init__(self, keyring: Keyring, dice: random.Random) -> None:
        self._dice = dice
        self._sealer = self._of(keyring, OLD)

    def take(self, keyring: Keyring, now: float) -> None:
        try:
            self._sealer = self._of(keyring, keyring.first_signer(NAME, now).kid)
        except GateError:
            return

    def seal(self, message: Message, now: float) -> Message:
        return with_token(message, self._sealer.token(message, a_peer(), SignerSession(), now))

    def _of(self, keyring: Keyring, kid: str) -> Sealer:
        return Sealer(keyring, kid, DEPLOYMENT, self._dice.randbytes)


class Judge:
    """A gateway, or a worker's sidecar: it verifies, and knows of each key what `GET /keys` tells."""

    def __init__(self, name: str, keyring: Keyring, now: float) -> None:
        self.name = name
        self._verifier = Verifier(a_policy(clock_skew_s=SKEW_S), keyring)
        self._deliveries = DeliveryVerifier(DeliveryPolicy(), self._verifier)
        self.restart(now)

    def restart(self, now: float) -> None:
        """All that it has seen is forgotten."""
        self._known_since = dict.fromkeys(self._verifier.keyring.kids(), now)
        self._came: dict[str, list[float]] = {}
        self._expires: dict[str, int] = {}

    def take(self, keyring: Keyring, now: float) -> None:
        self._verifier.keyring = keyring
        self._known_since = {kid: self._known_since.get(kid, now) for kid in keyring.kids()}

    def publish(self, message: Message, now: float) -> Verdict:
        verdict = self._verifier.examine(message, a_peer(), now)
        self._note(message, verdict, now)
        return verdict

    def deliver(self, message: Message, now: float) -> Verdict:
        verdict = self._deliveries.examine(message, "celery", QueueTerms(), a_peer(), now)
        self._note(message, verdict, now)
        return verdict

    def _note(self, message: Message, verdict: Verdict, now: float) -> None:
        if isinstance(verdict, Accepted):
            kid = verdict.kid
            self._came.setdefault(kid, []).append(now)
            self._expires[kid] = max(self._expires.get(kid, 0), expires_of(message))

    def witness(self, now: float) -> Witness:
        return Witness(self.name, keys={use.kid: use for use in self._uses(now)})

    def _uses(self, now: float) -> Iterator[KeyUse]:
        for key in self._verifier.keyring:
            came = self._came.get(key.kid, [])
            yield KeyUse(
                key.kid,
                key.algorithm.name,
                key.state.value,
                key.state is KeyState.ACTIVE,
                None,
                None,
                key.max_lifetime_s,
                self._known_since[key.kid],
                self._known_since[key.kid],
                came[-1] if came else None,
                len(came) - bisect_right(came, now - HOUR_S),
                self._expires.get(key.kid),
                ("app",),
                False,
            )


class World:
    """One rotation from `seed`. `run` plays it to its end."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.told = Told()
        self._rules = rules
        self._dice = random.Random(seed)
        self._now = float(NOW)
        self._turns: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._lifetime_s = self._dice.choice((60, 900, 6 * 3600))
        #: Some publish once in half an hour.
        self._idles = self._dice.choice((1, 10, 60))
        self._restarts = self._dice.choice((0.5, 1.0))
        self._spread_s = self._dice.choice((2.0, 120.0, SPREAD_S_MAX))
        old = Key(OLD, HmacSha256(os.urandom(32)), max_lifetime_s=self._lifetime_s, created=NOW - 10**6)
        self._file = [old]
        self._new = HmacSha256(os.urandom(32))
        ring = Keyring(self._file)
        sides = self._dice.randint
        self._signers = [Signer(ring, self._dice) for _ in range(sides(2, 4))]
        self._gateways = [Judge(f"gateway {n}", ring, self._now) for n in range(sides(1, 3))]
        #: The last of the workers verifies in its own process, where nobody can ask it.
        self._workers = [Judge(f"worker {n}", ring, self._now) for n in range(sides(1, 3))]
        self._versions = count(1)
        self._taken: dict[Signer | Judge, int] = {}
        self._copies_until = 0.0
        self._retired = False

    def run(self) -> Told:
        for signer in self._signers:
            self._in(self._dice.uniform(0, BUSY_GAP_S), lambda signer=signer: self._publish(signer))
        self._restart_some(3 * HOUR_S)
        self._in(60, self._begin)
        while self._turns:
            self._now, _, turn = heapq.heappop(self._turns)
            turn()
        return self.told

    def _in(self, seconds: float, turn: Callable[[], None]) -> None:
        heapq.heappush(self._turns, (self._now + seconds, next(self._numbers), turn))

    def _restart_some(self, within_s: float) -> None:
        for judge in (*self._gateways, *self._workers):
            if self._dice.random() < self._restarts:
                self._in(self._dice.uniform(0, within_s), lambda judge=judge: judge.restart(self._now))

    # The operator

    def _begin(self) -> None:
        self._step("begin")
        since = int(self._now)
        old = self._file[0]
        new = replace(
            old, kid=NEW, algorithm=self._new, state=KeyState.VERIFY, created=since, state_since=since
        )
        self._write([old, new])
        self._in(1, self._promote)

    def _promote(self) -> None:
        against = against_promoting(self._standing(1), self._witnesses(), self._now)
        old, new = self._file
        if self._now < (new.created or 0) + SETTLING_S:  # for who can not be asked
            against.append("settling")
        if against and not self._rules.promotes_at_once:
            self.told.promote_refused += against
            self._in(15, self._promote)
            return
        self._step("promote")
        since = int(self._now)
        verify = replace(old, state=KeyState.VERIFY, state_since=since)
        self._write([verify, replace(new, state=KeyState.ACTIVE, state_since=since)])
        self._restart_some(self._spread_s)
        self._in(1, self._retire)

    def _retire(self) -> None:
        against = against_retiring(self._standing(0), self._witnesses(), self._now, Limits(SKEW_S))
        since = self._file[0].state_since or 0
        waited = self._rules.retires_after_an_hour and self._now > since + HOUR_S + 120
        if against and not self._rules.retires_at_once and not waited:
            self.told.retire_refused += against
            self._in(max(30, self._lifetime_s / 50), self._retire)
            return
        self._step("retire")
        self._retired = True
        self._write([self._file[1]])
        # Whoever still publishes under the old key, does it within this time.
        self._stop_at = self._now + self._lifetime_s + SPREAD_S_MAX

    def _step(self, name: str) -> None:
        self.told.steps.append((self._now - NOW, name))

    def _standing(self, index: int) -> Standing:
        key = self._file[index]
        signs_in = ("keys.toml",) if key.state is KeyState.ACTIVE else ()
        return Standing(key, signs_in, key.state_since, key.created, NEW if key.kid == OLD else None)

    def _witnesses(self) -> list[Witness]:
        asked: Sequence[Judge] = [*self._gateways, *self._workers[:-1]]
        if self._rules.asks_one_gateway:
            asked = self._gateways[:1]
        return [judge.witness(self._now) for judge in asked]

    def _write(self, keys: list[Key]) -> None:
        """Everybody gets a copy, each at its own moment; no older one after it."""
        self._file = keys
        ring = Keyring(keys)
        version = next(self._versions)
        for side in (*self._signers, *self._gateways, *self._workers):
            most = self._spread_s
            if side is self._workers[-1]:
                most = min(most, UNASKED_SPREAD_S_MAX)
            delay = self._dice.uniform(0, most)
            self._in(delay, lambda side=side: self._take(side, ring, version))
            self._copies_until = max(self._copies_until, self._now + delay)

    def _take(self, side: Signer | Judge, ring: Keyring, version: int) -> None:
        if version > self._taken.get(side, 0):
            self._taken[side] = version
            side.take(ring, self._now)

    # The messages

    def _publish(self, signer: Signer) -> None:
        message = signer.seal(unsealed(), self._now)
        self.told.sealed[kid_of(message)] += 1
        transit = self._dice.choice((0.01, self._dice.uniform(0, min(TRANSIT_S_MAX, self._lifetime_s))))
        self._in(transit, lambda: self._arrive(message))
        if self._retired and self._now > self._stop_at:
            return
        busy = self._now < self._copies_until + 60
        gap = BUSY_GAP_S if busy else max(self._lifetime_s, HOUR_S) / QUIET_GAPS
        self._in(
            min(gap * self._idles * self._dice.expovariate(1), IDLE_S_MAX), lambda: self._publish(signer)
        )

    def _arrive(self, message: Message) -> None:
        gateway = self._dice.choice(self._gateways)
        if self._passes(gateway.name, gateway.publish(message, self._now), message):
            left = expires_of(message) - self._now
            wait = self._dice.choice((0.0, self._dice.uniform(0, max(left, 0)), max(left, 0)))
            self._in(wait, lambda: self._deliver(message))

    def _deliver(self, message: Message) -> None:
        worker = self._dice.choice(self._workers)
        self._passes(worker.name, worker.deliver(message, self._now), message)

    def _passes(self, where: str, verdict: Verdict, message: Message) -> bool:
        if isinstance(verdict, Accepted):
            return True
        at = self._now - NOW
        self.told.refused.append(f"{where} refused {kid_of(message)} at {at:.0f} s: {verdict.reason.value}")
        return False


@cache
def unsealed() -> Message:
    return a_message()


def kid_of(message: Message) -> str:
    return parse_token(_token_of(message)).kid


def expires_of(message: Message) -> int:
    return parse_token(_token_of(message)).expires


def _token_of(message: Message) -> bytes:
    value = message.header.table.values["x-seal"]
    return value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]
