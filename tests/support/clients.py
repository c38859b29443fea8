"""Client libraries as their users use them, to compare what they make of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aio_pika
import amqp
import pika


def name_of(attempt: Callable[[], Any]) -> str:
    """The class of what an attempt raises, or ok."""
    try:
        attempt()
    except Exception as error:
        return type(error).__name__
    return "ok"


def pika_login(port: int, user: str, password: str) -> None:
    credentials = pika.PlainCredentials(user, password)
    parameters = pika.ConnectionParameters("127.0.0.1", port, credentials=credentials)
    pika.BlockingConnection(parameters).close()


def amqp_login(port: int, user: str, password: str) -> None:
    """py-amqp, as Celery and kombu use it."""
    connection = amqp.Connection(f"127.0.0.1:{port}", user, password)
    try:
        connection.connect()
    finally:
        connection.collect()


def aio_pika_login(port: int, user: str, password: str) -> None:
    async def log_in() -> None:
        connection = await aio_pika.connect(host="127.0.0.1", port=port, login=user, password=password)
        await connection.close()

    asyncio.run(log_in())


LOG_INS = (pika_login, amqp_login, aio_pika_login)
