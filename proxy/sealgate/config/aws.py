"""References to AWS Secrets Manager: `aws:NAME?stage=STAGE#FIELD`, stage and field as wanted.

Behind `keys.source` the stages of one secret are the states of a rotation: AWSCURRENT signs, AWSPENDING and
AWSPREVIOUS verify. boto3, the client library, is imported when the first reference is read. Messages are our
own: those of a server might repeat what they were sent.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sealgate.config.errors import SourceError
from sealgate.config.fields import AWS_LOCATOR
from sealgate.config.remote import ANSWER_BYTES_MAX
from sealgate.config.store_settings import Aws
from sealgate.signing.keyfile import NamedSecret
from sealgate.signing.material import is_material

CURRENT: Final = "AWSCURRENT"
#: What a version may be when it is not the current one: to come, or gone by.
PENDING: Final = "AWSPENDING"
PREVIOUS: Final = "AWSPREVIOUS"
_OTHER_STAGES: Final = (PENDING, PREVIOUS)
#: Of a version's id, in the kid: 32 random bits tell the versions of one secret apart.
_VERSION_CHARACTERS: Final = 8
_NAME_CHARACTERS_MAX: Final = 55
_NOT_IN_A_KID: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
#: Behind the name in an ARN.
_ARN_SUFFIX: Final = re.compile(r"-[A-Za-z0-9]{6}$", re.ASCII)
_MATERIALS: Final = ("secret", "private", "public")
#: One try and one more; the next reading is the third.
_TRIES: Final = 2

_Version = tuple[str, str]


@dataclass(slots=True, frozen=True)
class AwsVersion:
    """A version of a secret; `created` is Unix seconds."""

    version_id: str
    text: str
    created: int | None

    def __repr__(self) -> str:
        return f"AwsVersion({self.version_id!r})"


class AwsStore:
    """One client of Secrets Manager, for the region and the credentials that boto3 finds."""

    def __init__(self, settings: Aws) -> None:
        self._settings: Final = settings
        self._lock: Final = threading.RLock()
        self._client: Any = None
        #: What this reading has fetched already, by name and stage: the version's id and its text.
        self._fetched: Final[dict[tuple[str, str], _Version | None]] = {}
        #: When each of these versions was made, Unix seconds.
        self._created: Final[dict[str, int]] = {}

    def begin(self) -> None:
        with self._lock:
            self._fetched.clear()
            self._created.clear()

    def renew_in(self) -> float:
        """boto3 renews its own credentials."""
        return float("inf")

    def text(self, locator: str) -> str:
        """The secret's text, or a field of the JSON object that it is. Raises `SourceError`."""
        name, stage, field = _split(locator)
        version = self._version(name, stage or CURRENT)
        if version is None:
            raise SourceError(f"aws:{locator}: there is no such secret, or none in this stage")
        text = version[1]
        if field:
            fields = _object(text)
            if fields is None:
                raise SourceError(f"aws:{locator}: the secret is no JSON object")
            if field not in fields:
                raise SourceError(f"aws:{locator}: there is no such field")
            text = _text(fields[field], f"aws:{locator}")
        if not text.strip():
            raise SourceError(f"aws:{locator} is empty")
        return text.strip()

    def secrets(self, locator: str) -> list[NamedSecret] | str:
        """A secret that is one key is one in each stage; any other text holds its own keys."""
        name, stage, field = _split(locator)
        text = self.text(locator)
        if stage or field or not (is_material(text) or _is_key(text)):
            return text
        current = self._version(name, CURRENT)
        assert current is not None  # it has just been read
        keys = {current[0]: _key(name, current, "active")}
        for other in _OTHER_STAGES:
            version = self._version(name, other)
            if version is not None and version[0] not in keys:
                keys[version[0]] = _key(name, version, "verify")
        return list(keys.values())

    def versions(self, locator: str) -> dict[str, AwsVersion]:
        """stage -> what this reading has found in it, of the stages of a rotation. Raises `SourceError`."""
        name, _, _ = _split(locator)
        found = {}
        for stage in (CURRENT, *_OTHER_STAGES):
            version = self._version(name, stage)
            if version is not None:
                found[stage] = AwsVersion(*version, self._created.get(version[0]))
        return found

    def add_pending(self, locator: str, text: str) -> str:
        """Make a version AWSPENDING; its id. Raises `SourceError`."""
        name, _, _ = _split(locator)
        return str(
            self._change(name, "put_secret_value", SecretString=text, VersionStages=[PENDING])["VersionId"]
        )

    def move(self, locator: str, stage: str, source: str, target: str | None = None) -> None:
        """Take `stage` from one version, and give it to another if there is one. Raises `SourceError`.

        AWS refuses it when `stage` is not at `source` any more, and when AWSCURRENT moves, AWSPREVIOUS
        follows by itself.
        """
        name, _, _ = _split(locator)
        options = {"MoveToVersionId": target} if target is not None else {}
        self._change(
            name, "update_secret_version_stage", VersionStage=stage, RemoveFromVersionId=source, **options
        )

    def replace(self, locator: str, old: str, new: str) -> None:
        """Make a version with the text `new` the current one, if that has `old` now. Raises `SourceError`.

        The locator has neither stage nor field. It is AWSPENDING for a moment, and AWS moves AWSCURRENT only
        from the version that was read.
        """
        self.begin()
        changed = SourceError(f"aws:{locator} was changed by somebody else meanwhile", away=True)
        versions = self.versions(locator)
        current, pending = versions.get(CURRENT), versions.get(PENDING)
        if current is None or current.text.strip() != old:
            raise changed
        if pending is not None and pending.version_id != current.version_id:
            raise SourceError(f"aws:{locator}: a version is {PENDING}, of which this is no part")
        made = self.add_pending(locator, new)
        try:
            self.move(locator, CURRENT, current.version_id, made)
        finally:
            self.move(locator, PENDING, made)

    def _change(self, name: str, method: str, **given: Any) -> Any:
        try:
            return getattr(self._made_client(name), method)(SecretId=name, **given)
        except SourceError:
            raise
        except Exception as error:
            raise _told(error, f"aws:{name}", "changed") from None

    def _version(self, name: str, stage: str) -> _Version | None:
        """(version id, text) of what is in `stage`; None where nothing is."""
        with self._lock:
            if (name, stage) not in self._fetched:
                self._fetched[name, stage] = self._fetch(name, stage)
            return self._fetched[name, stage]

    def _fetch(self, name: str, stage: str) -> _Version | None:
        try:
            answer = self._made_client(name).get_secret_value(SecretId=name, VersionStage=stage)
        except SourceError:
            raise
        except Exception as error:
            if _code(error) == "ResourceNotFoundException":
                return None
            raise _told(error, f"aws:{name}") from None
        text = answer.get("SecretString")
        if not isinstance(text, str):
            binary = "SecretBinary" in answer
            raise SourceError(
                f"aws:{name}{' is binary, and no text' if binary else ': the answer has no text'}"
            )
        if len(text) > ANSWER_BYTES_MAX:
            raise SourceError(f"aws:{name} is over {ANSWER_BYTES_MAX} bytes")
        version_id, made = str(answer.get("VersionId", "")), answer.get("CreatedDate")
        if isinstance(made, datetime):
            self._created[version_id] = int(made.timestamp())
        return version_id, text

    def _made_client(self, name: str) -> Any:
        if self._client is None:
            self._client = self._new_client(name)
        return self._client

    def _new_client(self, name: str) -> Any:
        try:
            from boto3.session import Session
            from botocore.config import Config
        except ImportError:
            raise SourceError('aws: references need boto3: pip install "sealgate[aws]"') from None
        settings = self._settings
        region = settings.region or (name.split(":")[3] if name.startswith("arn:") else None)
        limits = Config(
            connect_timeout=settings.timeout,
            read_timeout=settings.timeout,
            retries={"total_max_attempts": _TRIES, "mode": "standard"},
        )
        session = Session(profile_name=settings.profile, region_name=region)
        return session.client("secretsmanager", endpoint_url=settings.endpoint, config=limits)


