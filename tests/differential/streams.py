"""How each kind of case is played, and what is told of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from differential.picture import picture
from fuzz.targets import answers, conversations
from fuzz.targets.changes import Operands
from sealgate.reason import GateError
from sealgate.session import commands as do
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    canonical_properties,
    signing_input,
)
from sealgate.signing.token import finish_token, parse_token, token_prefix
from sealgate.wire.properties import scan_content_header
from sim.simulation import Simulation
from support.hostile_rows import Case, Rows
from support.talk import Talk
from support.vectors import Vector
from verify.test_hostile_celery import HOSTILE as CELERY
from verify.test_hostile_content import HOSTILE as CONTENT
from verify.test_hostile_properties import HOSTILE as PROPERTIES
from verify.test_hostile_seal import HOSTILE as SEAL

Tell = Callable[[str], None]
_CHUNKS = (1, 1, 2, 3, 6, 7, 8, 9, 20, 64, 300)


def play_vector(vector: Vector, tell: Tell) -> None:
    header = scan_content_header(vector.content_header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    properties = canonical_properties(header.fields)
    token = parse_token(vector.token)
    prefix = token_prefix(vector.kid, vector.created, vector.expires, vector.nonce, token.snapshot)
    canonical = header.table.canonical
    signed = signing_input(
        vector.alg,
        vector.deployment,
        vector.vhost,
        prefix,
        sha256(properties).digest(),
        sha256(canonical).digest(),
        len(vector.body),
        sha256(vector.body).digest(),
    )
    made = finish_token(prefix, vector.algorithm().sign(signed))
    for value in (header, properties, canonical, token, prefix, signed, made):
        tell(picture(value))


def hostile_rows() -> Iterator[tuple[str, Case]]:
    rows: Rows
    for rows in (CELERY, CONTENT, PROPERTIES, SEAL):
        for row, runs in rows.cases.items():
            for number, run in enumerate(runs):
                yield f"{row}-{number}", run


def play_row(run: Case, tell: Tell) -> None:
    try:
        tell(picture(run()))
    except GateError as error:
        tell(_refusal(error))


def _refusal(error: GateError) -> str:
    return f"{error.reason.value} {error.detail} {error.method:#x}"


def play_input(run: Callable[[bytes], None], data: bytes, tell: Tell) -> None:
    """Every answer of a parser on the way, and how it ended."""

    def heard(value: object) -> None:
        tell(_refusal(value) if isinstance(value, GateError) else picture(value))

    answers.LISTENERS.append(heard)
    try:
        run(data)
    except Exception as error:
        tell(f"{type(error).__name__}: {error}")
    finally:
        answers.LISTENERS.pop()


class _Chunks(Talk):
    """Octets of a client or broker come in pieces of random sizes; everything that comes of them is told."""

    dice: random.Random
    tell: Tell

    def client_bytes(self, data: bytes) -> None:
        self._in_pieces(super().client_bytes, data)

    def broker_bytes(self, data: bytes) -> None:
        self._in_pieces(super().broker_bytes, data)

    def _in_pieces(self, feed: Callable[[bytes], None], data: bytes) -> None:
        at = 0
        while at < len(data):
            size = self.dice.choice(_CHUNKS)
            feed(data[at : at + size])
            at += size

    def _carry_out(self, command: do.Command) -> None:
        self.tell(command_picture(command))
        super()._carry_out(command)


def command_picture(command: do.Command) -> str:
    """A command with all it carries. Of publications that wait for a claim, the claim."""
    if isinstance(command, do.RequestClaims):
        asked = [publication.asked for publication in command.publications]
        return f"RequestClaims {picture(asked)}"
    return picture(command)


def play_conversation(data: bytes, dice: random.Random, tell: Tell) -> None:
    def talk(**options: Any) -> Talk:
        made = _Chunks(**options)
        made.dice, made.tell = dice, tell
        return made

    if data:
        steps = list(conversations.steps_of(Operands(data[1:]), set()))
        played = conversations.played(data[0], steps, talk)
        tell(picture([played.to_client, played.to_broker, played.closed, played.records]))
        tell(picture(played.tally))
        tell(played.session.conversation.state.name)


def play_simulation(seed: int, tell: Tell) -> None:
    simulation = Simulation(seed, transcript=True)
    simulation.watch(lambda name, command: tell(f"{name} {command_picture(command)}"))
    try:
        simulation.run()
    except Exception as error:
        tell(f"{type(error).__name__}: {error}")
    for line in simulation.world.lines or []:
        tell(line)
    tell(picture(simulation.totals))
