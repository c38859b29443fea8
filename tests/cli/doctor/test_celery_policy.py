"""A Celery application held against its gateway's configuration, and against the keys it signs with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.doctor_apps import doctor, findings_of, pairs, write_app
from support.doctor_configs import Place

SIGNING = {"confirm_publish": True, "sealgate": {"keys": "file:{home}/side.toml", "verify": True}}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def signing(place: Place, **changes: object) -> dict[str, object]:
    """Settings of an application that signs by itself, straight to a gateway on another port."""
    options = {"keys": f"file:{place.home}/side.toml", "verify": True, **changes}
    return {
        "broker_url": "amqp://shop:Wj3kq@127.0.0.1:5679//",
        "broker_transport": "sealgate.celery:Transport",
        "broker_transport_options": {"confirm_publish": True, "sealgate": options},
    }


def test_what_the_gateway_would_refuse_is_found(place: Place) -> None:
    write_app(
        place.home,
        {
            "task_serializer": "msgpack",
            "accept_content": ["json", "msgpack"],
            "task_compression": "bzip2",
            "task_protocol": 1,
        },
    )
    found = findings_of(place.home, "--policy", place.home / "gateway.toml")
    assert pairs(found) == {
        ("celery.gateway-type", "task_serializer"),
        ("celery.gateway-compression", "task_compression"),
        ("celery.gateway-protocol", "task_protocol"),
        ("celery.protocol-1", "task_protocol"),
    }
    content = '[content]\ntypes = ["application/json", "application/x-msgpack"]\n'
    content += 'compression = ["application/x-bz2"]\n[celery]\nprotocol_1 = true\n'
    place.gateway(more=content)
    found = findings_of(place.home, "--policy", place.home / "gateway.toml")
    assert pairs(found) == {("celery.protocol-1", "task_protocol")}


def test_rates_of_the_gateway_do_for_those_of_the_workers(place: Place) -> None:
    write_app(place.home, {"task_default_rate_limit": None})
    lacking = {("celery.no-rate-limit", "task_default_rate_limit")}
    assert pairs(findings_of(place.home)) == lacking
    assert pairs(findings_of(place.home, "--policy", place.home / "gateway.toml")) == set()
    place.gateway(('"*" =', '"shop.*" ='))
    assert pairs(findings_of(place.home, "--policy", place.home / "gateway.toml")) == lacking


def test_an_application_that_signs_by_itself_lacks_nothing(place: Place) -> None:
    write_app(place.home, signing(place))
    assert pairs(findings_of(place.home, "--policy", place.home / "gateway.toml")) == set()


@pytest.mark.parametrize(
    ("options", "keys", "expected"),
    [
        ({"verify": False}, {}, {("celery.not-verifying", "verify")}),
        ({"sign_width": "web"}, {}, {("celery.signing", "options")}),
        ({"sign_with": "other"}, {}, {("celery.signing", "sign_with")}),
        ({"keys": "file:/nowhere/keys.toml"}, {}, {("celery.signing", "keys")}),
        ({"deployment": "staging"}, {}, {("keys.deployment-differs", "deployment")}),
        ({}, {"kid": '"web2"'}, {("keys.kid-unknown", "web")}),
        ({}, {"state": '"revoked"'}, {("keys.kid-unusable", "web")}),
    ],
)
def test_keys_of_both_sides_are_held_against_each_other(
    place: Place, options: dict[str, object], keys: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    place.keys("keys.toml", **keys)
    write_app(place.home, signing(place, **options))
    assert pairs(findings_of(place.home, "--policy", place.home / "gateway.toml")) == expected


def test_keys_that_are_not_here_are_told_as_not_looked_at(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(os.environ, "SHOP_KEYS", raising=False)
    write_app(place.home, signing(place, keys="env:SHOP_KEYS"))
    result = doctor("celery", "-A", "shop", "--workdir", place.home)
    assert result.exit_code == 0
    assert "not looked at: the keys it signs with (env:SHOP_KEYS is not set here)" in result.stdout


def test_a_policy_that_can_not_be_used_exits_with_78(place: Place) -> None:
    write_app(place.home)
    place.gateway(('"verify"', '"verfy"'))
    arguments = ("-A", "shop", "--workdir", place.home, "--policy", place.home / "gateway.toml")
    assert doctor("celery", *arguments).exit_code == 78
