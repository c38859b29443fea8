"""`sealgate keys rotate status`: how far each key is on its way in or out, and whether it may go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from sealgate.cli.exits import EXIT_FAILED, EXIT_OK
from sealgate.cli.keys.asked import Asked, ask, load_config
from sealgate.cli.keys.gateways import KeyUse, Witness, gateway_options
from sealgate.cli.keys.judging import Limits, Standing, against_promoting, against_retiring, in_flight_until
from sealgate.cli.keys.keyfiles import ring_without_secrets, standing_in
from sealgate.cli.keys.stored import staged_ring, stored
from sealgate.cli.keys.telling import note
from sealgate.cli.keys.words import ago, span
from sealgate.cli.options import duration
from sealgate.cli.text import aligned
from sealgate.config.fields import Address, is_reference
from sealgate.config.sources import Sources, read_keyring, sources_of
from sealgate.signing.keyring import Keyring, KeyState

SCHEMA: Final = 1
_COLUMNS: Final = (
    "KEY",
    "STATE",
    "SINCE",
    "AGE",
    "ENDS IN",
    "LAST USED",
    "BY",
    "LAST HOUR",
    "IN FLIGHT",
    "RETIRE",
)


@dataclass(slots=True, frozen=True)
class Row:
    """All that is known of one key. Without a gateway's answer, its use is None."""

    standing: Standing
    uses: list[KeyUse]
    in_flight_until: float | None
    against: list[str]
    next: str

    @property
    def last_used(self) -> float | None:
        return max((use.last_used for use in self.uses if use.last_used is not None), default=None)

    @property
    def messages(self) -> int | None:
        return sum(use.messages_last_hour for use in self.uses) if self.uses else None

    @property
    def users(self) -> list[str]:
        return sorted({user for use in self.uses for user in use.users})

    def ends_soon(self, now: float) -> bool:
        from sealgate.ops.key_ends import ENDING_S  # and half the core with it

        key = self.standing.key
        return (
            key.not_after is not None and key.state is not KeyState.REVOKED and key.not_after - now < ENDING_S
        )


@click.command(
    epilog="""\b
Examples:
  sealgate keys rotate status keys.toml
  sealgate keys rotate status keys.toml --gateway gw1:9672 --gateway gw2:9672 --json
  sealgate keys rotate status aws:shop/web1 --gateway gw1:9672
  sealgate keys rotate status --check -c gateway.toml || echo a key is near its end

\b
Exit codes: 0 shown (gateways that can not be asked are told), 1 with --check when a key
ends within 14 days or is over, 64 wrong usage, 69, 77, 78 the keys can not be read."""
)
@click.argument("sources", nargs=-1, metavar="[FILE|REF]...")
@gateway_options
@click.option(
    "--validity",
    "lifetime_s",
    callback=duration,
    metavar="TIME",
    help="As for `retire`: the longest any signer makes a seal valid.",
)
@click.option("--check", "check", is_flag=True, help="Exit with 1 when a key is near its end.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, times in Unix seconds.")
def status(
    sources: tuple[str, ...],
    gateways: list[Address],
    config: Path | None,
    lifetime_s: float | None,
    check: bool,
    as_json: bool,
) -> int:
    """Show every key: its state and since when, its age, who used it last, and whether it may be retired.

    FILE may be a reference as keys.source has it (vault:..., aws:...); without one it is that of --config.
    What is told of use comes from the gateways asked (--gateway, --config): name them all. Without any, the
    files say state and age, and whether a key is still used is not known.
    """
    asked = ask(gateways, load_config(config))
    names = list(sources) or ([asked.settings.keys.source] if asked.settings is not None else [])
    if not names:
        raise click.UsageError("name a key file, or a configuration (--config)")
    rings = [(name, _ring(name, asked)) for name in dict.fromkeys(names)]
    rows = list(_rows(rings, asked, asked.limits(lifetime_s)))
    if as_json:
        click.echo(json.dumps(_as_json(rows, asked), indent=2, ensure_ascii=False))
    else:
        _show(rows, asked)
    return EXIT_FAILED if check and any(row.ends_soon(asked.now) for row in rows) else EXIT_OK


def _ring(name: str, asked: Asked) -> Keyring:
    """The keys of a file, without their secrets, or of any other reference. Raises `ConfigError`."""
    if name.startswith("file:") or not is_reference(name):
        return ring_without_secrets(Path(name.removeprefix("file:")))
    if name.startswith("aws:") and stored([Path(name)], asked.settings):
        return staged_ring(name, asked.settings)
    sources = Sources(os.environ) if asked.settings is None else sources_of(asked.settings, os.environ)
    return read_keyring(name, sources)


