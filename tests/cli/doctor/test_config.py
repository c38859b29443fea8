"""Configurations and keys, without connecting: each lack is found, and a good one has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.doctor_apps import doctor, pairs
from support.doctor_configs import DAY_S, Place, moment

OFFLINE = ("--offline",)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("name", ["gateway.toml", "sidecar.toml"])
def test_a_good_configuration_has_no_finding(place: Place, name: str) -> None:
    result = doctor("--config", place.home / name, *OFFLINE)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith("nothing found\n")


REPLACE = """[credentials]
mode = "replace"
users = "file:{home}/users.toml"
user = "sealgate"
password = "file:{home}/password"
"""
CHANGES = {
    "observe": (
        [],
        '[mode]\ndefault = "observe"\n',
        {("config.observes", "mode.default"), ("config.warning", "refuse.over_rate")},
    ),
    "observing rule": (
        [],
        '[[rule]]\nmatch = { exchange = "celery.pidbox" }\nmode = "observe"\n',
        {("config.observing-rule", "rule[0].mode")},
    ),
    "no rates": ([('[rate]\n"*" = "100/s"\n', "")], "", {("config.no-rates", "rate")}),
    "rates for some": ([('"*" =', '"shop.*" =')], "", {("config.no-rate-for-the-rest", "rate")}),
    "no bounds": (
        [('[[bound]]\ntask = "*"\nretries = {{ max = 10 }}\nexpires = {{ required = true }}\n', "")],
        "",
        {("config.no-bounds", "bound")},
    ),
    "no expiry": (
        [
            ("expires = {{ required = true }}\n", ""),
            ('[expiry]\nmessage_ttl_max = "1d"\n', ""),
            ("[prefetch]\nmax = 16\n", ""),
        ],
        "",
        {
            ("config.no-task-expiry", "bound"),
            ("config.no-result-expiry", "expiry"),
            ("config.no-prefetch", "prefetch"),
        },
    ),
    "long window": (
        [("[replay]\n", '[replay]\nmax_age = "2h"\nclock_skew = "10m"\n')],
        "",
        {("config.long-window", "replay.max_age"), ("config.wide-skew", "replay.clock_skew")},
    ),
    "memory": (
        [('store = "redis://127.0.0.1:6379/0"', 'store = "memory"')],
        "",
        {("config.memory-store", "replay.journal")},
    ),
    "open": (
        [('"127.0.0.1:{port}"', '"0.0.0.0:{port}"'), ('"127.0.0.1:{admin}"', '"0.0.0.0:{admin}"')],
        "",
        {("config.listen-plaintext", "listen.tls"), ("config.admin-open", "admin.address")},
    ),
    "far": (
        [('"{upstream}"', '"amqp://rabbit.internal"')],
        "",
        {("config.upstream-plaintext", "upstream.urls[0]"), ("config.warning", "upstream.urls[0]")},
    ),
    "passthrough": (
        [(REPLACE, "")],
        "",
        {("config.logins-of-the-broker", "credentials.mode")},
    ),
    "literal": (
        [("redis://127", "redis://:Zk29x@127"), ("file:{home}/password", "Rq7broker")],
        "",
        {("config.literal-secret", "credentials.password"), ("config.literal-secret", "replay.store")},
    ),
    "unwatched": (
        [
            ('address = "127.0.0.1:{admin}"', "enabled = false"),
            ("[listen]\n", "[listen]\nreuse_port = false\n"),
        ],
        "",
        {("config.no-metrics", "admin.enabled")},
    ),
    "any type": (
        [],
        '[content]\nprofile = "generic"\ntypes = ["*"]\n',
        {("config.any-type", "content.types")},
    ),
    "passes": (
        [('action = "verify"', 'action = "pass"'), ('[rate]\n"*" = "100/s"\n', "")],
        "",
        {("config.passes", "publish.action"), ("config.warning", "bound")},
    ),
}


@pytest.mark.parametrize(("changes", "more", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_what_a_configuration_lacks_is_found(
    place: Place, changes: list[tuple[str, str]], more: str, expected: set[tuple[str, str]]
) -> None:
    place.gateway(*changes, more=more)
    assert pairs(place.findings(*OFFLINE)) == expected


def test_findings_name_file_and_line(place: Place) -> None:
    path = place.gateway(("[replay]\n", '[replay]\nmax_age = "2h"\n'))
    found = place.findings(*OFFLINE)[0]
    assert (found["file"], found["key"], found["change"]) == (str(path), "replay.max_age", 'max_age = "5m"')
    assert path.read_text().splitlines()[found["line"] - 1] == 'max_age = "2h"'


def test_what_the_environment_sets_is_told_as_that(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALGATE__MODE__DEFAULT", "observe")
    (found,) = [each for each in place.findings(*OFFLINE) if each["id"] == "config.observes"]
    assert (found["file"], found["key"]) == ("", "SEALGATE__MODE__DEFAULT")


def test_a_configuration_that_can_not_be_used_exits_with_78_and_says_all(place: Place) -> None:
    path = place.gateway(('"verify"', '"verfy"'), ('"100/s"', '"100"'))
    result = doctor("--config", path, "--format", "json", "--fail-on", "never", *OFFLINE)
    assert result.exit_code == 78
    found = json.loads(result.stdout)["findings"]
    assert pairs(found) == {("config.invalid", "publish.action"), ("config.invalid", 'rate."*"')}


def test_a_certificate_that_can_not_be_used_is_told_before_anything_is_connected_to(place: Place) -> None:
    place.private("broken.pem", "no certificate")
    place.gateway(('"{upstream}"', '"amqps://rabbit.internal"'), more='[upstream.tls]\nca = "broken.pem"\n')
    path = place.home / "gateway.toml"
    path.write_text(path.read_text().replace("broken.pem", f"{place.home}/broken.pem"))
    assert pairs(place.findings()) == {("config.invalid", "upstream.tls")}


KEYS = {
    "unlimited": ({"classes": None}, {("keys.unlimited", "web")}, "warning"),
    "ending": ({"not_after": moment(3 * DAY_S)}, {("keys.ending", "web")}, "warning"),
    "ending today": ({"not_after": moment(3600)}, {("keys.ending", "web")}, "error"),
    "over": ({"not_after": "2020-01-01T00:00:00Z"}, {("keys.over", "web")}, "warning"),
    "endless": ({"not_after": None}, {("keys.endless", "web")}, "note"),
    "short": ({"max_lifetime": '"5m"'}, {("keys.short-lifetime", "web")}, "warning"),
    "literal": (
        {"secret": '"{web}"'},
        {("config.literal-secret", "{keys}")},
        "warning",
    ),
}


@pytest.mark.parametrize(("changes", "expected", "severity"), KEYS.values(), ids=KEYS.keys())
def test_what_a_key_lacks_is_found(
    place: Place, changes: dict[str, str | None], expected: set[tuple[str, str]], severity: str
) -> None:
    given = {name: value and value.format(**place.secrets) for name, value in changes.items()}
    place.keys("keys.toml", **given)
    found = place.findings(*OFFLINE)
    keys = f"{place.home}/keys.toml"
    assert pairs(found) == {(rule, subject.format(keys=keys)) for rule, subject in expected}
    assert found[0]["severity"] == severity
    assert found[0]["file"] == keys


def test_a_key_file_that_others_may_read_is_found(place: Place) -> None:
    (place.home / "web.secret").chmod(0o644)
    assert ("config.readable-secret", f"{place.home}/web.secret") in pairs(place.findings(*OFFLINE))


def test_the_line_of_a_key_is_that_of_its_table(place: Place) -> None:
    second = '[[key]]\nkid = "old"\nalg = "hmac-sha256"\nclasses = ["task"]\n'
    second += f'secret = "file:{place.home}/other.secret"\nnot_after = 2020-01-01T00:00:00Z\n'
    file = place.home / "keys.toml"
    file.write_text(file.read_text() + second)
    found = place.findings(*OFFLINE)
    assert pairs(found) == {("keys.over", "old")}
    assert found[0]["key"] == "key[1].not_after"
    assert file.read_text().splitlines()[found[0]["line"] - 1].startswith("not_after = 2020")


AGREEMENT = {
    "agree": ({}, {}, set()),
    "deployment": ({}, {"more": 'deployment = "staging"\n'}, {("keys.deployment-differs", "deployment")}),
    "unknown kid": ({"kid": '"web2"'}, {}, {("keys.kid-unknown", "web")}),
    "another secret": ({"secret": '"file:{home}/other.secret"'}, {}, {("keys.material-differs", "web")}),
    "revoked": ({"state": '"revoked"'}, {}, {("keys.kid-unusable", "web")}),
    "verify only": ({"state": '"verify"'}, {}, set()),
}


@pytest.mark.parametrize(("keys", "side", "expected"), AGREEMENT.values(), ids=AGREEMENT.keys())
def test_signer_and_gateway_are_held_against_each_other(
    place: Place, keys: dict[str, str], side: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    place.keys("keys.toml", **{name: value.format(home=place.home) for name, value in keys.items()})
    path = place.home / "sidecar.toml"
    path.write_text(side.get("more", "") + path.read_text())
    found = place.findings("--against", place.home / "gateway.toml", *OFFLINE, name="sidecar.toml")
    assert pairs(found) == expected
    other_way_round = place.findings("--against", path, *OFFLINE)
    assert expected <= pairs(other_way_round)


def test_signer_is_known_by_the_beginning_of_its_name(place: Place) -> None:
    place.sidecar(('sign_with = "web"', 'sign_with = "we*"'))
    found = place.findings("--against", place.home / "gateway.toml", *OFFLINE, name="sidecar.toml")
    assert pairs(found) == set()


def test_a_worker_that_verifies_is_held_against_who_signs_for_it(place: Place) -> None:
    """Its gateway's countersignature, too, where deliveries must carry that."""
    more = '[quarantine]\nenabled = false\n[deliver]\naction = "verify"\nrequire = "both"\n'
    more += 'countersigned_by = ["gw"]\n'
    (place.home / "worker.toml").write_text(place.sidecar(more=more).read_text())
    place.sidecar()
    key = f'[[key]]\nkid = "gw"\nalg = "hmac-sha256"\nsecret = "file:{place.home}/other.secret"\n'
    key += f'classes = ["task"]\nnot_after = {moment(60 * DAY_S)}\n'
    for name in ("keys.toml", "side.toml"):
        file = place.home / name
        file.write_text(file.read_text() + key)
    worker = ("--against", place.home / "worker.toml", *OFFLINE)
    assert pairs(place.findings(*worker, name="sidecar.toml")) == set()
    assert pairs(place.findings(*worker)) == {("keys.countersigner", "deliver.countersigned_by")}
    place.gateway(('[publish]\naction = "verify"', '[publish]\naction = "verify"\ncountersign_with = "gw"'))
    assert pairs(place.findings(*worker)) == set()
    file = place.home / "keys.toml"
    file.write_text(file.read_text().replace("other.secret", "web.secret"))
    found = pairs(place.findings(*worker, "--ignore", "keys.same-secret"))
    assert found == {("keys.material-differs", "gw")}


def test_the_other_side_must_be_usable(place: Place) -> None:
    place.gateway(('"verify"', '"verfy"'))
    arguments = ("--config", place.home / "sidecar.toml", "--against", place.home / "gateway.toml", *OFFLINE)
    assert doctor(*arguments).exit_code == 78


def test_no_secret_is_repeated(place: Place) -> None:
    place.keys("keys.toml", secret=f'"{place.secrets["web"]}"')
    place.gateway(("redis://127", "redis://:Zk29x@127"), ("file:{home}/password", "Rq7broker"))
    for form in ("text", "json", "sarif"):
        result = doctor("--config", place.home / "gateway.toml", "--format", form, *OFFLINE)
        assert result.exit_code == 1
        for secret in ("Zk29x", "Rq7broker", place.secrets["web"]):
            assert secret not in result.output
