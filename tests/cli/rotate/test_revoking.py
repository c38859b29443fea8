"""`keys rotate revoke`: at once in the files, and told of every gateway."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler

from support.http_stand_in import saying, stand_in
from support.processes import free_port
from support.rotating import GatewayOf, Keys, Rotate, a_key, an_answer


def test_key_is_revoked_at_once_and_again_changes_nothing(keys: Keys, rotate: Rotate) -> None:
    done = rotate("revoke", "web1-a", keys.path)
    assert done.exit_code == 0
    assert keys.states() == {"web1-a": "revoked", "worker": "active"}
    assert abs(keys.tables()["web1-a"]["state_since"].timestamp() - time.time()) < 60
    assert "keys rotate begin" in done.stderr
    before = keys.text()
    again = rotate("revoke", "web1-a", keys.path)
    assert (again.exit_code, "revoked already" in again.stdout) == (0, True)
    assert keys.text() == before


def test_wrong_key_is_told(keys: Keys, rotate: Rotate) -> None:
    before = keys.text()
    refused = rotate("revoke", "web1-z", keys.path)
    assert (refused.exit_code, "keys: web1-a, worker" in refused.stderr) == (64, True)
    assert keys.text() == before


def test_successor_that_does_not_sign_yet_is_told(keys: Keys, rotate: Rotate) -> None:
    rotate("begin", keys.path, "--kid", "web1-a")
    assert "promote" in rotate("revoke", "web1-a", keys.path).stderr
    assert rotate("promote", keys.path, "--kid", "web1-b", "--force").exit_code == 0
    assert keys.states() == {"web1-a": "revoked", "web1-b": "active", "worker": "active"}


def test_revoked_key_can_have_a_successor(keys: Keys, rotate: Rotate) -> None:
    rotate("revoke", "web1-a", keys.path)
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    assert rotate("promote", keys.path, "--kid", "web1-b", "--force").exit_code == 0
    assert keys.states()["web1-a"] == "revoked"
    # It is out of the way of the next rotation, too.
    assert rotate("begin", keys.path, "--kid", "web1-b").exit_code == 0


def test_it_waits_until_the_gateways_have_it_in_force(
    keys: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    asked = threading.Semaphore(0)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        """In force from the third question on."""
        state = "revoked" if asked._value >= 2 else "active"
        asked.release()
        saying(an_answer(a_key("web1-a", state)))(handler)

    gone = gateway_of(a_key("worker"))
    with stand_in(answer) as url:
        done = rotate("revoke", "web1-a", keys.path, "--gateway", url, *gone.gateway)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("web1-a is revoked there") == 2
    assert asked._value == 3 and gone.asked == 1


def test_gateways_that_still_take_the_key_are_told(keys: Keys, rotate: Rotate, gateway_of: GatewayOf) -> None:
    still = gateway_of(a_key("web1-a"), failing_since=time.time() - 60)
    down = f"127.0.0.1:{free_port()}"
    told = rotate("revoke", "web1-a", keys.path, *still.gateway, "--gateway", down, "--wait", "1s")
    assert told.exit_code == 69
    assert f"{still.address}: web1-a IS STILL IN FORCE there, in state active" in told.stderr
    assert "have not been readable for 1m" in told.stderr
    assert f"{down}: NOT KNOWN" in told.stderr
    assert keys.states()["web1-a"] == "revoked"
