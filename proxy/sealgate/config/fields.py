"""The kinds of values a setting can have: parsed, checked, and described for the JSON Schema.

Validators raise `ValueError` with a message that says what is wanted. Messages about URLs and secret
references never repeat the value: it may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from sealgate.verify.rates import limits_of

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", re.ASCII)
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MEDIA_WORD: Final = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
#: Parameters are part of the text that is compared, so they are taken as they are.
_MEDIA_TYPE: Final = re.compile(rf"{_MEDIA_WORD}/{_MEDIA_WORD}( ?;[ -~]{{1,50}})?", re.ASCII)
#: A file name without a path, as systemd takes it.
_CREDENTIAL: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@:-]{1,255}", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9_-]{1,63}"
_SERVER_NAME: Final = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)
#: What this version can decompress, within `content.inflated_bytes_max`.
COMPRESSIONS: Final = ("application/x-gzip", "application/x-bz2", "application/x-lzma", "application/zstd")
#: Schemes of secret references; the last two are stores on the network.
LOCAL_SCHEMES: Final = ("env", "file", "cred")
REMOTE_SCHEMES: Final = ("vault", "aws")
REFERENCE_SCHEMES: Final = (*LOCAL_SCHEMES, *REMOTE_SCHEMES)
#: What follows `vault:`, with the path as Vault's API has it: no query, no empty part, no way up.
VAULT_LOCATOR: Final = re.compile(
    r"(?!.*//)(?!/)(?!(?:.*/)?\.{1,2}(?:/|#|$))"
    r"(?P<mount>[!-~]{1,255}?)/data/(?P<path>[!-~]{1,255}?)(?:#(?P<field>[ -~]{1,255}))?",
    re.ASCII,
)
AMQP_PORT: Final = 6672
AMQPS_PORT: Final = 6671

#: What follows `aws:`, in the letters that AWS takes for names, ARNs and stages.
AWS_LOCATOR: Final = re.compile(
    r"(?P<name>[A-Za-z0-9/_+=.@-]{1,512}|arn:[a-z0-9-]{1,32}:secretsmanager:[a-z0-9-]{1,32}:[0-9]{12}:secret:"
    r"[A-Za-z0-9/_+=.@-]{1,512})"
    r"(?:\?stage=(?P<stage>[A-Za-z0-9_+=.@-]{1,256}))?(?:#(?P<field>[ -~]{1,255}))?",
    re.ASCII,
)


class Address(NamedTuple):
    """Where to listen. `host` is without brackets; `str()` gives the form the file has."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(value: object) -> float:
    """Seconds from `"250ms"`, `"30s"`, `"5m"`, `"24h"` or `"7d"`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a duration with its unit, such as "30s", "5m", "24h" or "7d"')
    return float(match[1]) * _UNIT_S[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as `seconds`."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    whole = int(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def parse_address(value: object) -> Address:
    """`host:port`, `[::1]:port`. Port 0 lets the system choose."""
    wanted = 'must be "host:port" or "[ipv6]:port"'
    if not isinstance(value, str):
        raise ValueError(wanted)
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("has brackets around something that is no IPv6 address")
    elif ":" in host:
        raise ValueError('must have brackets around an IPv6 address, as in "[::1]:6672"')
    if not colon or not host or any(c.isspace() or c in "[]/@" for c in host):
        raise ValueError(wanted)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{wanted} with a port from 0 to 65535")
    return Address(host, int(port))


def has_port(address: str) -> bool:
    """Whether `address` names a port, so that `[::1]` and `localhost` can be given the default one."""
    return address.count(":") == 1 or "]:" in address


def split_url(value: str) -> SplitResult:
    """`value` as a URL whose port is a number. The message never repeats it."""
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        raise ValueError("is no URL (host or port cannot be read)") from None
    if not url.hostname:
        raise ValueError("has no host: write scheme://host:port")
    return url


def is_reference(value: str) -> bool:
    """Whether `value` names a secret kept elsewhere instead of being one."""
    return value.partition(":")[0] in REFERENCE_SCHEMES


def is_remote(value: str) -> bool:
    """Whether `value` names a secret in a store on the network."""
    return value.partition(":")[0] in REMOTE_SCHEMES


def check_reference(value: str) -> str:
    """Refuse references that name nothing."""
    scheme, _, rest = value.partition(":")
    if scheme == "vault" and (not VAULT_LOCATOR.fullmatch(rest) or "?" in rest.partition("#")[0]):
        raise ValueError("vault: must be followed by MOUNT/data/PATH#FIELD (KV version 2)")
    if scheme == "aws" and not AWS_LOCATOR.fullmatch(rest):
        raise ValueError("aws: must be followed by NAME?stage=STAGE#FIELD, the last two as wanted")
    if scheme == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest, re.ASCII):
        raise ValueError("env: must be followed by the name of an environment variable")
    if scheme == "cred" and not _CREDENTIAL.fullmatch(rest):
        raise ValueError("cred: must be followed by the name of a systemd credential")
    if scheme == "file" and not rest:
        raise ValueError("file: must be followed by a path")
    return value


def _check_amqp_url(value: str) -> str:
    url = split_url(value)
    if url.scheme not in ("amqp", "amqps"):
        raise ValueError("must be an amqp:// or amqps:// URL")
    if url.query or url.fragment:
        raise ValueError("takes no ?query or #fragment here")
    return value


def _check_upstream_url(value: str) -> str:
    url = split_url(_check_amqp_url(value))
    if url.path.count("/") > 1:
        raise ValueError("has a path with more than one /: a slash in a virtual host is written %2F")
    return value


def _check_store(value: str) -> str:
    if value == "memory":
        return value
    scheme = value.partition(":")[0]
    if scheme in ("redis+cluster", "redis+sentinel", "rediss+cluster", "rediss+sentinel"):
        raise ValueError(f"{scheme}:// is not in this version; use memory, redis:// or rediss://")
    if scheme not in ("redis", "rediss"):
        raise ValueError('must be "memory", "redis://host:port/db" or "rediss://host:port/db"')
    url = split_url(value)
    if url.path.strip("/") and not url.path.strip("/").isdigit():
        raise ValueError("must end in a database number, as in redis://host:6379/0")
    return value


def _check_key_source(value: str) -> str:
    if not is_reference(value):
        raise ValueError(
            "must be env:NAME or file:/path, or another reference (the keys are a TOML text of their own)"
        )
    return check_reference(value)


def _check_user_source(value: str) -> str:
    if not is_reference(value):
        raise ValueError("must be file:/path or env:NAME (the users are a TOML text of their own)")
    return check_reference(value)


def _check_secret(value: str) -> str:
    return check_reference(value) if is_reference(value) else value


def _check_local_secret(value: str) -> str:
    if is_remote(value):
        raise ValueError("must be env:NAME, file:/path or cred:NAME: it is what opens the store")
    return _check_secret(value)


def _check_http_url(value: str) -> str:
    url = split_url(value)
    if url.scheme not in ("http", "https"):
        raise ValueError("must be an https:// or http:// URL")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("takes no user, ?query or #fragment")
    return value


def _check_server_name(value: str) -> str:
    if len(value) > 253 or not _SERVER_NAME.fullmatch(value):
        raise ValueError('must be a host name, or "*." and what follows, such as "*.example.com"')
    return value


def _check_some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("is empty")
    return values


def _check_network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError('must be a network such as "10.0.0.0/8" or "fd00::/8", or an address') from None
    return value


def _check_media_type(value: str) -> str:
    if value not in ("", "*") and not _MEDIA_TYPE.fullmatch(value):
        raise ValueError('must be a content type such as "application/json", or "" for none')
    return value


def _check_compression(value: str) -> str:
    if value not in COMPRESSIONS:
        raise ValueError(f"must be one of {', '.join(COMPRESSIONS)}")
    return value


def _check_rate(value: object) -> object:
    limits_of(value)
    return value


def _check_whole(seconds: float) -> float:
    if seconds != int(seconds):
        raise ValueError("must be whole seconds")
    return seconds


def _no_boolean(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


_DURATION_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}
_LIMIT_SCHEMA: Final = {"type": "string", "examples": ["5/m burst 10 cost 1"]}
_RATE_TABLE_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "limit": {"anyOf": [_LIMIT_SCHEMA, {"type": "array", "items": _LIMIT_SCHEMA, "minItems": 1}]},
        "per": {"type": "string", "pattern": "^(task|key|user|arg:[0-9]{1,3}|(kwarg|header):.+)$"},
        "reserve": {
            "type": "object",
            "properties": {
                "priority": {"type": "integer", "minimum": 1, "maximum": 255},
                "share": {"type": "string", "pattern": "^[0-9]{1,2}%$"},
            },
            "required": ["priority", "share"],
            "additionalProperties": False,
        },
    },
    "required": ["limit"],
    "additionalProperties": False,
}
_RATE_SCHEMA: Final = {
    "anyOf": [
        _LIMIT_SCHEMA,
        _RATE_TABLE_SCHEMA,
        {"type": "array", "items": {"anyOf": [_LIMIT_SCHEMA, _RATE_TABLE_SCHEMA]}, "minItems": 1},
    ]
}
_ADDRESS_SCHEMA: Final = {"type": "string", "examples": ["127.0.0.1:6672", "[::1]:6672"]}

#: Seconds, written with a unit.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]
#: The same, and not 0.
PositiveDuration = Annotated[
    float,
    Field(gt=0),
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]
#: What the signature's integer times are compared with.
WholeSeconds = Annotated[Duration, AfterValidator(_check_whole)]
ListenAddress = Annotated[
    Address,
    BeforeValidator(parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(_ADDRESS_SCHEMA),
]
Count = Annotated[int, Field(ge=1), BeforeValidator(_no_boolean)]
WholeNumber = Annotated[int, Field(ge=0), BeforeValidator(_no_boolean)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
FilePath = Annotated[str, Field(min_length=1)]
Kid = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
#: The same, or the beginning of one and `*`.
SigningKid = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]{1,64}|[A-Za-z0-9_-]{0,63}\*)$")]
Glob = Annotated[str, Field(max_length=255)]
ServerName = Annotated[str, AfterValidator(_check_server_name)]
ServerNames = Annotated[tuple[ServerName, ...], AfterValidator(_check_some)]
Network = Annotated[str, AfterValidator(_check_network)]
MediaType = Annotated[str, AfterValidator(_check_media_type)]
Compression = Annotated[str, AfterValidator(_check_compression)]
#: As it is written: `verify.rates.limits_of` reads it.
Rate = Annotated[Any, AfterValidator(_check_rate), WithJsonSchema(_RATE_SCHEMA)]
KeySource = Annotated[str, AfterValidator(_check_key_source)]
UserSource = Annotated[str, AfterValidator(_check_user_source)]
#: A reference, or the secret itself.
Secret = Annotated[str, Field(min_length=1), AfterValidator(_check_secret)]
#: The same, from this machine.
LocalSecret = Annotated[str, Field(min_length=1), AfterValidator(_check_local_secret)]
HttpUrl = Annotated[str, AfterValidator(_check_http_url)]


UpstreamUrl = Annotated[str, AfterValidator(_check_upstream_url)]
QuarantineUrl = Annotated[str, AfterValidator(_check_amqp_url)]
StoreUrl = Annotated[str, AfterValidator(_check_store)]
