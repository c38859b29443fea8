"""The bounds of one session. Each has its unit in its name and its reason beside it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Limits:
    """Defaults follow RabbitMQ's own where it has one."""

    #: From the accepted socket to `open-ok`: RabbitMQ's handshake_timeout.
    handshake_s: float = 10.0
    #: RabbitMQ's default channel_max.
    channel_max: int = 2047
    #: RabbitMQ's default frame_max, and what a client may send before tuning (large OAuth2 tokens).
    frame_bytes_max: int = 131_072
    #: A whole body: larger than any sane task, far below what would hurt the process.
    body_bytes_max: int = 4_194_304
    #: Partly received content on all channels of a connection: four of the largest bodies.
    connection_bytes_max: int = 16_777_216
    #: The same over all connections of the process.
    process_bytes_max: int = 536_870_912
    #: From `basic.publish` to its last body byte: a content deadline; a dribble never idles.
    message_s: float = 30.0
    #: RabbitMQ allows empty body frames; nobody needs many.
    empty_body_frames_max: int = 16
    #: Failed verifications within the window below close the connection: guessing costs reconnects.
    failed_verifications_max: int = 20
    failed_verifications_window_s: float = 10.0
    #: Publications that wait for the store; above it the client is not read.
    claims_inflight_max: int = 1000
    #: Bytes that wait behind them, on top; above it the client is not read.
    held_bytes_max: int = 4_194_304
    #: From a refused login to the end of its connection: RabbitMQ's brake on guessing (measured).
    login_refused_s: float = 3.0
    #: What a peer has to answer our close, or to finish what it was asked.
    close_s: float = 5.0
    #: Leases (10 s) are renewed this often while the broker owes an answer.
    renew_s: float = 3.0
