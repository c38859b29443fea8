"""Promise 8: memory over many messages in a row: steady, but for the nonces that must be remembered."""

from __future__ import annotations

from benchmarks import client
from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import Template
from benchmarks.plan import Kind, Plan, Publishing, say
from benchmarks.stage import Stage

NAME = "soak"
ITEMS = (8,)
TITLE = "Resident memory over messages in a row"
BODY_BYTES = 300
FULL, SHORT = 1_000_000, 100_000
ROUNDS = 50
MIB = 1024 * 1024
STEADY, NONCE_BYTES = 1.05, 120
COLUMNS: tuple[Kind, ...] = ("session", "stored")


def measure(plan: Plan, stage: Stage) -> Part:
    """One connection, one pass; a million messages with --full."""
    part = Part(NAME, TITLE)
    each = plan.count(FULL if plan.full else SHORT, ROUNDS * 20) // ROUNDS
    total = each * ROUNDS
    with stage.part() as own:
        for column in COLUMNS:
            for round_, resident in enumerate(_residents(plan, own, column, each), start=1):
                part.add(f"{round_ * each:,} messages", column, resident_mib=resident / MIB)
            say(f"{NAME}: {total:,} messages, {column}, done")
    tenth, end = f"{total // 10:,} messages", f"{total:,} messages"

    def resident(row: str, column: str) -> float:
        return part.of(row, column, "resident_mib")[0]

    what = f"resident memory after {total:,} / after a tenth, session nonces"
    part.judge(8, what, [resident(end, "session")], [resident(tenth, "session")], STEADY)
    grown = (resident(end, "stored") - resident(tenth, "stored")) * MIB / (total - total // 10)
    # Tables grow in leaps: over fewer messages the last leap decides.
    limit = NONCE_BYTES if total >= FULL else None
    part.show(8, "bytes per stored nonce: all that grew", [grown], "bytes", limit)
    return part


def _residents(plan: Plan, own: Stage, kind: Kind, each: int) -> list[int]:
    """Octets after each round, all rounds over one connection."""
    # Long enough that no nonce may be forgotten before the end.
    proxy = own.gate(plan.gate(max_age="1h"), own.swallow().port)
    publishing = Publishing(own, proxy, Template(BODY_BYTES), plan.keys, kind)
    if kind == "stored":
        publishing.wait_for_horizon()
    found = []
    with client.connections(proxy.port) as opened:
        challenge = opened[0].challenge if kind == "session" else b""
        for round_ in range(ROUNDS):
            made = publishing.made(each, challenge, round_ * each)
            publishing.over(opened, made, Load(base=round_ * each))
            found.append(proxy.resident_bytes())
    return found
