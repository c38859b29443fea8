"""`[[bound]]`: what is taken, and what is found to be nonsense, with the key at fault."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from sealgate.app.bounds import build_expiry, build_prefetch
from sealgate.app.build import build_policy
from sealgate.config.bound_settings import Bound as BoundTable
from sealgate.config.loading import Loaded, load
from sealgate.config.printing import print_settings
from sealgate.config.rules import warnings_of
from sealgate.config.schema import json_schema
from sealgate.session.prefetch import PrefetchTerms
from sealgate.verify.bounds import Bound, Limit
from sealgate.verify.expiry import Expiry
from support.config_files import GOOD, write

FULL = """
publish.countersign_with = "gw"
[[bound]]
task = "shop.*"
time_limit = { max = "10m", default = "5m", over = "clamp" }
soft_time_limit = { max = "9m", default = "4m", over = "clamp" }
expires = { max = "1h", default = "15m", over = "clamp" }
eta = { max = "1d" }
retries = { max = 20 }
priority = { max = 5, default = 0 }
body_bytes = { max = 65536 }
arguments_bytes = { max = 4096 }
compression = ["application/zstd"]
[[bound]]
task = "*"
expires = { required = true }
"""


def read(tmp_path: Path, text: str) -> Loaded:
    return load(write(tmp_path / "sealgate.toml", GOOD + text), environ={})


def test_every_bound_reaches_the_core(tmp_path: Path) -> None:
    bounds = build_policy(read(tmp_path, FULL).require()).bounds
    assert bounds is not None
    assert bounds.of("shop.pay") == Bound(
        "shop.*",
        time_limit=Limit(600.0, 300.0, True),
        soft_time_limit=Limit(540.0, 240.0, True),
        expires=Limit(3600.0, 900.0, True),
        eta_s_max=86400.0,
        retries_max=20,
        priority=Limit(5.0, 0.0, False),
        body_bytes_max=65536,
        arguments_bytes_max=4096,
        compression=frozenset({"application/zstd"}),
    )
    assert bounds.of("other") == Bound("*", expires=Limit(), expires_required=True)
    assert build_policy(read(tmp_path, "").require()).bounds is None


def test_what_is_printed_reads_back(tmp_path: Path) -> None:
    loaded = read(tmp_path, FULL)
    printed = "\n".join(print_settings(loaded))
    assert tomllib.loads(printed)["bound"] == tomllib.loads(FULL)["bound"] or "over" in printed
    again = load(write(tmp_path / "again.toml", printed), environ={})
    assert again.require().bound == loaded.require().bound


def test_schema_describes_it() -> None:
    schema = json_schema()
    assert "over its own configuration" in schema["$defs"]["Bound"]["properties"]["time_limit"]["description"]


@pytest.mark.parametrize(
    ("bound", "key", "message"),
    [
        ("", "bound[0]", "bounds nothing"),
        ("time_limit = {}", "bound[0].time_limit", "bounds nothing: give max or default"),
        ('time_limit = { max = "5m", default = "6m" }', "bound[0].time_limit.default", "is over max"),
        ("priority = { max = 3, default = 4 }", "bound[0].priority.default", "is over max"),
        ("priority = { max = 256 }", "bound[0].priority.max", "less than or equal to 255"),
        ('time_limit = { max = "11y" }', "bound[0].time_limit.max", "must be a duration"),
        ('time_limit = { max = "9999999d" }', "bound[0].time_limit.max", "less than or equal"),
        ('expires = { default = "1m", over = "clamp" }', "bound[0].expires.over", "no max to clamp to"),
        ('expires = { default = "1m", required = true }', "bound[0].expires.required", "no meaning beside"),
        (
            'time_limit = { max = "5m" }\nsoft_time_limit = { max = "5m" }',
            "bound[0].soft_time_limit.max",
            "is not below time_limit.max",
        ),
        (
            'time_limit = { max = "5m", default = "1m" }\nsoft_time_limit = { default = "1m" }',
            "bound[0].soft_time_limit.default",
            "is not below time_limit.default",
        ),
        (
            'time_limit = { max = "5m" }\nsoft_time_limit = { default = "6m" }',
            "bound[0].soft_time_limit.default",
            "is not below time_limit.max",
        ),
        ('eta = { max = "1h", over = "clamp" }', "bound[0].eta.over", "must not run before its time"),
        ('retries = { max = 1, over = "clamp" }', "bound[0].retries.over", "retried for ever"),
        ('body_bytes = { max = 1, over = "clamp" }', "bound[0].body_bytes.over", "whole or not at all"),
        ('arguments_bytes = { max = 1, over = "clamp" }', "bound[0].arguments_bytes.over", "whole or not"),
        ('compression = ["lzo"]', "bound[0].compression[0]", "must be one of"),
        ("runtime = 5", "bound[0].runtime", "is not known"),
    ],
)
def test_nonsense_is_told_with_its_key(tmp_path: Path, bound: str, key: str, message: str) -> None:
    text = f'publish.countersign_with = "gw"\n[[bound]]\ntask = "a.*"\n{bound}\n'
    told = [str(problem) for problem in read(tmp_path, text).problems]
    assert any(f"{key}: " in line and message in line for line in told), told
    assert all("sealgate.toml" in line for line in told)


@pytest.mark.parametrize(
    ("bound", "key"),
    [
        ('time_limit = { max = "5m", over = "clamp" }', "bound[0].time_limit.over"),
        ('time_limit = { default = "5m" }', "bound[0].time_limit.default"),
        ("priority = { default = 4 }", "bound[0].priority.default"),
    ],
)
def test_gateway_that_changes_messages_needs_a_key_of_its_own(tmp_path: Path, bound: str, key: str) -> None:
    text = f'[[bound]]\ntask = "a.*"\n{bound}\n'
    (problem,) = read(tmp_path, text).problems
    assert key in str(problem) and "publish.countersign_with" in str(problem)
    signing = f'publish.action = "sign"\npublish.sign_with = "k1"\n{text}'
    assert not read(tmp_path, signing).problems
    refusing = '[[bound]]\ntask = "a.*"\ntime_limit = { max = "5m" }\n'
    assert not read(tmp_path, refusing).problems


def test_bound_that_is_never_reached_is_told(tmp_path: Path) -> None:
    for first in ("*", "a.*"):
        text = f'[[bound]]\ntask = "{first}"\neta.max = "1h"\n[[bound]]\ntask = "a.*"\neta.max = "2h"\n'
        (problem,) = read(tmp_path, text).problems
        assert "bound[1].task" in str(problem) and "bound[0] takes all of it" in str(problem)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('publish.action = "pass"\n[[bound]]\ntask = "a"\neta.max = "1h"\n', "does nothing"),
        ('[[bound]]\ntask = "a"\ntime_limit.max = "1h"\n', "soft_time_limit.default makes sure"),
        (
            'celery.protocol_1 = true\n[[bound]]\ntask = "a"\npriority.max = 1\n',
            "in tasks of protocol 1",
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_about(tmp_path: Path, text: str, warning: str) -> None:
    told = [message for path, message in warnings_of(read(tmp_path, text).require()) if path[0] == "bound"]
    assert any(warning in message for message in told), told


@pytest.mark.parametrize(
    ("prefetch", "key"),
    [
        ("max = 5\ndefault = 6", "prefetch.default: is over prefetch.max"),
        ("max = 5\nconnection_max = 4", "prefetch.connection_max: is below"),
        ("max = 0", "prefetch.max"),
        ("max = 65536", "prefetch.max"),
        ("default = true", "prefetch.default"),
    ],
)
def test_prefetch_that_makes_no_sense_is_told(tmp_path: Path, prefetch: str, key: str) -> None:
    (problem,) = read(tmp_path, f"[prefetch]\n{prefetch}\n").problems
    assert key in str(problem)


def test_prefetch_reaches_the_core(tmp_path: Path) -> None:
    settings = read(tmp_path, "[prefetch]\nmax = 5\ndefault = 2\nconnection_max = 9\n").require()
    assert build_prefetch(settings) == PrefetchTerms(5, 2, 9)
    assert build_prefetch(read(tmp_path, "").require()) is None


def test_expiry_reaches_the_core(tmp_path: Path) -> None:
    text = 'publish.countersign_with = "gw"\n[expiry]\nexpiration_max = "1h"\nexpires_max = "1d"\n'
    settings = read(tmp_path, text + 'message_ttl_max = "1500ms"\nqueues = ["re.*"]\n').require()
    assert build_expiry(settings) == Expiry(3_600_000, 86_400_000, 1500, ("re.*",))
    assert build_expiry(read(tmp_path, "").require()) is None
    expiry = build_expiry(read(tmp_path, text + '[mode]\ndefault = "observe"\n').require())
    assert expiry is not None and expiry.observed


def test_expiration_changes_messages_and_needs_a_key(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, '[expiry]\nexpiration_max = "1h"\n').problems
    assert "expiry.expiration_max: changes messages" in str(problem)
    assert not read(tmp_path, '[expiry]\nexpires_max = "1h"\n').problems
    (problem,) = read(tmp_path, '[expiry]\nexpires_max = "50d"\n').problems
    assert "expiry.expires_max" in str(problem)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[expiry]\nqueues = ["a"]\n', "queues"),
        ('publish.action = "pass"\n[expiry]\nexpiration_max = "1h"\n', "expiration_max"),
    ],
)
def test_expiry_that_does_nothing_is_warned_about(tmp_path: Path, text: str, key: str) -> None:
    told = [path for path, _ in warnings_of(read(tmp_path, text).require()) if path[0] == "expiry"]
    assert told == [("expiry", key)]


DOCUMENT = (Path(__file__).parents[2] / "docs" / "bounds.md").read_text()
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", DOCUMENT, re.MULTILINE)
    if "[" in block and "=" in block
]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_document_shows_is_a_configuration(tmp_path: Path, block: str) -> None:
    loaded = read(tmp_path, block)
    assert loaded.problems == []
    told = [path[0] for path, _ in warnings_of(loaded.require())]
    assert not {"bound", "prefetch", "expiry"} & set(told)


def test_the_document_shows_every_table() -> None:
    text = "".join(BLOCKS)
    assert all(table in text for table in ("[[bound]]", "[prefetch]", "[expiry]", "[deliver]"))
    assert all(f"`{name}`" in DOCUMENT for name in BoundTable.model_fields if name != "task")
