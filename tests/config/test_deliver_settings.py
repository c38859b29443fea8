"""`[deliver]`: what is wrong with it is told with its key, and what is built of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealgate.app.build import build_terms, quarantine_urls
from sealgate.config.loading import Loaded, load
from sealgate.session.records import Tally
from sealgate.signing.keyring import Keyring
from sealgate.verify.delivery import QueueTerms, Requirement
from sealgate.verify.targets import TargetPolicy

WORKER = """
[upstream]
urls = ["amqp://127.0.0.1:5672"]
[publish]
action = "sign"
sign_with = "worker"
[quarantine]
url = "amqp://sealgate:secret@127.0.0.1"
[deliver]
action = "verify"
"""


def read(tmp_path: Path, text: str) -> Loaded:
    file = tmp_path / "sealgate.toml"
    file.write_text(text)
    return load(file, environ={})


def keys(loaded: Loaded) -> list[str]:
    return [problem.key for problem in loaded.problems]


def test_sidecar_of_a_worker(tmp_path: Path) -> None:
    more = """
require = "both"
countersigned_by = ["gw1"]
tasks = ["shop.*"]
[[deliver.queue]]
match = "*.dead"
target = "dead_letter"
[[deliver.queue]]
once = true
"""
    settings = read(tmp_path, WORKER + more).require()
    terms = build_terms(settings, Keyring(), Tally())
    assert terms.delivery is not None
    policy = terms.delivery.policy
    assert (policy.require, policy.countersigners) == (Requirement.BOTH, {"gw1"})
    assert policy.terms_of("q.dead") == QueueTerms("*.dead", TargetPolicy.DEAD_LETTER)
    assert policy.terms_of("q").once
    assert policy.label("shop.pay") == "shop.*"
    assert terms.delivery.verifier is terms.verifier
    assert quarantine_urls(settings) == ["amqp://sealgate:secret@127.0.0.1"]


def test_without_verify_nothing_is_built(tmp_path: Path) -> None:
    settings = read(tmp_path, WORKER.replace('"verify"', '"pass"')).require()
    assert build_terms(settings, Keyring(), Tally()).delivery is None


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("sign_with", "#sign_with"), ["publish.sign_with"]),
        (('action = "sign"\nsign_with = "worker"', 'action = "pass"'), ["deliver.action"]),
        (("url = ", "#url = "), ["quarantine.url"]),
        (('[quarantine]\nurl = "amqp://sealgate:secret@127.0.0.1"', "[quarantine]\nenabled = false"), []),
        (('action = "verify"', 'action = "verify"\nrequire = "gateway"'), ["deliver.countersigned_by"]),
        (('action = "verify"', 'action = "verify"\ncountersigned_by = ["g"]'), ["deliver.countersigned_by"]),
        (('action = "verify"', 'tasks = ["a"]'), ["deliver.tasks"]),
        (('action = "verify"', 'action = "verify"\nqueues = []'), ["deliver.queues"]),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, change: tuple[str, str], wrong: list[str]) -> None:
    assert keys(read(tmp_path, WORKER.replace(*change))) == wrong


def test_queue_that_is_never_reached(tmp_path: Path) -> None:
    more = "[[deliver.queue]]\nmatch = '*'\n[[deliver.queue]]\nmatch = 'q'\n"
    assert keys(read(tmp_path, WORKER + more)) == ["deliver.queue[1].match"]


def test_workers_do_not_share_what_was_acknowledged(tmp_path: Path) -> None:
    more = "[[deliver.queue]]\nonce = true\n[listen]\nworkers = 2\n"
    assert keys(read(tmp_path, WORKER + more)) == ["deliver.queue[0].once"]
    shared = more + "[replay]\nstore = 'redis://127.0.0.1'\n"
    assert keys(read(tmp_path, WORKER + shared)) == []


def test_what_is_lost_is_warned_about(tmp_path: Path) -> None:
    off = WORKER.replace('url = "amqp://sealgate:secret@127.0.0.1"', "enabled = false")
    loaded = read(tmp_path, off + "[[deliver.queue]]\nonce = true\n")
    warned = [warning.key for warning in loaded.warnings]
    assert {"quarantine.enabled", "deliver.queue[0].once"} <= set(warned)
