"""What the benchmarks are made of: the floor works, figures meet limits, documents follow results."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The modules, found from the root as `make bench` does."""
    before = sys.path[:]
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "rivals")]
    try:
        import floor
        from benchmarks import documents, instructions, judging, messages, profile, report

        yield SimpleNamespace(
            floor=floor,
            documents=documents,
            instructions=instructions,
            judging=judging,
            messages=messages,
            profile=profile,
            report=report,
        )
    finally:
        sys.path[:] = before


def chunks(data: bytes, seed: int) -> Iterator[bytes]:
    dice, at = random.Random(seed), 0
    while at < len(data):
        size = dice.choice((1, 7, 500, 5_000, 200_000))
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize(
    "changes", [{}, {"action": "sign"}, {"stored": True}, {"keys": 3}, {"mixed": True}, {"body": 16_384}]
)
def test_session_whose_instructions_are_counted_takes_every_message(
    bench: SimpleNamespace, changes: dict[str, object]
) -> None:
    asked = {"action": "verify", "stored": False, "keys": 1, "mixed": False, "body": 300, "chunks": 1}
    asked |= {"connections": 1, "portion": 256}
    workload = bench.instructions._workload(SimpleNamespace(**{**asked, **changes}))
    conversation = bench.instructions.Conversation(workload)
    conversation.open()
    for chunk in workload.chunks:
        conversation.publish(chunk, b"".join(chunk))
    conversation.tally.settle()
    counted = conversation.tally.messages
    assert set(counted) == {("publish", "signed" if changes.get("action") else "accepted", "ok")}
    assert counted.total() == sum(map(len, workload.chunks))
    spoilt = [workload.chunks[0][0].replace(b"xxx", b"xyx", 1)]
    if not changes.get("action"):
        with pytest.raises(RuntimeError, match="not everything was accepted"):
            conversation.publish(spoilt, spoilt[0])


@pytest.mark.parametrize("body_bytes", [300, 16_384, 262_144])
def test_the_floor_decodes_every_body_however_the_stream_is_cut(
    bench: SimpleNamespace, body_bytes: int
) -> None:
    key = bench.messages.Key.make()
    template = bench.messages.Template(body_bytes)
    layout = json.loads(json.dumps(asdict(template.layout(key, session=True))))
    stream = b"".join(template.sealed(5, [key], bytes(16)))
    for seed in range(5):
        seen: list[bytes] = []
        work = bench.floor.Work(layout, b"k" * 32)
        work.decode = lambda body, seen=seen: seen.append(bytes(body))
        leg = bench.floor.FloorLeg(0, work)
        leg.data_received(b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce")  # channel.open
        # The client waits for its last answer, so a chunk begins with the first publish.
        leg.data_received(stream[:100])
        for chunk in chunks(stream[100:], seed):
            leg.data_received(chunk)
        assert seen == [template.body] * 5
        assert b"".join(leg.early)[13:] == stream


def test_a_layout_is_that_of_the_messages(bench: SimpleNamespace) -> None:
    key = bench.messages.Key.make()
    template = bench.messages.Template(20_000)
    for session in (True, False):
        layout = template.layout(key, session)
        for message in template.sealed(3, [key], bytes(16) if session else b""):
            assert len(message) == layout.message
            assert b"".join(message[start:end] for start, end in layout.body_spans) == template.body


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (1.9, False, "pass"),
        (2.0, False, "pass"),
        (2.1, False, "MISS"),
        (2.1, True, "pass"),
        (1.9, True, "MISS"),
    ],
)
def test_a_ratio_is_held_against_its_limit(
    bench: SimpleNamespace, value: float, at_least: bool, verdict: str
) -> None:
    part = bench.judging.Part("p", "P")
    part.judge(1, "a / b", [value, value * 2, value / 2], [1, 2, 0.5], 2.0, at_least=at_least)
    assert part.ratios[0].verdict == verdict
    assert f"| {verdict} |" in bench.report.ratios_table(part.ratios)


def test_a_part_comes_back_from_its_file(bench: SimpleNamespace, tmp_path: Path) -> None:
    part = bench.judging.Part("p", "P")
    part.add("row", "column", cpu_us=1.5)
    part.judge(1, "a / b", [3.0], [2.0], 2.0)
    kept, path = bench.report.to_dict(part, "plain", 1), tmp_path / "results.json"
    bench.report.save(path, {"p": kept})
    bench.report.save(path, {"q": kept})
    found = bench.report.load(path)
    assert [*found] == ["p", "q"]
    again = bench.report.from_dict("p", found["p"])
    assert (again.figures, again.ratios) == (part.figures, part.ratios)


def test_documents_and_charts_say_what_the_results_say(bench: SimpleNamespace, tmp_path: Path) -> None:
    documents = bench.documents
    written = {tmp_path / str(number): place for number, place in enumerate(documents.PLACES)}
    for copied, place in written.items():
        shutil.copy(place, copied)
    documents.write(bench.report.RESULTS, *written, tmp_path / "figures")
    renewed = '`make bench BENCH="--render"` renews it'
    for copied, place in written.items():
        assert copied.read_text() == place.read_text(), renewed
    for chart in (tmp_path / "figures").iterdir():
        ElementTree.parse(chart)
        assert chart.read_text() == (bench.documents.FIGURES / chart.name).read_text(), renewed


def test_a_profile_keeps_what_works_and_names_what_mypyc_made(bench: SimpleNamespace) -> None:
    main, loop = "main (x.py:1)", "uv_run (core.c:1)"
    lines = [
        f"{main};{loop};read (sealgate/net/leg.py:80);CPyDef_frames___Splitter___next (x.so) 3",
        f"{main};{loop};uv__io_poll (linux.c:1);epoll_pwait (libc.so.6);0x7f12 (libc.so.6) 9",
        "_worker (thread.py:81);PyThread_acquire_lock_timed (libpython3.11.so.1.0);0x7f (libc.so.6) 7",
    ]
    working = ["uv_run", "sealgate/net/leg.py: read", "core frames.Splitter.next"]
    assert [*bench.profile.stacks("\n".join(lines))] == [(working, 3)]
