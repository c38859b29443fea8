"""What one run is like: everything that is drawn before it begins."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from sealgate.session.conversation import Confirmed, Role, Unconfirmed
from sealgate.session.limits import Limits
from sim.store import ANSWER_S_MAX, Habits

CHANNELS_MAX: Final = 8
BODY_BYTES_MAX: Final = 5_000

#: Small enough to be met.
TIGHT: Final = Limits(
    body_bytes_max=BODY_BYTES_MAX,
    connection_bytes_max=40_000,
    process_bytes_max=100_000,
    held_bytes_max=20_000,
    claims_inflight_max=10,
    failed_verifications_max=12,
    channel_max=CHANNELS_MAX,
)
#: So wide that no conversation is ended for it.
WIDE: Final = Limits(body_bytes_max=BODY_BYTES_MAX, failed_verifications_max=1_000_000)


@dataclass
class Settings:
    """One run. Chances are per step of a peer."""

    role: Role
    product: str
    confirmed: Confirmed
    unconfirmed: Unconfirmed
    observe: bool
    rates: bool
    delays: bool
    countersign: bool
    session_nonces: bool
    one_at_a_time: bool
    limits: Limits
    habits: Habits
    style: dict[str, str]
    latency_s: float
    answer_s: float
    clients: int
    channels: int
    steps: int
    heartbeat_s: int
    frame_max: int
    confirming: float
    #: Weights of what clients publish.
    good: float
    wrong: float
    replayed: float
    conflicting: float
    nacks: float
    several: float
    unroutable: float
    mandatory: float
    #: Chances, per step, of what ends or disturbs a conversation.
    trouble: dict[str, float] = field(default_factory=dict)

    @property
    def apart(self) -> bool:
        """Whether the gate tunes its legs apart, to have room for what it adds."""
        return self.role is Role.SIGN or self.countersign

    def __str__(self) -> str:
        words = [self.role.value, self.product, self.confirmed.value, self.unconfirmed.value]
        for name in ("observe", "rates", "delays", "countersign", "session_nonces", "one_at_a_time"):
            if getattr(self, name):
                words.append(name)
        return f"{' '.join(words)}, {self.clients} clients, {self.channels} channels, {self.style}"


def any_settings(dice: random.Random) -> Settings:
    """Of any sort."""
    role = dice.choice((Role.VERIFY, Role.VERIFY, Role.VERIFY, Role.VERIFY, Role.SIGN, Role.PASS))
    product = dice.choice(("py-amqp", "pika", "amqp-client"))
    calm = dice.random() < 0.3
    troubled = {} if calm else _trouble(dice)
    style = {wire: dice.choice(("whole", "pieces", "pieces")) for wire in _WIRES}
    steps = dice.randint(5, 60)
    if dice.random() < 0.1:
        # A thousand times as many readings: a few octets at a time of a short conversation.
        style[dice.choice(_WIRES)] = "bytes"
        steps = dice.randint(3, 10)
    settings = Settings(
        role=role,
        product=product,
        confirmed=dice.choice(list(Confirmed)),
        unconfirmed=dice.choice((Unconfirmed.QUARANTINE, Unconfirmed.QUARANTINE, Unconfirmed.CLOSE)),
        observe=dice.random() < 0.4,
        rates=dice.random() < 0.3,
        delays=False,
        countersign=role is Role.VERIFY and dice.random() < 0.2,
        session_nonces=dice.random() < 0.3,
        one_at_a_time=product == "py-amqp" and dice.random() < 0.5,
        limits=dice.choice((TIGHT, WIDE, WIDE)),
        habits=_habits(dice),
        style=style,
        latency_s=dice.choice((0.0, 0.01, 0.5)),
        answer_s=dice.choice((0.01, 0.3, 2.0, 12.0)),
        clients=dice.choice((1, 1, 1, 2, 3)),
        channels=dice.randint(1, CHANNELS_MAX),
        steps=steps,
        heartbeat_s=dice.choice((0, 0, 4, 60)),
        frame_max=dice.choice((4_096, 8_192, 131_072)),
        confirming=dice.choice((0.0, 0.5, 0.9, 1.0)),
        good=1.0,
        wrong=dice.choice((0.0, 0.1, 0.4, 1.0)),
        replayed=dice.choice((0.0, 0.2, 0.5)),
        conflicting=dice.choice((0.0, 0.1)),
        nacks=dice.choice((0.0, 0.2)),
        several=dice.choice((0.1, 0.5, 0.8)),
        unroutable=dice.choice((0.0, 0.3)),
        mandatory=dice.choice((0.0, 0.3, 0.7)),
        trouble=troubled,
    )
    settings.delays = settings.rates and role is Role.VERIFY and dice.random() < 0.6
    settings.habits.delayed = dice.choice((0.2, 0.6)) if settings.delays else 0.0
    settings.habits.prompt = dice.choice((0.0, 0.8, 1.0))
    return settings


def ledger_settings(dice: random.Random) -> Settings:
    """Of the sort whose delivery tags are compared with a direct connection: nobody leaves early."""
    settings = any_settings(dice)
    settings.role = Role.VERIFY
    settings.trouble = {}
    settings.clients = 1
    settings.limits = WIDE
    settings.confirmed = Confirmed.NACK if settings.product == "py-amqp" else Confirmed.AUTO
    settings.unconfirmed = Unconfirmed.QUARANTINE
    settings.confirming = dice.choice((0.9, 1.0))
    # Many short ones rather than few long ones: what crosses in a conversation crosses early.
    settings.steps = min(settings.steps, dice.choice((4, 6, 8, 12, 30)))
    settings.wrong = dice.choice((0.1, 0.3, 0.6))
    settings.replayed = dice.choice((0.1, 0.4))
    settings.nacks = dice.choice((0.1, 0.3))
    settings.several = dice.choice((0.3, 0.7))
    settings.unroutable = dice.choice((0.2, 0.5))
    settings.mandatory = dice.choice((0.2, 0.6))
    settings.habits.late_s = dice.choice((0.0, 0.05, 0.5, 3.0))
    return settings


_WIRES: Final = ("client to gate", "gate to client", "gate to broker", "broker to gate")
_TROUBLES: Final = {
    "client closes": 0.02,
    "client leaves": 0.01,
    "client half-closes": 0.01,
    "client breaks the protocol": 0.01,
    "client stalls": 0.01,
    "client falls silent": 0.01,
    "client stops reading": 0.03,
    "broker closes": 0.01,
    "broker is lost": 0.01,
    "broker falls silent": 0.01,
    "broker stops reading": 0.03,
    "broker closes a channel": 0.03,
    "drain": 0.01,
    "channel closes": 0.08,
    "handshake": 0.05,
}


def _trouble(dice: random.Random) -> dict[str, float]:
    """Some kinds of trouble, each at its own chance."""
    chosen = dice.sample(sorted(_TROUBLES), dice.randint(1, len(_TROUBLES)))
    return {name: _TROUBLES[name] for name in chosen}


def _habits(dice: random.Random) -> Habits:
    if dice.random() < 0.3:
        return Habits(late_s=dice.choice((0.0, 0.1)))
    return Habits(
        late_s=dice.choice((0.0, 0.02, 0.5, ANSWER_S_MAX)),
        unavailable=dice.choice((0.0, 0.1)),
        lost_reply=dice.choice((0.0, 0.05)),
        limited=dice.choice((0.0, 0.2)),
        full=dice.choice((0.0, 0.05)),
        horizon=dice.choice((0.0, 0.05)),
    )
