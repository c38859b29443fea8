"""`python -m benchmarks.instructions`: machine instructions per message in the core, by function.

Sealed messages are fed to a `session.Session` in this process as a client's bytes, and callgrind counts what
is executed: the same figure on a busy machine and a quiet one, to within a part in a thousand. No sockets, no
loop. `--floor` counts the floor's hashes and decoding of the same messages. `--misses` has callgrind play the
processor's caches as well.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import gates

if TYPE_CHECKING:
    from benchmarks.messages import Key, Layout
    from sealgate.session.states import Side

ROOT = Path(__file__).parents[1]
CHALLENGE = bytes(range(16))
#: What a socket's read gives at most.
CHUNK_BYTES_MAX = 262_144
WINDOW = 256
WARM_CHUNKS = 2
STARTED_AGO_S = 3600
_TOTAL = re.compile(r"PROGRAM TOTALS")
_COUNTED = re.compile(r"^totals: (.*)$", re.MULTILINE)
#: Of a core of a server: 32 KiB for instructions and for data each, 1 MiB behind them.
_CACHES = ("--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64")
#: Which of the counts that callgrind then has: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw.
_MISSES = {"instructions not in L1": (3,), "data not in L1": (4, 5), "neither in L2": (6, 7, 8)}
_LINE = re.compile(r" *([\d,]+) \([ \d.]+%\)  (?:\S*:)?(.+)")


@dataclass(slots=True, frozen=True)
class Workload:
    """Chunks of sealed messages, and what reading them takes."""

    chunks: list[list[bytes]]
    keys: Sequence[Key]
    layout: Layout
    action: str
    stored: bool
    connections: int


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--action", choices=("verify", "sign"), default="verify")
    parser.add_argument("--stored", action="store_true", help="stored nonces, kept in memory")
    parser.add_argument("--body", type=int, default=300, help="octets of body (default 300)")
    parser.add_argument("--keys", type=int, default=1, help="keys that take turns (default 1)")
    parser.add_argument(
        "--connections", type=int, default=1, help="connections that take turns, a chunk each (default 1)"
    )
    parser.add_argument("--mixed", action="store_true", help="sixteen kinds of tasks, in no order")
    parser.add_argument("--floor", action="store_true", help="the floor's work instead of a session's")
    parser.add_argument("--chunks", type=int, default=8, help="chunks to count (default 8)")
    parser.add_argument("--portion", type=int, default=WINDOW, help="messages of a chunk, if they fit")
    parser.add_argument("--misses", action="store_true", help="count what is not in the caches, too")
    parser.add_argument("--top", type=int, default=40, help="functions to show (default 40)")
    parser.add_argument("--keep", type=Path, help="where to leave callgrind's file")
    parser.add_argument("--feed", type=Path, help=argparse.SUPPRESS)
    gates.add_options(parser)
    return parser.parse_args()


def _workload(options: argparse.Namespace) -> Workload:
    from benchmarks.messages import Key, Template, mixed, plain, sealed

    keys = [Key.make(number) for number in range(options.keys)]
    templates = mixed(options.body) if options.mixed else [Template(options.body)]
    size = len(next(iter(plain(templates, 1)))) + 400
    per_chunk = max(min(options.portion, CHUNK_BYTES_MAX // size), 1)
    made: list[bytes] = []
    for count in (per_chunk * WARM_CHUNKS * options.connections, per_chunk * options.chunks):
        if made and options.connections > 1:
            # As between two turns of one of many: seals tell the second.
            time.sleep(1.0)
        if options.action == "sign":
            made += plain(templates, count)
        else:
            challenge = b"" if options.stored else CHALLENGE
            made += sealed(templates, count, keys, challenge, len(made))
    chunks = [made[at : at + per_chunk] for at in range(0, len(made), per_chunk)]
    layout = templates[0].layout(keys[0], not options.stored)
    return Workload(chunks, keys, layout, options.action, options.stored, options.connections)


class Conversation:
    """A session with both peers played, and a memory store."""

    def __init__(self, workload: Workload) -> None:
        from benchmarks.messages import DEPLOYMENT
        from sealgate.session.conversation import Role, Terms
        from sealgate.session.events import Instant
        from sealgate.session.limits import Limits
        from sealgate.session.records import Tally
        from sealgate.session.session import Session
        from sealgate.session.states import Side
        from sealgate.signing.algorithms import HmacSha256
        from sealgate.signing.keyring import Key, Keyring
        from sealgate.signing.randomness import RandomPool
        from sealgate.stores import ENTRIES_MAX
        from sealgate.stores.memory import MemoryStore
        from sealgate.verify.checks import Verifier
        from sealgate.verify.policy import Policy
        from sealgate.verify.sealer import Sealer

        policy = Policy(DEPLOYMENT)
        self.instant = Instant(0.0, time.time())
        self.store = MemoryStore(
            max_age_s=policy.max_age_s,
            clock_skew_s=policy.clock_skew_s,
            entries_max=ENTRIES_MAX,
            # Started so long ago that it misses nothing.
            wall=lambda: self.instant.wall - STARTED_AGO_S,
        )
        asyncio.run(self.store.start())
        ring = Keyring([Key(key.kid, HmacSha256(key.secret)) for key in workload.keys])
        terms = Terms(
            role=Role(workload.action),
            deployment=DEPLOYMENT,
            verifier=Verifier(policy, ring),
            limits=Limits(),
            tally=Tally(),
            sealer=Sealer(ring, workload.keys[0].kid, DEPLOYMENT, RandomPool(os.urandom).take),
            store=self.store.prompt,
        )
        self.session = Session(terms, "127.0.0.1", CHALLENGE, self.instant)
        self.tally = terms.tally
        #: Here, because to import it is a tenth of what a message costs that comes alone.
        self._sides = Side
        self.sent = 0
        self.confirmed = 0

    def open(self) -> None:
        """Shake hands, and open channel 1 with confirms."""
        from pamqp import commands, frame, header

        from sealgate.session.events import UpstreamConnected

        start = commands.Connection.Start(
            0, 9, {"capabilities": {"publisher_confirms": True}}, "PLAIN", "en_US"
        )
        self.client(header.ProtocolHeader(0, 9, 1).marshal())
        self.carry_out(self.session.handle(UpstreamConnected(), self.instant))
        for broker, client in (
            (start, (commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"),)),
            (
                commands.Connection.Tune(2047, 131_072, 0),
                (commands.Connection.TuneOk(2047, 128_000, 0), commands.Connection.Open("/")),
            ),
        ):
            self.broker(frame.marshal(broker, 0))
            for method in client:
                self.client(frame.marshal(method, 0))
        self.broker(frame.marshal(commands.Connection.OpenOk(), 0))
        for asked, answer in (
            (commands.Channel.Open(), commands.Channel.OpenOk()),
            (commands.Confirm.Select(), commands.Confirm.SelectOk()),
        ):
            self.client(frame.marshal(asked, 1))
            self.broker(frame.marshal(answer, 1))

    def client(self, data: bytes) -> None:
        self._received(self._sides.CLIENT, data)

    def broker(self, data: bytes) -> None:
        self._received(self._sides.UPSTREAM, data)

    def _received(self, side: Side, data: bytes) -> None:
        """As `net.passage` has it."""
        session = self.session
        if not session.receive(side, data, False, self.instant.mono, self.instant.wall):
            return
        while session.interrupted:
            self._send()
            session.proceed()
        self._send()
        session.count_later()

    def _send(self) -> None:
        out = self.session.conversation.out
        if out.has_more:
            self.carry_out(out.take())
            return
        if out.sends_upstream:
            self.sent += sum(map(len, out.take_upstream()))
        if out.settles:
            self.store.settle(*out.take_settled())
        if out.sends_client:
            out.take_client()

    def carry_out(self, commands: Sequence[object]) -> None:
        from sealgate.session.commands import Send, SettleClaims
        from sealgate.session.states import Side

        for command in commands:
            if isinstance(command, Send) and command.side is Side.UPSTREAM:
                self.sent += len(command.data)
            elif isinstance(command, SettleClaims):
                self.store.settle(command.commits, command.releases)

    def publish(self, chunk: Sequence[bytes], data: bytes) -> None:
        """RuntimeError when not all of the chunk is sent upstream; the broker confirms all of it."""
        before = self.sent
        self.client(data)
        if self.sent - before < len(data):
            raise RuntimeError(f"not everything was accepted: {self.tally.messages}")
        self.confirmed += len(chunk)
        self.broker(
            b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50" + self.confirmed.to_bytes(8, "big") + b"\x01\xce"
        )


def _feed(path: Path, floor: bool) -> None:
    """Under callgrind: all chunks, counted from the end of the warm ones on."""
    workload: Workload = pickle.loads(path.read_bytes())
    joined = [b"".join(chunk) for chunk in workload.chunks]
    if floor:
        sys.path.insert(0, str(ROOT / "benchmarks" / "rivals"))
        from floor import Work

        layout = workload.layout
        spans = [list(span) for span in layout.body_spans]
        sizes = {
            name: getattr(layout, name) for name in ("message", "section_p", "section_h", "signing_input")
        }
        work = Work({**sizes, "body_spans": spans}, bytes(32))
    else:
        conversations = [Conversation(workload) for _ in range(workload.connections)]
        for conversation in conversations:
            conversation.open()
    for number, (chunk, data) in enumerate(zip(workload.chunks, joined, strict=True)):
        if number == WARM_CHUNKS * workload.connections:
            _instrument("on")
        if floor:
            work.all_of(data, 0)
        else:
            conversations[number % workload.connections].publish(chunk, data)
    _instrument("off")


def _instrument(state: str) -> None:
    if "CALLGRIND" in os.environ:
        subprocess.run(["callgrind_control", "-i", state, str(os.getpid())], check=True, capture_output=True)


def _count(options: argparse.Namespace, folder: Path) -> None:
    workload = _workload(options)
    feed = folder / "feed"
    feed.write_bytes(pickle.dumps(workload))
    out = options.keep or folder / "callgrind.out"
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    command += _CACHES if options.misses else ()
    command += [sys.executable, "-m", "benchmarks.instructions", "--feed", str(feed)]
    command += ["--floor"] if options.floor else []
    path = None if options.plain else options.compiled.resolve()
    environment = gates.Variant("plain" if options.plain else "compiled", path).environment()
    environment |= {"CALLGRIND": "1", "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (environment["PYTHONPATH"], str(ROOT))))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    messages = sum(map(len, workload.chunks[WARM_CHUNKS * workload.connections :]))
    for line in _table(out, messages, options.top):
        print(line)


def _table(out: Path, messages: int, top: int) -> Iterator[str]:
    counted = _COUNTED.search(out.read_text())
    assert counted is not None
    counts = [int(count) / messages for count in counted[1].split()]
    yield f"{counts[0]:10,.1f}  instructions per message, of {messages}"
    if len(counts) > 1:
        for what, columns in _MISSES.items():
            yield f"{sum(counts[column] for column in columns):10,.1f}  {what}"
    command = ["callgrind_annotate", "--auto=no", "--threshold=100", "--show=Ir", str(out)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    total = _TOTAL.search(text)
    assert total is not None
    sums: dict[str, int] = {}
    for line in text[total.end() :].splitlines():
        found = _LINE.match(line)
        if found is not None:
            name, _, library = found[2].partition(" [")
            if name.startswith("0x"):
                name += f" in {Path(library.rstrip(']')).name}"
            sums[name] = sums.get(name, 0) + int(found[1].replace(",", ""))
    for name, count in sorted(sums.items(), key=lambda item: -item[1])[:top]:
        yield f"{count / messages:10,.1f}  {name}"


def main() -> None:
    options = _options()
    if options.feed is not None:
        _feed(options.feed, options.floor)
        return
    with tempfile.TemporaryDirectory() as folder:
        _count(options, Path(folder))


if __name__ == "__main__":
    main()
