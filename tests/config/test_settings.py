from __future__ import annotations

import pytest
from pydantic import ValidationError

from sealgate.config.fields import Address
from sealgate.config.settings import Content, Listen, Settings


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert settings.listen.address == Address("127.0.0.1", 6672)
    assert settings.admin.address == Address("127.0.0.1", 9672)
    assert (settings.publish.action, settings.deliver.action) == ("verify", "pass")
    assert (settings.replay.store, settings.replay.max_age, settings.replay.clock_skew) == (
        "memory",
        300.0,
        30.0,
    )
    assert settings.content.types == ("application/json",)
    assert settings.content.body_bytes_max == 4 * 1024 * 1024
    assert settings.mode.default == "enforce"
    assert settings.refuse.over_rate == "delay"
    assert settings.keys.source == "env:SEALGATE_KEYS"
    assert (settings.limits.channel_max, settings.limits.frame_bytes_max) == (2047, 131_072)
    assert (settings.limits.handshake_s, settings.limits.message_s) == (10.0, 30.0)


TLS = {"cert": "a", "key": "b"}


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ({}, "127.0.0.1:6672"),
        ({"tls": TLS}, "127.0.0.1:6671"),
        ({"address": "0.0.0.0"}, "0.0.0.0:6672"),
        ({"address": "0.0.0.0", "tls": TLS}, "0.0.0.0:6671"),
        ({"address": "[::]", "tls": TLS}, "[::]:6671"),
        ({"address": "[::]:5671", "tls": TLS}, "[::]:5671"),
        ({"address": "gate:5672", "tls": TLS}, "gate:5672"),
    ],
)
def test_port_defaults_to_6672_and_with_tls_to_6671(listen: dict[str, object], address: str) -> None:
    assert str(Listen.model_validate(listen).address) == address


def test_settings_do_not_change_after_loading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().deployment = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "*", "application/json", "application/json; charset=utf-8", "x/y;z"])
def test_content_types_are_taken_with_their_parameters(name: str) -> None:
    assert Content.model_validate({"types": [name]}).types == (name,)


@pytest.mark.parametrize(
    "name", ["json", "a/b/c", "application/json\n", " application/json", "a/b;\x00", "x" * 200]
)
def test_what_is_no_content_type_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="must be a content type"):
        Content.model_validate({"types": [name]})
