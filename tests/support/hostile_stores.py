"""Rows SG and RL of hostile.jsonl that take several messages: replays, leases, stores, retries, rates."""

from __future__ import annotations

import itertools
import signal
import time
from dataclasses import replace

from pamqp import commands

from support.hostile_catalogue import Rows
from support.hostile_play import (
    check_arrived,
    check_kept,
    hear_ack,
    hear_nack,
    hear_refusal,
    is_told,
    refuse_in_every_detail,
)
from support.hostile_publish import Draft, Seal, a_task, publish, scanned, stored
from support.hostile_stage import Stage
from support.processes import wait_until
from support.raw_client import PY_AMQP, RawClient, raw_client
from support.sealed import task_headers
from support.wire_bytes import entry, long

ROWS = Rows()
#: The lease is 10 s; a takeover must come soon after.
TAKEOVER_SECONDS_MAX = 15


def ready(stage: Stage, gate: str) -> str:
    """The gateway, running and willing to take stored nonces."""
    if gate in ("stored", "held", "staging"):
        stage.gate(gate).wait_past_horizon()
    return gate


def again_after_commit(stage: Stage, name: str, product: str) -> None:
    """Confirmed again, but not forwarded again."""
    gate = stage.gate(ready(stage, name))
    with stage.client(name, product=product) as client:
        client.open_channel(confirms=True)
        sent = publish(a_task(seal=stored()), client)
        with gate.counting({"accepted ok": 1, "refused replay.duplicate": 1}):
            for tag in (1, 2):
                client.send(sent.frames(client, mandatory=True))
                hear_ack(client, tag)
        client.ask(1, commands.Queue.Declare(queue="celery", passive=True), commands.Queue.DeclareOk)
    check_arrived(stage, sent)
    check_kept(gate, sent, "replay.duplicate", "basic.ack", mandatory=True)


AGAIN = "byte-identical message again after commit"


@ROWS.script("SG37", AGAIN, "memory")
def again_with_memory(stage: Stage) -> None:
    again_after_commit(stage, "stored", "raw client")


@ROWS.script("SG37", AGAIN, "redis")
def again_with_redis(stage: Stage) -> None:
    again_after_commit(stage, "shared", "raw client")


@ROWS.script("SG37", AGAIN, "py-amqp")
def again_by_py_amqp(stage: Stage) -> None:
    again_after_commit(stage, "stored", PY_AMQP)


