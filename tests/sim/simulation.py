"""One run from one seed: the world, its peers and gates, and the order in which they come to an end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from sealgate.session.commands import Command
from sealgate.session.conversation import Role, Terms
from sealgate.session.records import Tally
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.policy import ContentRules, Policy, Rule
from sealgate.verify.rates import RateTable
from sealgate.verify.sealer import Sealer
from sim.broker import Broker
from sim.client import Client
from sim.gate import Gate
from sim.messages import DEPLOYMENT, KID, OPEN_EXCHANGE, SECRET, Author, Message
from sim.oracle import Oracle
from sim.settings import Settings, any_settings
from sim.shared import Run
from sim.store import Store
from sim.world import World

#: Virtual seconds: all that is owed is paid by then; every deadline of the gate has passed by then.
REST_S_MAX: Final = 400.0
END_S: Final = 60.0

Draw = Callable[[random.Random], Settings]

#: The longest that a message waits for its rate.
DELAY_US: Final = 3_600_000_000


class Simulation:
    """`run` raises AssertionError, with the seed as a note, for the first thing that is not as it must be."""

    def __init__(self, seed: int, draw: Draw = any_settings, transcript: bool = False) -> None:
        self.seed: Final = seed
        self.world: Final = World(seed, transcript)
        dice = self.world.dice
        self.settings: Final = draw(dice)
        self._run: Final = Run(self.world, self.settings, Store(self.world, self.settings.habits), Tally())
        self._terms: Final = terms(self.settings, self._run.tally, dice)
        self._captured: Final[list[Message]] = []
        self._conversations: Final[list[tuple[Client, Broker, Gate, Oracle]]] = []

    @property
    def totals(self) -> Counter[str]:
        """What happened, to be added up over runs."""
        return Counter(self._run.totals, publishes=self._run.publishes, events=self.world.steps)

    def watch(self, told: Callable[[str, Command], None]) -> None:
        """Let `told` hear every command: the name of its gate, and the command."""
        self._run.watch = told

    def run(self) -> None:
        self.world.say("settings", self.settings)
        try:
            self._play()
        except Exception as error:
            error.add_note(f"simulation seed {self.seed}: {self.settings}")
            raise

    def _play(self) -> None:
        for number in range(self.settings.clients):
            self.world.after(number * 5 * self.world.dice.random(), lambda number=number: self._begin(number))
        assert self.world.rest(REST_S_MAX), "the world does not come to rest"
        self.world.run(self.world.now + 1.0)
        for conversation in self._conversations:
            self._look_at(*conversation)
        for conversation in self._conversations:
            self._finish(*conversation)
        self.world.rest(REST_S_MAX)
        self.world.run(self.world.now + END_S)
        for _, _, gate, oracle in self._conversations:
            oracle.at_the_end(gate.session)
        assert not self._run.tally.buffered_bytes, "buffered bytes are left"

    def _begin(self, number: int) -> None:
        dice = self.world.dice
        oracle = Oracle(self._run, str(number + 1))
        gate = Gate(self._run, self._terms, dice.randbytes(16), oracle)
        gate.dial_s = dice.choice((0.0, 0.5))
        gate.reachable = dice.random() >= self.settings.trouble.get("handshake", 0.0)
        author = Author(dice, self._captured, self.settings.limits.body_bytes_max)
        client, broker = Client(self._run, oracle, author), Broker(self._run, oracle)
        broker.gate = gate
        self._conversations.append((client, broker, gate, oracle))
        client.connect(gate, broker)

    def _look_at(self, client: Client, broker: Broker, gate: Gate, oracle: Oracle) -> None:
        """Nothing is under way: either all is done, or the conversation is one that only time ends."""
        ends = [moment for moment in (client.ends_by, broker.ends_by) if moment is not None]
        if ends:
            # What the client did may have to wait for a broker that is silent itself.
            self.world.run(max(self.world.now, *ends))
            assert not gate.running, "a conversation that must end is still running"
        elif gate.running and not client.mute:
            oracle.at_rest()

    def _finish(self, client: Client, broker: Broker, gate: Gate, oracle: Oracle) -> None:
        """Somebody ends it, if nobody has yet."""
        ending = self.world.dice.choice(("close", "leave", "half-close", "drain"))
        self.world.say("ending", ending)
        if client.mute or ending == "leave":
            client.leave()
        elif ending == "close" and client.state == "running":
            client.close()
        elif ending == "drain":
            gate.drain()
        else:
            client.half_close()


def terms(settings: Settings, tally: Tally, dice: random.Random) -> Terms:
    """What the gates of a run go by."""
    keyring = Keyring([Key(KID, HmacSha256(SECRET))])
    policy = Policy(
        deployment=DEPLOYMENT,
        content=ContentRules("generic", frozenset({"*"}), frozenset()),
        body_bytes_max=settings.limits.body_bytes_max,
        rates=RateTable({"*": "1000/s"} if settings.rates else {}, DELAY_US if settings.delays else 0),
        rules=(Rule(exchange=OPEN_EXCHANGE.decode(), observe=True),) if settings.observe else (),
    )
    made = Terms(
        role=settings.role,
        deployment=DEPLOYMENT,
        verifier=Verifier(policy, keyring),
        limits=settings.limits,
        tally=tally,
        confirmed=settings.confirmed,
        unconfirmed=settings.unconfirmed,
    )
    if settings.role is Role.SIGN:
        made.sealer = Sealer(keyring, KID, DEPLOYMENT, dice.randbytes)
    if settings.countersign:
        made.countersealer = Sealer(keyring, KID, DEPLOYMENT, dice.randbytes, "x-countersign")
    return made