def _split(locator: str) -> tuple[str, str, str]:
    """(name or ARN, stage, field), empty where there is none."""
    match = AWS_LOCATOR.fullmatch(locator)
    assert match is not None  # `check_reference` took it
    return match["name"], match["stage"] or "", match["field"] or ""


def _object(text: str) -> Mapping[str, object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_key(text: str) -> bool:
    """Whether it is a JSON object with what a `[[key]]` table has."""
    fields = _object(text)
    return fields is not None and any(name in fields for name in _MATERIALS)


def _key(name: str, version: _Version, state: str) -> NamedSecret:
    """The key of one version, called after the secret and the version unless it brings its own kid."""
    version_id, text = version
    named = f"aws:{name}, version {version_id}"
    fields = dict(_object(text) or {})
    found = [fields.pop(part) for part in _MATERIALS if part in fields]
    if "state" in fields:
        raise SourceError(f"{named}: state is told by its stage, and not by the secret")
    if len(found) > 1:
        raise SourceError(f"{named}: want one of {', '.join(_MATERIALS)}")
    material = _text(found[0], named) if found else text.strip()
    kid = fields.pop("kid", None)
    fields.pop("alg", None)  # the material tells it
    if kid is None:
        kid = f"{_base(name)}-{version_id[:_VERSION_CHARACTERS]}"
    return NamedSecret(str(kid), material, {**fields, "state": state})


def _base(name: str) -> str:
    """The last part of a name, in the letters of a kid."""
    if name.startswith("arn:"):
        name = _ARN_SUFFIX.sub("", name)
    last = re.split("[/:]", name)[-1]
    return _NOT_IN_A_KID.sub("-", last)[:_NAME_CHARACTERS_MAX] or "aws"


def _text(value: object, named: str) -> str:
    if not isinstance(value, str):
        kind = "nothing" if value is None else type(value).__name__
        raise SourceError(f"{named} is {kind}, and no text")
    return value.strip()


def _code(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _told(error: Exception, named: str, doing: str = "read") -> SourceError:
    """What went wrong, in our own words."""
    from botocore import exceptions

    code = _code(error)
    match error:
        case exceptions.ClientError() if "AccessDenied" in code:
            return SourceError(f"{named} may not be {doing} with these credentials", permission=True)
        case exceptions.ClientError() if code in (
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "ExpiredTokenException",
            "ExpiredToken",
        ):
            return SourceError(f"{named}: the credentials are wrong or over", permission=True)
        case exceptions.ClientError():
            away = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
            return SourceError(f"{named}: AWS said {code or 'no'}", away=away)
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return SourceError(f"{named}: no credentials for AWS are found")
        case exceptions.NoRegionError():
            return SourceError(f"{named}: aws.region is not set, nor is AWS_REGION")
        case exceptions.ProfileNotFound():
            return SourceError(f"{named}: there is no such profile (aws.profile)")
        case exceptions.SSLError():
            return SourceError(f"{named}: the certificate of AWS is not good here", away=True)
        case exceptions.ConnectTimeoutError() | exceptions.ReadTimeoutError():
            return SourceError(f"{named}: no answer in time (aws.timeout)", away=True)
        case exceptions.BotoCoreError():
            return SourceError(f"{named}: AWS can not be reached ({type(error).__name__})", away=True)
        case _:
            return SourceError(f"{named}: the answer can not be read ({type(error).__name__})")
