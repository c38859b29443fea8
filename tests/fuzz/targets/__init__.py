"""Functions that take any bytes and fail when something is wrong with the product.

The map:

- `answers`: a parser answers with a value or a `GateError`; what else leaves it fails the target.
- `wire`: frames in any chunks, content headers, field tables, method arguments; against `oracles`.
- `seals`: tokens, snapshots, key files and key material.
- `bodies`: strict JSON and msgpack, decompression, pickles in base64; against what kombu reads.
- `messages`: whole messages through `Verifier.examine`: envelopes under a good seal, and signed messages that
  were changed afterwards.
- `memory`: messages like those before on their connection, and attacks on what is remembered of these.
- `conversations`: a whole `Session` between peers that send anything.
- `records`: what others may have written where Sealgate reads: quarantine queues, journals.

A target needs no fuzzing engine: `engine` runs it under atheris, the suite replays the corpus through it. It
keeps nothing between two calls, and touches neither network nor clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz.targets import bodies, conversations, memory, messages, records, seals, wire


@dataclass(frozen=True)
class Target:
    """`run` raises for what it finds; inputs are at most `bytes_max` long. `text` says what is looked for."""

    name: str
    run: Callable[[bytes], None]
    bytes_max: int
    text: str


def _all() -> dict[str, Target]:
    found = (
        Target("frames", wire.frames, 512, "the same frames and errors in any chunks"),
        Target("header", wire.header, 2048, "content headers: values, canonical form, splicing"),
        Target("table", wire.table, 1024, "field tables, alone and amid other bytes"),
        Target("methods", wire.methods, 512, "method arguments"),
        Target("token", seals.token, 1100, "the token's grammar: one text for one token"),
        Target("keyfile", seals.keyfile, 1024, "key files: all errors, no surprise"),
        Target("material", seals.material, 512, "printed keys and durations"),
        Target("json", bodies.json_text, 1024, "strict JSON, as kombu reads it"),
        Target("msgpack", bodies.msgpack_object, 1024, "strict msgpack, as kombu reads it"),
        Target("inflate", bodies.inflated, 2048, "decompression within its bounds"),
        Target("pickles", bodies.pickles, 1024, "pickles in base64"),
        Target("envelopes", messages.envelopes, 2048, "envelopes and canvas of every profile, well signed"),
        Target("verifier", messages.verifier, 512, "signed messages, changed: accepted means unchanged"),
        Target(
            "memory", memory.memory, 512, "messages like those before, each judged as if it were the first"
        ),
        Target(
            "session", conversations.session, 256, "conversations: nothing goes through that nobody signed"
        ),
        Target("record", records.record, 2048, "records in a quarantine queue"),
        Target("journal", records.journal, 1024, "journals of nonces"),
    )
    return {target.name: target for target in found}


TARGETS = _all()