@ROWS.script("SG37", AGAIN, "silent")
def again_without_confirms(stage: Stage) -> None:
    """Committed when written upstream, and dropped the second time."""
    gate = stage.gate(ready(stage, "stored"))
    with stage.client("stored") as client:
        client.open_channel()
        sent = publish(a_task(seal=stored()), client)
        with gate.counting({"accepted ok": 1, "refused replay.duplicate": 1}):
            for _ in range(2):
                client.send(sent.frames(client, mandatory=True))
                client.ask(1, commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    check_arrived(stage, sent)
    check_kept(gate, sent, "replay.duplicate", "none", mandatory=True)


@ROWS.script("SG39", "same nonce under another kid")
def nonces_are_per_kid(stage: Stage) -> None:
    gate = stage.gate(ready(stage, "stored"))
    seal = stored()
    with stage.client("stored") as client, gate.counting({"accepted ok": 2}):
        client.open_channel(confirms=True)
        pair = [publish(a_task(), client, replace(seal, kid=kid)) for kid in ("k1", "k2")]
        for tag, sent in enumerate(pair, 1):
            client.send(sent.frames(client))
            hear_ack(client, tag)
    check_arrived(stage, *pair)


@ROWS.script("SG40", "same message again after an upstream nack")
def again_after_nack(stage: Stage) -> None:
    gate = stage.gate(ready(stage, "stored"))
    full = "full"
    stage.broker.declare(full, {"x-max-length": 1, "x-overflow": "reject-publish"})
    with stage.client("stored") as client, gate.counting({"accepted ok": 3}):
        client.open_channel(confirms=True)
        filler, sent = (publish(a_task(routing_key=full, seal=stored()), client) for _ in range(2))
        client.send(filler.frames(client))
        hear_ack(client, 1)
        client.send(sent.frames(client))
        hear_nack(client, 2)
        stage.broker.purge(full)
        client.send(sent.frames(client))
        hear_ack(client, 3)
    [arrived] = stage.broker.drain(full)
    assert (arrived.header, arrived.body) == (sent.arriving, sent.body)
    stage.broker.forget()


@ROWS.script("SG41", "same message while the first is in flight")
def again_while_in_flight(stage: Stage) -> None:
    """The way to the broker is shut, so that it can not have answered the first."""
    gate = stage.gate(ready(stage, "held"))
    with stage.client("held") as first, stage.client("held") as second:
        first.open_channel(confirms=True)
        second.open_channel(confirms=True)
        sent = publish(a_task(seal=stored()), first)
        with gate.counting({"accepted ok": 1, "refused replay.inflight": 1, "refused replay.duplicate": 1}):
            entries = gate.entries()
            stage.valves["held"].shut()
            first.send(sent.frames(first))
            wait_until(lambda: gate.entries() == entries + 1, 5, "the first one's claim")
            second.send(sent.frames(second, mandatory=True))
            answer = hear_refusal(second, "nack", sent, "replay.inflight", returned=True)
            stage.valves["held"].open()
            hear_ack(first)
            check_kept(gate, sent, "replay.inflight", answer, mandatory=True)
            # Told to retry, the client does, and learns that the message did arrive.
            second.send(sent.frames(second))
            hear_ack(second, 2)
    check_arrived(stage, sent)
    check_kept(gate, sent, "replay.duplicate", "basic.ack")


@ROWS.script("SG42", "same message after the claiming gateway died and the lease ran out")
def takeover(stage: Stage) -> None:
    """What the dying gateway wrote is lost; nobody may send it again before the lease is over."""
    doomed, heir = stage.gate("doomed"), stage.gate("shared")
    with stage.client("doomed") as first:
        first.open_channel(confirms=True)
        sent = publish(a_task(seal=stored()), first)
        stage.valves["doomed"].shut()
        remembered = keys_in_redis(stage)
        first.send(sent.frames(first))
        wait_until(lambda: keys_in_redis(stage) == remembered + 1, 5, "the claim of the doomed gateway")
        doomed.process.stop(signal.SIGKILL)
        stage.valves["doomed"].cut()
    before = heir.counts()
    with stage.client("shared") as client:
        client.open_channel(confirms=True)
        tries = try_until_taken(client, sent.frames(client), TAKEOVER_SECONDS_MAX)
    assert tries > 1, "the lease did not hold"
    assert dict(heir.counts() - before) == {"accepted ok": 1, "refused replay.inflight": tries - 1}
    check_arrived(stage, sent)
    heir.forget_kept(tries - 1)


def try_until_taken(client: RawClient, frames: bytes, seconds: float) -> int:
    """Publish the same again until it is confirmed; returns how often it was sent."""
    deadline = time.monotonic() + seconds
    for tag in itertools.count(1):
        client.send(frames)
        answer = client.read().said
        assert answer.delivery_tag == tag
        if isinstance(answer, commands.Basic.Ack):
            return tag
        assert time.monotonic() < deadline, "refused for ever"
        time.sleep(0.25)
    raise AssertionError("unreachable")


def keys_in_redis(stage: Stage) -> int:
    return int(stage.shared_redis.command("DBSIZE")[1:])


def lose_the_store(stage: Stage, way: str) -> None:
    """Refused after the 5 s that a store may take to come back."""
    stage.gate("orphaned")
    assert stage.orphans_redis is not None
    stage.orphans_redis.kill()
    refuse_in_every_detail(stage, "orphaned", way, a_task(seal=stored()), "store.unavailable")


AWAY = "nonce store unreachable"


@ROWS.script("SG44", AWAY, "nack")
def without_a_store_told_by_nack(stage: Stage) -> None:
    lose_the_store(stage, "nack")


@ROWS.script("SG44", AWAY, "close")
def without_a_store_told_by_close(stage: Stage) -> None:
    lose_the_store(stage, "close")


@ROWS.script("SG46", "Celery retry carrying the old token, through the signing sidecar")
def retry_through_the_sidecar(stage: Stage) -> None:
    gate = stage.gate("plain")
    sidecar = stage.sidecar(gate)
    with stage.client("plain") as producer:
        retry = publish(Draft(sent_as=Draft(headers=task_headers(retries=1))), producer)
    with raw_client(sidecar.port, stage.vhost) as worker, gate.counting({"accepted ok": 1}):
        worker.open_channel(confirms=True)
        worker.send(retry.frames(worker))
        hear_ack(worker)
    assert sidecar.metric("sealgate_messages_total", verdict="signed") == 1
    [arrived] = stage.broker.take_arrived(1)
    assert arrived.body == retry.body
    old, new = (scanned(header).table.values for header in (retry.header, arrived.header))
    assert old.keys() == new.keys()
    assert [name for name in new if new[name] != old[name]] == ["x-seal"]
    assert arrived.header.count(b"x-seal") == 1


@ROWS.script("SG47", "client supplies x-countersign", "countersigned")
def own_countersignature(stage: Stage) -> None:
    gate = stage.gate("countersign")
    forged = entry("x-countersign", "S", long(b"seal1.gw1.forged"))
    with stage.client("countersign") as client, gate.counting({"accepted ok": 1}):
        client.open_channel(confirms=True)
        sent = publish(a_task(stripped=forged), client)
        client.send(sent.frames(client))
        hear_ack(client)
    [arrived] = stage.broker.take_arrived(1)
    own = arrived.properties.headers["x-countersign"]
    assert own.startswith("seal1.gw1.") and own != "seal1.gw1.forged"
    assert arrived.body == sent.body
    table = scanned(arrived.header).table
    assert [each.name for each in table.entries].count("x-countersign") == 1
    # Without it, the header is the client's own.
    added = entry("x-countersign", "S", long(own.encode()))
    assert len(arrived.header) == len(sent.arriving) + len(added)
    assert added in arrived.header


def over_the_burst(stage: Stage, name: str) -> None:
    """Three of four pass; the nonce of the fourth is not burned, and its message passes a second later."""
    gate = stage.gate(ready(stage, name))
    with stage.client(name) as client:
        client.open_channel(confirms=True)
        burst = [publish(a_task("rated.nack", seal=stored()), client) for _ in range(4)]
        with gate.counting({"accepted ok": 3, "refused rate.task": 1}):
            client.send(b"".join(sent.frames(client) for sent in burst))
            told = sorted(told_tags(client, 4))
        assert told == [(1, "ack"), (2, "ack"), (3, "ack"), (4, "nack")]
        check_kept(gate, burst[3], "rate.task", "basic.nack")
    with stage.client(name) as client:
        client.open_channel(confirms=True)
        tries = try_until_taken(client, burst[3].frames(client), 5)
    check_arrived(stage, *burst)
    gate.forget_kept(tries - 1)


def told_tags(client: RawClient, count: int) -> list[tuple[int, str]]:
    """Which of the first `count` tags are acknowledged and which not, `multiple` taken apart."""
    told: dict[int, str] = {}
    while len(told) < count:
        answer = client.read().said
        first = 1 if answer.multiple else answer.delivery_tag
        for tag in range(first, answer.delivery_tag + 1):
            told.setdefault(tag, answer.name.removeprefix("Basic.").lower())
    return list(told.items())


BURST = "capacity + 1 messages at once"


@ROWS.script("RL01", BURST, "memory")
def over_the_burst_with_memory(stage: Stage) -> None:
    over_the_burst(stage, "stored")


@ROWS.script("RL01", BURST, "redis")
def over_the_burst_with_redis(stage: Stage) -> None:
    over_the_burst(stage, "shared")


@ROWS.script("RL01", BURST, "py-amqp")
def over_the_burst_by_py_amqp(stage: Stage) -> None:
    """Never a nack to py-amqp: it retries at once. The three before are confirmed before it is told."""
    gate = stage.gate(ready(stage, "stored"))
    with stage.client("stored", product=PY_AMQP) as client:
        client.open_channel(confirms=True)
        burst = [publish(a_task("rated.close"), client) for _ in range(4)]
        with gate.counting({"accepted ok": 3, "refused rate.task": 1}):
            client.send(b"".join(sent.frames(client) for sent in burst))
            assert sorted(told_tags(client, 3)) == [(1, "ack"), (2, "ack"), (3, "ack")]
            answer = hear_refusal(client, "close", burst[3], "rate.task", returned=False)
    check_arrived(stage, *burst[:3])
    check_kept(gate, burst[3], "rate.task", answer)


def unsigned_flood(stage: Stage, name: str) -> None:
    """Six connections of 15 unsigned messages; then the whole burst is still there for signed ones."""
    gate = stage.gate(ready(stage, name))
    unsigned = a_task("rated.scarce", seal=None)
    with gate.counting({"refused sig.missing": 90}):
        for _ in range(6):
            with stage.client(name) as client:
                client.open_channel(confirms=True)
                client.send(publish(unsigned, client).frames(client) * 15)
                assert {what for _, what in told_tags(client, 15)} == {"nack"}
    stage.broker.check_nothing_arrived()
    gate.forget_kept(90)
    with stage.client(name) as client, gate.counting({"accepted ok": 5, "refused rate.task": 1}):
        client.open_channel(confirms=True)
        signed = [publish(a_task("rated.scarce"), client) for _ in range(6)]
        client.send(b"".join(sent.frames(client) for sent in signed))
        assert sorted(told_tags(client, 6)) == [(tag, "ack") for tag in range(1, 6)] + [(6, "nack")]
    check_arrived(stage, *signed[:5])
    gate.forget_kept(1)


FLOOD = "flood of unsigned messages naming a limited task"


@ROWS.script("RL03", FLOOD, "memory")
def unsigned_flood_with_memory(stage: Stage) -> None:
    unsigned_flood(stage, "stored")


@ROWS.script("RL03", FLOOD, "redis")
def unsigned_flood_with_redis(stage: Stage) -> None:
    unsigned_flood(stage, "shared")


@ROWS.script("RL03", FLOOD, "connection")
def unsigned_flood_ends_its_connection(stage: Stage) -> None:
    """The twentieth failure within ten seconds closes the connection."""
    gate = stage.gate("plain")
    with stage.client("plain") as client:
        client.open_channel(confirms=True)
        frames = publish(a_task(seal=None), client).frames(client)
        with gate.counting({"refused sig.missing": 20, "refused conn.failures": 1}):
            client.send(frames * 30)
            told = [client.read().said for _ in range(20)]
            assert {answer.name for answer in told} == {"Basic.Nack"}
            close = client.expect(0, commands.Connection.Close)
            is_told(close.reply_text, close.reply_code, "ACCESS_REFUSED", "conn.failures")
            client.say(0, commands.Connection.CloseOk())
            client.wait_for_end()
    gate.wait_for_no_upstream()
    stage.broker.check_nothing_arrived()
    gate.forget_kept(20)


#: In place of a million: each is counted, told and kept.
UNKNOWN_NAMES = 9_000


@ROWS.script("RL04", "1,000,000 different unknown task names")
def unknown_names(stage: Stage) -> None:
    """Scaled down. Neither the store nor the metrics know one of the names afterwards."""
    gate = stage.gate("shared")
    with stage.client("shared") as client, gate.counting({"refused acl.task": UNKNOWN_NAMES}):
        client.open_channel(confirms=True)
        remembered = keys_in_redis(stage)
        for first in range(0, UNKNOWN_NAMES, 500):
            names = [f"rated.made.up.{number}" for number in range(first, first + 500)]
            batch = [publish(a_task(name, seal=Seal("add")), client).frames(client) for name in names]
            client.send(b"".join(batch))
            for _ in batch:
                assert isinstance(client.read().said, commands.Basic.Nack)
            gate.wait_for_kept(first + len(names))
        # Fewer are fine: buckets that are full again are forgotten.
        assert keys_in_redis(stage) <= remembered
    assert "made.up" not in gate.process.get("/metrics")[1]
    stage.broker.check_nothing_arrived()
    gate.forget_kept(UNKNOWN_NAMES)


@ROWS.script("RL06", "rate store unreachable")
def without_a_rate_store(stage: Stage) -> None:
    """Session nonces need no store: this gateway's own share of the rate decides, and says so."""
    gate = stage.gate("orphaned")
    assert stage.orphans_redis is not None
    with stage.client("orphaned") as client:
        client.open_channel(confirms=True)
        stage.orphans_redis.kill()
        burst = [publish(a_task("rated.nack"), client) for _ in range(4)]
        with gate.counting({"accepted rate.degraded": 3, "refused rate.task": 1}):
            client.send(b"".join(sent.frames(client) for sent in burst))
            assert sorted(told_tags(client, 4)) == [(1, "ack"), (2, "ack"), (3, "ack"), (4, "nack")]
    check_arrived(stage, *burst[:3])
    gate.forget_kept(1)
