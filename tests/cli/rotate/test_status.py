"""`keys rotate status`: the table, the reasons, what is not known, and what a script gets."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from sealgate.signing.material import generate_hmac
from support.processes import free_port
from support.rotating import GatewayOf, Keys, Rotate, a_key

HOUR = 3600


def rows(output: str) -> dict[str, list[str]]:
    lines = output[: output.index("\n\n")].splitlines()
    return {cells[0]: cells for cells in [[cell for cell in line.split("  ") if cell] for line in lines]}


def as_json(output: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(output)
    return answer


def test_file_alone_says_state_and_age_and_what_is_not_known(keys: Keys, rotate: Rotate) -> None:
    rotate("begin", keys.path, "--kid", "web1-a")
    keys.age(web1_b=90)
    told = rotate("status", keys.path)
    assert told.exit_code == 0
    found = [[cell.strip() for cell in row] for row in rows(told.stdout).values()]
    assert found == [
        ["KEY", "STATE", "SINCE", "AGE", "ENDS IN", "LAST USED", "BY", "LAST HOUR", "IN FLIGHT", "RETIRE"],
        ["web1-a", "active", "-", "-", "-", "?", "?", "?", "?", "no"],
        ["web1-b", "verify", found[2][2], found[2][3], "-", "?", "?", "?", "?", "no"],
        ["worker", "active", "-", "-", "-", "?", "?", "?", "?", "no"],
    ]
    assert found[2][2].startswith("1m") and found[2][3] == found[2][2]
    assert "No gateway was asked" in told.stderr
    assert "web1-a -> web1-b: begun 1m" in told.stdout
    assert "next: promote web1-b, but not yet" in told.stdout


def test_gateways_say_who_uses_a_key_and_whether_it_may_go(
    keys: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    now = time.time()
    rotate("begin", keys.path, "--kid", "web1-a")
    rotate("promote", keys.path, "--kid", "web1-b", "--force")
    keys.age(web1_a=2 * HOUR)
    one = gateway_of(
        a_key("web1-a", "verify", last_used=now - 7200, expires_latest=now - 3600, users=["web"]),
        a_key("web1-b", messages_last_hour=30, last_used=now - 5, expires_latest=now + 1800, users=["web"]),
        a_key("worker", max_lifetime_s=604800),
    )
    two = gateway_of(
        a_key("web1-a", "verify", last_used=now - 7300, expires_latest=now - 3700, users=["admin", "web"]),
        a_key("web1-b", messages_last_hour=12, last_used=now - 9, expires_latest=now + 1700, users_more=True),
        a_key("worker"),
    )
    told = rotate("status", keys.path, *one.gateway, *two.gateway)
    assert told.exit_code == 0
    found = {kid: [cell.strip() for cell in row] for kid, row in rows(told.stdout).items()}
    assert found["web1-a"][5:] == ["2h ago", "admin, web", "0", "over", "yes"]
    assert (found["web1-b"][6:8], found["web1-b"][9]) == (["web, ...", "42"], "no")
    assert found["web1-b"][8].startswith("30m")
    assert found["worker"][5:8] == ["never seen", "-", "0"]
    assert "web1-a: safe to retire" in told.stdout
    assert "web1-b: not safe to retire, because" in told.stdout
    assert "next: retire web1-a\n" in told.stdout
    answer = as_json(rotate("status", keys.path, "--json", *one.gateway, *two.gateway).stdout)
    assert [gateway["answered"] for gateway in answer["gateways"]] == [True, True]
    by_kid = {key["kid"]: key for key in answer["keys"]}
    assert (by_kid["web1-a"]["safe_to_retire"], by_kid["web1-a"]["because"]) == (True, [])
    assert by_kid["web1-a"]["users"] == ["admin", "web"]
    assert abs(by_kid["web1-a"]["last_used"] - (now - 7200)) < 2
    assert by_kid["web1-b"]["messages_last_hour"] == 42
    assert by_kid["web1-b"]["safe_to_retire"] is False
    assert by_kid["web1-a"]["successor"] == "web1-b"


def test_gateways_that_can_not_be_asked_are_told_and_status_goes_on(
    keys: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    down = f"127.0.0.1:{free_port()}"
    old, broken = gateway_of(status=404), gateway_of(a_key("web1-a"), failing_since=time.time() - 61)
    told = rotate("status", keys.path, "--gateway", down, *old.gateway, *broken.gateway)
    assert told.exit_code == 0
    assert f"warning: {down}/keys" in told.stderr
    assert "HTTP status 404" in told.stderr
    assert f"{broken.address} can not read its keys, for 1m" in told.stderr
    answer = as_json(rotate("status", keys.path, "--json", "--gateway", down).stdout)
    assert answer["gateways"][0]["answered"] is False
    assert answer["keys"][0]["messages_last_hour"] is None


def test_moments_of_a_gateway_are_told_by_our_clock(
    keys: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    now = time.time()
    gateway = gateway_of(a_key("web1-a", last_used=now + HOUR - 60), at=now + HOUR)
    answer = as_json(rotate("status", keys.path, "--json", *gateway.gateway).stdout)
    assert abs(answer["keys"][0]["last_used"] - (now - 60)) < 5
    assert abs(answer["gateways"][0]["clock_ahead_s"] - HOUR) < 5


def test_check_fails_near_the_end_of_a_key(keys: Keys, rotate: Rotate) -> None:
    assert rotate("status", keys.path, "--check").exit_code == 0
    for days, code in ((15, 0), (13, 1), (-1, 1)):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86400))
        keys.write(f'[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "env:K1"\nnot_after = {moment}\n')
        told = rotate("status", keys.path, "--check")
        assert (told.exit_code, "begin a rotation" in told.stderr) == (code, bool(code))
        assert rotate("status", keys.path).exit_code == 0
        answer = as_json(rotate("status", keys.path, "--json").stdout)
        assert answer["keys"][0]["near_end"] is bool(code)


def test_source_of_a_configuration_and_other_references(keys: Keys, rotate: Rotate) -> None:
    config = keys.path.with_name("gateway.toml")
    config.write_text(
        '[upstream]\nurls = ["amqp://127.0.0.1"]\n[admin]\nenabled = false\n'
        f'[keys]\nsource = "file:{keys.path}"\n'
    )
    answer = as_json(rotate("status", "--config", config, "--json").stdout)
    assert [key["kid"] for key in answer["keys"]] == ["web1-a", "worker"]
    secret = generate_hmac(os.urandom(32))
    told = rotate("status", "env:RING", "--json", RING=f"k1={secret}")
    assert [key["kid"] for key in as_json(told.stdout)["keys"]] == ["k1"]
    assert secret not in told.output
    assert rotate("status").exit_code == 64


@pytest.mark.parametrize("name", ["none.toml", "env:NONE"])
def test_keys_that_can_not_be_read(rotate: Rotate, name: str) -> None:
    assert rotate("status", name).exit_code == 78
