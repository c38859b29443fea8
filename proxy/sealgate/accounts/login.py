"""What is asked about a login, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, unique

from sealgate.accounts.users import BrokerLogin


@unique
class LoginResult(Enum):
    """How a login ended; `value` is the metric label. Clients hear less: most refusals look the same."""

    OK = "ok"
    PASSWORD = "password"  # noqa: S105 - a wrong one
    UNKNOWN = "unknown"
    DISABLED = "disabled"
    LOCKED = "locked"
    CERTIFICATE = "certificate"  # EXTERNAL without a certificate that stands for an active user
    MALFORMED = "malformed"  # a mechanism that was not offered, or a response that does not fit it
    LOOPBACK = "loopback"  # a user who may only log in from the broker's own host
    VHOST = "vhost"
    BUSY = "busy"
    BROKER = "broker"  # the broker refused Sealgate's own credentials
    REFUSED = "refused"  # the broker refused the client's, where logins pass through


@dataclass(slots=True, frozen=True)
class Caller:
    """What a client's socket tells about it.

    `certificate` is every name in its verified certificate; `external` whether they stand for a user.
    """

    loopback: bool = False
    certificate: tuple[str, ...] = ()
    external: bool = False


@dataclass(slots=True, frozen=True)
class Attempt:
    """A user's name and password, or for `external` the certificate's names (and a name that was asked for).

    With `secret` an open connection of that user shows its password again (`connection.update-secret`).
    """

    user: str
    password: bytes = field(default=b"", repr=False)
    external: bool = False
    certificate: tuple[str, ...] = ()
    secret: bool = False


@dataclass(slots=True, frozen=True)
class Grant:
    """Who the client is, where it may go, and what its broker connection logs in with."""

    user: str
    vhosts: tuple[str, ...] | None
    broker: BrokerLogin


@dataclass(slots=True, frozen=True)
class Outcome:
    """`grant` is there for OK alone."""

    result: LoginResult
    grant: Grant | None = None


@dataclass(slots=True, frozen=True)
class LoginRecord:
    """A login that was refused, for log and audit. `user` is what the client called itself."""

    result: LoginResult
    user: str
    mechanism: str
    client: str
    detail: str = ""
