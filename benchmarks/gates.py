"""Sealgate's processes under measure: which files run, and with which configuration."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.messages import DEPLOYMENT, TASK, Key

#: A module of the core; where the core is compiled, this is no Python file.
_OF_THE_CORE = "sealgate.wire.frames"
_COMPILED = Path(__file__).parents[1] / "build" / "compiled"


@dataclass(slots=True, frozen=True)
class Variant:
    """The same program, plain or compiled; `path` holds the package, None is the installed one."""

    name: Literal["plain", "compiled"]
    path: Path | None = None

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALGATE_")}
        found = [str(self.path)] if self.path else []
        return {**kept, "PYTHONPATH": os.pathsep.join(found)}

    def check(self) -> None:
        """RuntimeError when this would measure the other one."""
        asked = f"import {_OF_THE_CORE} as m; print(m.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", asked], env=self.environment(), capture_output=True, text=True, check=False
        )
        is_compiled = not done.stdout.strip().endswith(".py")
        if done.returncode != 0 or is_compiled != (self.name == "compiled"):
            raise RuntimeError(
                f"asked to measure the {self.name} core, found {done.stdout or done.stderr}".rstrip()
            )


@dataclass(slots=True, frozen=True)
class Gate:
    """One gateway or sidecar to start."""

    variant: Variant
    keys: Sequence[Key]
    action: Literal["verify", "sign", "pass"] = "verify"
    deliver: Literal["pass", "verify"] = "pass"
    store: str = "memory"
    rates: int = 0
    rules: int = 0
    workers: int = 1
    max_age: str = "5m"
    entries_max: int = 4_000_000
    quarantine: bool = False
    admin_port: int = 0

    def but(self, **changes: object) -> Gate:
        return replace(self, **changes)  # type: ignore[arg-type]

    def config(self, port: int, upstream: int, keys: Path) -> str:
        lines = [
            f'deployment = "{DEPLOYMENT}"',
            "[listen]",
            f'address = "127.0.0.1:{port}"',
            f"workers = {self.workers}" if self.workers > 1 else "",
            "[upstream]",
            f'urls = ["amqp://127.0.0.1:{upstream}"]',
            "[publish]",
            f'action = "{self.action}"',
            f'sign_with = "{self.keys[0].kid}"' if self.action == "sign" else "",
            "[deliver]",
            f'action = "{self.deliver}"',
            "[keys]",
            f'source = "file:{keys}"',
            "[replay]",
            f'store = "{self.store}"',
            'nonces = "session"' if self.workers > 1 else "",
            'clock_skew = "0s"',  # so that a store without a journal trusts new messages after a second
            f'max_age = "{self.max_age}"',
            f"entries_max = {self.entries_max}",
            "[quarantine]",
            f"enabled = {'true' if self.quarantine else 'false'}",
            "[admin]",
            f"enabled = {'true' if self.admin_port else 'false'}",
            f'address = "127.0.0.1:{self.admin_port or 9672}"',
            "[limits]",
            "connections_per_address_max = 10000",
            "[rate]",
            *self._rates(),
            *self._rules(),
        ]
        return "\n".join(line for line in lines if line) + "\n"

    def _rates(self) -> list[str]:
        """`rates` names, of which the last is the task that is sent; the bucket never runs dry."""
        names = [f"shop.tasks.other_{number}" for number in range(self.rates - 1)] + [TASK] * bool(self.rates)
        return [f'"{name}" = "1000000/s burst 1000000"' for name in names]

    def _rules(self) -> list[str]:
        """Rules of which none matches what is sent, so that all are asked."""
        lines = []
        for number in range(self.rules):
            lines += [
                "[[rule]]",
                f'match = {{ task = "shop.tasks.other_{number}", exchange = "none" }}',
                'mode = "enforce"',
            ]
        return lines

    def keys_file(self) -> str:
        lines = []
        for key in self.keys:
            lines += ["[[key]]", f'kid = "{key.kid}"', 'alg = "hmac-sha256"', 'state = "active"']
            lines.append(f'secret = "hex:{key.secret.hex()}"')
        return "\n".join(lines) + "\n"

    def command(self, folder: Path, port: int, upstream: int) -> list[str | Path]:
        """Writes its files into `folder` and returns what starts it."""
        folder.mkdir()
        config, keys = folder / "sealgate.toml", folder / "keys.toml"
        keys.touch(mode=0o600)
        keys.write_text(self.keys_file())
        config.write_text(self.config(port, upstream, keys))
        return [Path(sys.executable).with_name("sealgate"), "run", "--config", config]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plain", action="store_true", help="without a compiled core")
    parser.add_argument(
        "--compiled",
        type=Path,
        default=_COMPILED,
        metavar="FOLDER",
        help="where the compiled package is (default: build/compiled, which `make compile` makes)",
    )


def find_compiled(options: argparse.Namespace) -> Variant | None:
    """The compiled variant that the options ask for, checked; None with --plain or where nobody made one."""
    if options.plain or (options.compiled == _COMPILED and not _COMPILED.exists()):
        return None
    variant = Variant("compiled", options.compiled.resolve())
    variant.check()
    return variant
