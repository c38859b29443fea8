"""The rules for Prometheus that are shipped: right in themselves, and about metrics that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sealgate.ops.key_ends import ENDING_S, URGENT_S
from sealgate.ops.key_metrics import KeyCollector
from sealgate.ops.keys import RingFacts
from sealgate.ops.metrics import build_registry
from sealgate.session.records import Tally

ROOT = Path(__file__).parents[2]
RULES = ROOT / "configs/alerts.yml"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


class Store:
    entries = errors = 0


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", RULES.read_text())


@needs_promtool
def test_rules_are_rules() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_rules_fire_when_they_should_and_not_else() -> None:
    promtool("test", "rules", ROOT / "tests/ops/alerts_test.yml")


def test_every_rule_is_tried() -> None:
    tried = (ROOT / "tests/ops/alerts_test.yml").read_text()
    assert [name for name in alerts() if f'"{name}"' not in tried] == []


def test_rules_ask_for_metrics_that_there_are() -> None:
    registry = build_registry(Tally(), Store(), {})
    registry.register(KeyCollector(lambda: RingFacts("", ())))
    there = set()
    for family in registry.collect():
        there |= {family.name, f"{family.name}_total"} if family.type == "counter" else {family.name}
    asked = set(re.findall(r"\bsealgate_\w+", RULES.read_text()))
    assert asked
    assert asked - there == set()


def test_keys_are_told_of_at_the_same_time_as_elsewhere() -> None:
    """A rules file can not ask for a constant."""
    bounds = [int(number) for number in re.findall(r"[<>]=? (\d{6,})", RULES.read_text())]
    assert bounds == [ENDING_S, URGENT_S, URGENT_S]
