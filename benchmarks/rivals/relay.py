"""The relay that one writes first, with aio-pika: from one queue, checked, to another.

The checks are seal1's and the envelope's, with the library that an application would use for them; the nonce
is one SET NX per message. Publishes with confirms, acknowledges what was published.

usage: python relay.py AMQP_URL REDIS_URL FROM_QUEUE TO_QUEUE KID SECRET_HEX
Prints "ready" when it consumes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from redis.asyncio import Redis

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import canonical_properties, signing_input
from sealgate.signing.table import canonical_table
from sealgate.signing.token import parse_token

DEPLOYMENT, VHOST = "bench", "/"
MAX_AGE_S, SKEW_S = 300, 30
PREFETCH = 256


def _octets(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def nonce_of(message: AbstractIncomingMessage, key: HmacSha256, kid: str) -> bytes:
    """The nonce of a message that is right; ValueError for another."""
    seal = message.headers.get("x-seal")
    token = parse_token(seal.encode() if isinstance(seal, str) else b"")
    now = time.time()
    if token.kid != kid or not now - MAX_AGE_S - SKEW_S <= token.created <= now + SKEW_S:
        raise ValueError("kid or time")
    mode, priority = message.delivery_mode, message.priority
    properties = [
        _octets(message.content_type),
        _octets(message.content_encoding),
        None,
        None if mode is None else bytes([mode]),
        None if priority is None else bytes([priority]),
        _octets(message.correlation_id),
        _octets(message.reply_to),
        None,
        _octets(message.message_id),
        None,
        _octets(message.type),
        _octets(message.user_id),
        _octets(message.app_id),
        None,
    ]
    headers = {name: value for name, value in message.headers.items() if name != "x-seal"}
    covered = signing_input(
        key.name,
        DEPLOYMENT,
        VHOST,
        token.prefix,
        hashlib.sha256(canonical_properties(properties)).digest(),
        hashlib.sha256(canonical_table(headers)).digest(),
        len(message.body),
        hashlib.sha256(message.body).digest(),
    )
    if not key.verify(covered, token.signature):
        raise ValueError("signature")
    if (token.target.exchange, token.target.routing_key) != (message.exchange, message.routing_key):
        raise ValueError("target")
    args, kwargs, embed = json.loads(message.body)
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embed, dict)):
        raise ValueError("envelope")
    if not isinstance(headers.get("task"), str) or not isinstance(headers.get("id"), str):
        raise ValueError("envelope")
    return token.nonce


async def main(amqp: str, redis: str, source: str, target: str, kid: str, secret: str) -> None:
    key = HmacSha256(bytes.fromhex(secret))
    used = Redis.from_url(redis, max_connections=PREFETCH)
    connection = await aio_pika.connect(amqp)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.get_queue(source)

    async def relay(message: AbstractIncomingMessage) -> None:
        try:
            nonce = nonce_of(message, key, kid)
        except ValueError:
            await message.reject()
            return
        if not await used.set(b"nonce:" + nonce, b"1", nx=True, ex=MAX_AGE_S + 2 * SKEW_S):
            await message.reject()
            return
        await channel.default_exchange.publish(message, target)
        await message.ack()

    await queue.consume(relay)
    print("ready", flush=True)
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
