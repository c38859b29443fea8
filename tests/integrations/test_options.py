"""What in-process signing is told, and what it makes of nonsense."""

from __future__ import annotations

import pytest

from sealgate.integrations.options import VARIABLES, Options, OptionsError, read_options


def test_nothing_said_is_the_gateways_own_defaults() -> None:
    assert read_options(None, {}) == Options(
        *("env:SEALGATE_KEYS", None, "prod", False, "producer", (), "enforce", 30, ())
    )


def test_environment_is_that_of_the_sidecar() -> None:
    environ = {
        "SEALGATE__KEYS__SOURCE": "file:/etc/keys.toml",
        "SEALGATE__PUBLISH__SIGN_WITH": "web1",
        "SEALGATE__DEPLOYMENT": "staging",
        "SEALGATE__DELIVER__ACTION": "verify",
        "SEALGATE__DELIVER__REQUIRE": "both",
        "SEALGATE__DELIVER__COUNTERSIGNED_BY": '["gw1", "gw2"]',
        "SEALGATE__MODE__DEFAULT": "observe",
        "SEALGATE__REPLAY__CLOCK_SKEW": "5s",
        "SEALGATE__UPSTREAM__URLS": "amqp://not-ours",
    }
    assert read_options({}, environ) == Options(
        "file:/etc/keys.toml", "web1", "staging", True, "both", ("gw1", "gw2"), "observe", 5, ()
    )
    assert set(VARIABLES.values()) == set(environ) - {"SEALGATE__UPSTREAM__URLS"}


def test_what_is_given_goes_before_the_environment() -> None:
    options = read_options(
        {"deployment": "prod", "verify": False, "queues": {"dead": "dead_letter"}},
        {"SEALGATE__DEPLOYMENT": "staging", "SEALGATE__DELIVER__ACTION": "verify"},
    )
    assert (options.deployment, options.verify) == ("prod", False)
    assert (options.target_of("dead"), options.target_of("other")) == ("dead_letter", "strict")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"key": "env:K"}, "key: is not known; did you mean keys?"),
        ({"keys": "sgk_h_secret"}, "keys: want env:NAME, file:/path or cred:NAME"),
        ({"keys": "file:"}, "keys: want"),
        ({"keys": 7}, "keys: want"),
        ({"sign_with": "a kid"}, "sign_with: want a kid"),
        ({"sign_with": "web*-1"}, "sign_with: want a kid"),
        ({"sign_with": "w" * 64 + "*"}, "sign_with: want a kid"),
        ({"deployment": ""}, "deployment: want"),
        ({"deployment": "é" * 128}, "deployment: want"),
        ({"verify": "yes"}, "verify: want"),
        ({"mode": "off"}, "mode: want"),
        ({"require": "someone"}, "require: want"),
        ({"require": "gateway"}, "countersigned_by: which"),
        ({"countersigned_by": ["a kid"]}, "countersigned_by: want"),
        ({"countersigned_by": 7}, "countersigned_by: want"),
        ({"clock_skew": "soon"}, "clock_skew: want"),
        ({"clock_skew": -1}, "clock_skew: want"),
        ({"clock_skew": True}, "clock_skew: want"),
        ({"queues": ["celery"]}, "queues: want"),
        ({"queues": {"celery": "lenient"}}, "queues: celery: want"),
    ],
)
def test_wrong_option_is_told_by_its_name(given: dict[str, object], told: str) -> None:
    with pytest.raises(OptionsError) as caught:
        read_options(given, {})
    assert told in str(caught.value)
    assert "sgk_h_secret" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(OptionsError) as caught:
        read_options({"mode": "off"}, {"SEALGATE__DELIVER__ACTION": "maybe"})
    assert "mode: " in str(caught.value)
    assert "SEALGATE__DELIVER__ACTION: " in str(caught.value)
