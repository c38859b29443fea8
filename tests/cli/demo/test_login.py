from __future__ import annotations

import pytest

from sealgate.cli.demo.login import Login


@pytest.mark.parametrize(
    ("url", "through"),
    [
        ("amqp://broker", "amqp://guest:guest@127.0.0.1:99/%2F"),
        ("amqp://broker:5672/", "amqp://guest:guest@127.0.0.1:99/%2F"),
        ("amqp://u:p%40ss@broker/%2F", "amqp://u:p%40ss@127.0.0.1:99/%2F"),
        ("amqps://u:p@[::1]:5671/shop", "amqp://u:p@127.0.0.1:99/shop"),
    ],
)
def test_login_goes_through_a_local_port(url: str, through: str) -> None:
    assert Login.of(url).through(99) == through


def test_password_is_not_shown() -> None:
    assert Login.of("amqp://u:secret@broker:5672/shop").where == "amqp://broker:5672/shop"