def _rows(rings: Sequence[tuple[str, Keyring]], asked: Asked, limits: Limits) -> Iterator[Row]:
    for kid in dict.fromkeys(kid for _, ring in rings for kid in ring.kids()):
        standing = standing_in(kid, rings)
        assert standing is not None  # one of them has it
        uses = [witness.keys[kid] for witness in asked.witnesses if kid in witness.keys]
        ends = [in_flight_until(standing, use, asked.now, limits)[0] for use in uses]
        against = against_retiring(standing, asked.witnesses, asked.now, limits)
        step = _next_step(kid, standing, rings, asked, against)
        yield Row(standing, uses, max(ends, default=None), against, step)


def _next_step(
    kid: str, old: Standing, rings: Sequence[tuple[str, Keyring]], asked: Asked, against: Sequence[str]
) -> str:
    """Of the rotation that takes `kid` out, in a line; empty when there is none."""
    if old.successor is None:
        return ""
    new = standing_in(old.successor, rings)
    assert new is not None  # it says that it replaces `kid`
    way = f"{kid} -> {new.key.kid}"
    since = ago(new.state_since, asked.now)
    if new.key.state is KeyState.VERIFY:
        waits = against_promoting(new, asked.witnesses, asked.now)
        return f"{way}: begun {since} ago; next: promote {new.key.kid}{', but not yet' if waits else ''}"
    if new.key.state is KeyState.REVOKED:
        return f"{way}: {new.key.kid} is revoked; retire it, and begin again"
    return f"{way}: promoted {since} ago; next: retire {kid}{', but not yet' if against else ''}"


def _show(rows: Sequence[Row], asked: Asked) -> None:
    now = asked.now
    for line in aligned([_COLUMNS, *[_cells(row, now) for row in rows]]):
        click.echo(line)
    click.echo()
    for row in rows:
        kid = row.standing.key.kid
        if row.against:
            click.echo(f"{kid}: not safe to retire, because")
            for reason in dict.fromkeys(row.against):
                click.echo(f"  - {reason}")
        else:
            click.echo(f"{kid}: safe to retire")
    for row in rows:
        if row.next:
            click.echo(row.next)
    for witness in asked.witnesses:
        _tell_doubts(witness, now)
    if not asked.witnesses:
        note("No gateway was asked (--gateway): who uses a key, and until when, is not known.")
    for row in rows:
        if row.ends_soon(now):
            end = row.standing.key.not_after or 0
            when = f"ends in {span(end - now)}" if end > now else f"has been over for {ago(end, now)}"
            note(f"warning: {row.standing.key.kid} {when}: begin a rotation")


def _tell_doubts(witness: Witness, now: float) -> None:
    if witness.error:
        note(f"warning: {witness.error}")
    elif witness.failing_since:
        note(f"warning: {witness.address} can not read its keys, for {ago(witness.failing_since, now)} now")


def _cells(row: Row, now: float) -> tuple[str, ...]:
    standing = row.standing
    key = standing.key
    left = row.in_flight_until
    known = bool(row.uses)
    more = ["..."] if any(use.users_more for use in row.uses) else []
    return (
        key.kid,
        key.state.value,
        ago(standing.state_since, now),
        ago(standing.created, now),
        "-" if key.not_after is None else span(key.not_after - now) if key.not_after > now else "over",
        (ago(row.last_used, now) + " ago" if row.last_used else "never seen") if known else "?",
        (", ".join([*row.users, *more]) or "-") if known else "?",
        "?" if row.messages is None else str(row.messages),
        ("?" if left is None else span(left - now) if left > now else "over"),
        "no" if row.against else "yes",
    )


def _as_json(rows: Sequence[Row], asked: Asked) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "at": asked.now,
        "gateways": [
            {
                "address": witness.address,
                "answered": not witness.error,
                "error": witness.error,
                "deployment": witness.deployment,
                "source": witness.source,
                "failing_since": witness.failing_since,
                "clock_ahead_s": round(witness.clock_ahead_s, 3),
            }
            for witness in asked.witnesses
        ],
        "keys": [_key_as_json(row, asked.now) for row in rows],
    }


def _key_as_json(row: Row, now: float) -> dict[str, Any]:
    standing = row.standing
    key = standing.key
    return {
        "kid": key.kid,
        "alg": key.algorithm.name,
        "state": key.state.value,
        "signs_in": list(standing.signs_in),
        "state_since": standing.state_since,
        "created": standing.created,
        "not_before": key.not_before,
        "not_after": key.not_after,
        "near_end": row.ends_soon(now),
        "successor": standing.successor,
        "last_used": row.last_used,
        "users": row.users,
        "users_more": any(use.users_more for use in row.uses),
        "messages_last_hour": row.messages,
        "in_flight_until": row.in_flight_until,
        "safe_to_retire": not row.against,
        "because": list(dict.fromkeys(row.against)),
        "next": row.next,
    }
