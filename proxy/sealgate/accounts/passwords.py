"""Password hashes: scrypt in a PHC string, `$scrypt$ln=14,r=8,p=5$salt$hash`.

Salt and hash are standard base64 without padding. Parsing is strict: one hash has one text. No message holds
any part of a hash.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Final

from sealgate.signing.algorithms import same_bytes

SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
#: Longer ones are refused when hashed, and are nobody's when a client sends one: AMQP allows 128 KiB.
PASSWORD_BYTES_MAX: Final = 1024

_SALT_BYTES_MIN: Final = 8
_SALT_BYTES_MAX: Final = 64
#: A hash that takes more of a gateway's memory or time than this is a slip, or a way to stop the gateway.
MEMORY_BYTES_MAX: Final = 67_108_864
WORK_MAX: Final = 2**21
_LN_MIN: Final = 10
_LN_MAX: Final = 20
_R_MAX: Final = 32
_P_MAX: Final = 16
#: Below this (ln=14, r=8, p=1, some 40 ms) a stolen file is guessed through too fast: warned about.
WORK_MIN: Final = 2**17
#: What the parameters do not count of the memory that OpenSSL asks for.
_MEMORY_SLACK_BYTES: Final = 1_048_576

_PHC: Final = re.compile(
    r"\$scrypt\$ln=([1-9][0-9]?),r=([1-9][0-9]?),p=([1-9][0-9]?)\$([A-Za-z0-9+/]{1,128})\$([A-Za-z0-9+/]{1,128})",
    re.ASCII,
)


class HashError(ValueError):
    """Why a password hash was refused; the message is safe to print."""


@dataclass(slots=True, frozen=True)
class Cost:
    """scrypt's parameters: 2**`ln` blocks of 128 * `r` bytes, `p` times."""

    ln: int
    r: int
    p: int

    @property
    def memory_bytes(self) -> int:
        return int(128 * self.r * 2**self.ln)

    @property
    def work(self) -> int:
        """What the time it takes is proportional to."""
        return int(2**self.ln * self.r * self.p)


#: 16 MiB and some 0.2 s: of the parameters OWASP recommends those with the least memory but one.
COST_DEFAULT: Final = Cost(14, 8, 5)


@dataclass(slots=True, frozen=True)
class PasswordHash:
    """A parsed hash. Never shows its salt or digest."""

    cost: Cost
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)


def parse_hash(text: str) -> PasswordHash:
    """Raises `HashError`."""
    match = _PHC.fullmatch(text)
    if match is None:
        raise HashError(
            "is no password hash: want $scrypt$ln=..,r=..,p=..$salt$hash as `users hash` prints it"
        )
    cost = Cost(int(match[1]), int(match[2]), int(match[3]))
    _check_cost(cost)
    salt, digest = _decode(match[4]), _decode(match[5])
    if not _SALT_BYTES_MIN <= len(salt) <= _SALT_BYTES_MAX:
        raise HashError(f"has a salt of {len(salt)} bytes; want {_SALT_BYTES_MIN} to {_SALT_BYTES_MAX}")
    if len(digest) != HASH_BYTES:
        raise HashError(f"has a hash of {len(digest)} bytes; want {HASH_BYTES}")
    return PasswordHash(cost, salt, digest)


def hash_password(password: bytes, salt: bytes, cost: Cost = COST_DEFAULT) -> str:
    """The text to keep for `password`. Raises `HashError` for an empty, long or impossible one."""
    if not password:
        raise HashError("an empty password is none")
    if len(password) > PASSWORD_BYTES_MAX:
        raise HashError(f"a password is at most {PASSWORD_BYTES_MAX} bytes")
    if 0 in password:
        raise HashError("a password with a NUL can not be sent")
    _check_cost(cost)
    digest = derive(password, salt, cost)
    return f"$scrypt$ln={cost.ln},r={cost.r},p={cost.p}${_encode(salt)}${_encode(digest)}"


def derive(password: bytes, salt: bytes, cost: Cost) -> bytes:
    """scrypt itself. It lets other threads run."""
    return hashlib.scrypt(
        password,
        salt=salt,
        n=2**cost.ln,
        r=cost.r,
        p=cost.p,
        maxmem=cost.memory_bytes + _MEMORY_SLACK_BYTES,
        dklen=HASH_BYTES,
    )


def is_password(password: bytes, known: PasswordHash) -> bool:
    """Whether `known` is a hash of `password`. Takes the same time whatever the answer is.

    A NUL at the end makes no difference to scrypt, and no password has one.
    """
    return same_bytes(derive(password, known.salt, known.cost), known.digest) and 0 not in password


def _check_cost(cost: Cost) -> None:
    if cost.ln < _LN_MIN:
        raise HashError(f"has ln={cost.ln}, which protects nothing; want {_LN_MIN} or more")
    if cost.ln > _LN_MAX or cost.r > _R_MAX or cost.p > _P_MAX or cost.memory_bytes > MEMORY_BYTES_MAX:
        raise HashError(
            f"has ln={cost.ln},r={cost.r},p={cost.p}; each check may take {MEMORY_BYTES_MAX >> 20} MiB"
        )
    if cost.work > WORK_MAX:
        raise HashError(f"has ln={cost.ln},r={cost.r},p={cost.p}, which takes too long to check")


def _encode(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    """Base64 without padding, in the one text that its bytes have."""
    try:
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise HashError("has a salt or a hash that is no base64") from None
    if _encode(data) != text:
        raise HashError("has a salt or a hash with bits behind its end")
    return data
