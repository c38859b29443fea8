"""The demo from start to end: everything brought up, used, attacked, looked at and taken down."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealgate.app import Gate
from sealgate.cli import stack
from sealgate.cli.demo import forge
from sealgate.cli.demo.attacker import Attacker
from sealgate.cli.demo.attacks import ATTACKS, FLOOD_BURST, Attack, Loot
from sealgate.cli.demo.auditor import Auditor
from sealgate.cli.demo.children import Child, start_producer, start_worker
from sealgate.cli.demo.login import Login
from sealgate.cli.demo.names import Names
from sealgate.cli.demo.report import AttackResult, Report
from sealgate.cli.demo.sniffer import Sniffer
from sealgate.devbroker.server import DevBroker
from sealgate.reason import CONNECTION_FAMILIES, Reason

_LOCAL: Final = "127.0.0.1:0"
_CAPTURE_S_MAX: Final = 15.0
_CONFIRM_S_MAX: Final = 5.0
_POLL_S: Final = 0.05


@dataclass(slots=True, frozen=True)
class Plan:
    """What to do. `seconds` is how long the producer takes to publish; the attacks share that time.

    `finish_s_max` is from there to the end: results, retries and tasks with an ETA.
    """

    upstream: str | None
    tasks: int
    seconds: float
    finish_s_max: float = 30.0


class Demo:
    """One run. `changed` is called whenever the report is another one."""

    def __init__(self, plan: Plan, home: Path, changed: Callable[[Report], None]) -> None:
        self._plan: Final = plan
        self._home: Final = home
        self._changed: Final = changed
        self._names: Final = Names(secrets.token_hex(4))
        self._runs_file: Final = home / "runs"
        self._login: Final = Login.of(plan.upstream or "amqp://localhost")
        where = "the built-in broker" if plan.upstream is None else self._login.where
        self.report: Final = Report(where, [AttackResult(attack) for attack in ATTACKS])
        self._keys: Final = {
            "producer": stack.new_key("producer", tasks=["demo.*"], classes=["task", "control:ping"]),
            "worker": stack.new_key(
                "worker", classes=["task", "result", "event", "control:hello", "control:reply"]
            ),
            "stolen": stack.new_key("stolen", "revoked"),
            "stranger": stack.new_key("stranger"),
        }
        self._broker: DevBroker | None = None
        self._gateway: Gate
        self._remembers_at = 0.0
        self._sniffer: Sniffer
        self._auditor: Auditor
        self._worker: Child

    async def run(self) -> Report:
        """Everything. Raises OSError and StartError when something can not be started, RuntimeError with
        the end of a child's log when that did not start."""
        started_at = time.monotonic()
        async with AsyncExitStack() as cleanup:
            await self._start(cleanup)
            self._phase("attacking")
            producing = asyncio.create_task(self._produce(cleanup))
            watching = asyncio.create_task(self._watch_runs())
            try:
                await self._attack()
                self._phase("finishing")
                async with asyncio.timeout(self._plan.seconds + self._plan.finish_s_max):
                    await producing
                    await self._all_run()
            except TimeoutError:
                self.report.legitimate.troubles.append("the producer did not come to an end in time")
            finally:
                for task in (producing, watching):
                    task.cancel()
                await asyncio.gather(producing, watching, return_exceptions=True)
            await self._conclude()
            self.report.seconds = time.monotonic() - started_at
        self._phase("done")
        return self.report

    def _phase(self, phase: str) -> None:
        self.report.phase = phase
        self._changed(self.report)

    async def _start(self, cleanup: AsyncExitStack) -> None:
        upstream = self._plan.upstream or await self._start_broker(cleanup)
        self._auditor = Auditor(upstream, self._names)
        cleanup.push_async_callback(self._auditor.clean_up)
        await self._auditor.start()
        keys = self._keys
        self._gateway = stack.gateway(
            _LOCAL,
            upstream,
            stack.write_keys(self._home, "gateway.toml", [keys["producer"], keys["worker"], keys["stolen"]]),
            quarantine={"exchange": self._names.quarantine},
            rate={"demo.send_email": f"1/h burst {FLOOD_BURST}"},
            # What waits for an hour would show nothing here.
            refuse={"over_rate": "refuse"},
        )
        await self._start_gate(cleanup, self._gateway)
        self._remembers_at = time.monotonic() + stack.HORIZON_S
        self._sniffer = Sniffer(self._gateway.port, self._names.exchange)
        await self._sniffer.start()
        cleanup.push_async_callback(self._sniffer.close)
        worker_side = self._sidecar("worker", self._gateway.port)
        await self._start_gate(cleanup, worker_side)
        env = self._env(self._login.through(worker_side.port))
        self._worker = await start_worker(self._home, env)
        cleanup.push_async_callback(self._worker.kill)
        await self._worker.wait_ready()
        self.report.worker_alive = True
        await self._auditor.watch_mailbox()

    async def _start_broker(self, cleanup: AsyncExitStack) -> str:
        self._broker = DevBroker()
        await self._broker.start()
        cleanup.push_async_callback(self._broker.close)
        return self._broker.url

    async def _start_gate(self, cleanup: AsyncExitStack, gate: Gate) -> None:
        cleanup.push_async_callback(gate.close)
        await gate.start()

    def _sidecar(self, kid: str, port: int) -> Gate:
        keys = stack.write_keys(self._home, f"{kid}.toml", [self._keys[kid]])
        return stack.sidecar(_LOCAL, self._login.through(port), keys, kid)

    def _env(self, broker: str) -> dict[str, str]:
        return {
            "SEALGATE_DEMO_BROKER": broker,
            "SEALGATE_DEMO_RUN": self._names.run,
            "SEALGATE_DEMO_RUNS_FILE": str(self._runs_file),
        }

    async def _produce(self, cleanup: AsyncExitStack) -> None:
        """Let the producer publish through its sidecar, over the wire that is listened on."""
        sidecar = self._sidecar("producer", self._sniffer.port)
        await self._start_gate(cleanup, sidecar)
        env = self._env(self._login.through(sidecar.port))
        producer = await start_producer(self._home, env, self._plan.tasks, self._plan.seconds)
        cleanup.push_async_callback(producer.kill)
        legitimate = self.report.legitimate
        done = False
        async for said in producer.lines():
            legitimate.sent.update(said.get("sent", ()))
            legitimate.results += said.get("results", 0)
            done = done or said.get("done", False)
            if "trouble" in said:
                legitimate.troubles.append(said["trouble"])
            self._changed(self.report)
        if not done:
            legitimate.troubles.append(f"the producer ended early: {producer.tail(1)}")

    async def _watch_runs(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self._read_runs()
            self._changed(self.report)

    def _read_runs(self) -> None:
        if not self._runs_file.exists():
            return
        runs: Counter[tuple[str, str]] = Counter()
        for line in self._runs_file.read_text().splitlines():
            task_id, _, retry = line.partition(" ")
            runs[task_id, retry] += 1
        self.report.legitimate.runs = runs

    async def _all_run(self) -> None:
        while self.report.legitimate.lost:
            await asyncio.sleep(_POLL_S)
            self._read_runs()

    async def _attack(self) -> None:
        loot = Loot(
            names=self._names,
            vhost=self._login.vhost,
            capture=lambda: self._sniffer.next(_CAPTURE_S_MAX),
            cron_job=await self._run_cron_job(),
            insider=self._keys["producer"],
            stranger=self._keys["stranger"],
            revoked=self._keys["stolen"],
        )
        started_at = time.monotonic()
        for index, result in enumerate(self.report.attacks):
            due = started_at + self._plan.seconds * index / len(ATTACKS)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                await self._attack_once(result, loot)
            except (TimeoutError, OSError) as error:
                result.trouble = f"{type(error).__name__}: {error}"
            result.done = True
            self._changed(self.report)

    async def _run_cron_job(self) -> forge.Forged:
        """Something legitimate that signs by itself, with a nonce the gateway has to remember."""
        # A store without a journal refuses nonces from before it could remember them (store.horizon).
        await asyncio.sleep(max(0.0, self._remembers_at - time.monotonic()))
        job = forge.task(self._names.exchange, "demo.add", [1, 2])
        message = forge.sealed(job, self._keys["producer"], time.time(), self._login.vhost)
        client = Attacker(self._gateway.port, self._login)
        answer = await client.publish(message.frames())
        await client.close()
        if answer != "basic.ack":
            self.report.legitimate.troubles.append(f"the cron job's task was answered by {answer}")
        self.report.legitimate.sent.add(message.mark)
        return message

    async def _attack_once(self, result: AttackResult, loot: Loot) -> None:
        attack = result.attack
        shots = await attack.make(loot)
        for shot in shots:
            self._auditor.expect(attack.kind, shot.mark, shot.captured)
        refused_before = self._refusals()
        attacker = Attacker(self._gateway.port, self._login)
        for shot in shots:
            answer = await attacker.publish(shot.octets)
            result.sent += 1
            result.told = result.told or answer
            if _passed(attack, answer):
                result.passed += 1
                self.report.legitimate.sent.add(shot.mark)
            result.refused = self._refusals() - refused_before
            self._changed(self.report)
        await attacker.close()

    def _refusals(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, verdict, reason), count in self._gateway.tally.messages.items():
            if verdict == "refused":
                found[reason] += count
        return found

    async def _conclude(self) -> None:
        """The last look at everything, once all is quiet."""
        report = self.report
        if self._broker is not None:
            report.counted_by_broker = self._broker.published_to(self._names.exchange)
        await self._auditor.settle()
        self._read_runs()
        attacked: Counter[str] = Counter()
        report.counted_by_auditor = self._auditor.legitimate
        for result in report.attacks:
            result.reached = max(0, self._auditor.reached[result.attack.kind] - result.passed)
            report.counted_by_auditor += result.passed
            attacked += result.refused
        report.legitimate.refused = self._refusals() - attacked
        report.worker_alive = self._worker.alive
        await self._quarantined(sum(count for reason, count in attacked.items() if _is_kept(reason)))

    async def _quarantined(self, wanted: int) -> None:
        """Give the quarantine, which is never waited for, a moment to have everything."""
        kept = self._gateway.tally.quarantined
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_S_MAX):
                while kept.total() < wanted:  # noqa: ASYNC110 - plain counters
                    await asyncio.sleep(_POLL_S)
        self.report.quarantined = kept.total()


def _passed(attack: Attack, answer: str) -> bool:
    """Whether a message went through that may: confirmed, and not as a duplicate."""
    return attack.allowed > 0 and answer == "basic.ack"


def _is_kept(reason: str) -> bool:
    """What broke framing is no message, so there is nothing to keep."""
    return Reason(reason).family not in CONNECTION_FAMILIES
