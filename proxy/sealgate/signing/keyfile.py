"""A keyring from the `[[key]]` tables of a TOML file (DESIGN.md, "The contract").

All that is wrong is found in one go, each error with its path: `key[0].secret: ...`. No message holds
material. Where secrets come from is not known here: the caller's `resolve` turns `env:NAME` into text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sealgate.signing.algorithms import ED25519, HMAC_SHA256, Algorithm
from sealgate.signing.filetable import FileTable, suggest
from sealgate.signing.keyring import CLASSES, MAX_LIFETIME_S_DEFAULT, Key, Keyring, KeyState
from sealgate.signing.material import MaterialKind, algorithm_of, is_material, kind_of, parse_secret
from sealgate.signing.token import is_kid

#: Longer lifetimes are a slip: a seal that outlives its key's rotation protects nothing.
LIFETIME_S_MAX: Final = 366 * 24 * 3600

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
_REFERENCE: Final = re.compile(r"(?:env|file|cred|vault|aws):", re.ASCII)
_CONTROL: Final = "control:"
_PATTERNS: Final = ("vhosts", "users", "tasks", "exchanges", "routing_keys", "reply_to")
_MATERIAL: Final = {
    "secret": MaterialKind.HMAC_SECRET,
    "private": MaterialKind.ED25519_PRIVATE,
    "public": MaterialKind.ED25519_PUBLIC,
}
_FIELD_OF_KIND: Final = {kind: name for name, kind in _MATERIAL.items()}
_FIELDS_OF: Final = {HMAC_SHA256: ("secret",), ED25519: ("private", "public")}
_NAMES: Final = (
    *("kid", "alg", "state", "not_before", "not_after", "max_lifetime", "classes"),
    *("created", "state_since", "replaces"),
    *_MATERIAL,
    *_PATTERNS,
)


class KeyfileError(ValueError):
    """All that is wrong with the keys, one line each, with the path of the key in the file."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors: Final = errors


class NamedSecret:
    """Material and the kid it goes by, with what else is known of it (`fields`, as in a `[[key]]` table)."""

    __slots__ = ("fields", "kid", "material")

    def __init__(self, kid: str, material: str, fields: Mapping[str, object] | None = None) -> None:
        self.kid: Final = kid
        self.material: Final = material
        self.fields: Final[dict[str, object]] = dict(fields or {})

    def __repr__(self) -> str:
        return f"NamedSecret({self.kid!r})"


def load_keyring(
    source: str | Mapping[str, object], resolve: Callable[[str], str]
) -> tuple[Keyring, list[str]]:
    """The keyring in `source` (TOML text, or what it parsed to), and warnings.

    `resolve` gives the text behind a secret reference and raises ValueError, LookupError or OSError with a
    message that is safe to print. Raises `KeyfileError`.
    """
    reader = _Reader(resolve)
    keys = reader.read(_parse(source) if isinstance(source, str) else source)
    if reader.errors:
        raise KeyfileError(reader.errors)
    return Keyring(keys), reader.warnings


def load_keys(text: str, source: str, resolve: Callable[[str], str]) -> tuple[Keyring, list[str]]:
    """As `load_keyring`, of the text behind the reference `source`.

    All but a `file:` may hold `kid=secret,kid=secret` instead of TOML: the algorithm follows from the
    secret's prefix.
    """
    if not source.startswith("file:") and not _is_toml(text):
        return _load_pairs(text)
    return load_keyring(text, resolve)


def parse_duration(text: str) -> int:
    """Seconds of `30s`, `5m`, `24h` or `7d`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("want a duration like 30s, 5m, 24h or 7d")
    return int(match[1]) * _UNIT_S[match[2]]


def _is_toml(text: str) -> bool:
    try:
        return "key" in tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return "[[" in text


def _load_pairs(text: str) -> tuple[Keyring, list[str]]:
    secrets: list[NamedSecret] = []
    for index, pair in enumerate(text.split(",")):
        kid, equals, secret = pair.partition("=")
        if not equals:
            raise KeyfileError([f"key[{index}]: want kid=secret,kid=secret or the TOML of a keys file"])
        secrets.append(NamedSecret(kid.strip(), secret.strip()))
    return load_secrets(secrets)


def load_secrets(secrets: Sequence[NamedSecret]) -> tuple[Keyring, list[str]]:
    """As `load_keyring`, of keys one by one: the algorithm follows from each secret's prefix."""
    materials: dict[str, str] = {}
    entries: list[dict[str, object]] = []
    for index, secret in enumerate(secrets):
        kind = kind_of(secret.material) or MaterialKind.HMAC_SECRET
        alg = HMAC_SHA256 if kind is MaterialKind.HMAC_SECRET else ED25519
        # A reference that only this function knows: literal material would be warned about.
        reference = f"env:{index}"
        materials[reference] = secret.material
        entries.append({**secret.fields, "kid": secret.kid, "alg": alg, _FIELD_OF_KIND[kind]: reference})
    return load_keyring({"key": entries}, materials.__getitem__)


def _parse(text: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KeyfileError([f"not TOML: {error}"]) from None


class _Reader:
    """Reads the file's tables; gathers what is wrong and what deserves a warning."""

    __slots__ = ("_resolve", "_seen", "errors", "warnings")

    def __init__(self, resolve: Callable[[str], str]) -> None:
        self._resolve: Final = resolve
        self._seen: Final[dict[bytes, str]] = {}
        self.errors: Final[list[str]] = []
        self.warnings: Final[list[str]] = []

    def read(self, tables: Mapping[str, object]) -> list[Key]:
        for name in tables:
            if name != "key":
                self.errors.append(f"{name}: is not known{suggest(name, ['key'])}")
        entries = tables.get("key")
        if not isinstance(entries, list) or not entries:
            self.errors.append("key: want at least one [[key]] table")
            return []
        keys: list[Key] = []
        paths: dict[str, str] = {}
        for index, entry in enumerate(entries):
            path = f"key[{index}]"
            if not isinstance(entry, dict):
                self.errors.append(f"{path}: want a table")
                continue
            table = _Table(path, entry, self.errors)
            kid = self._kid(table, paths)
            key = self._key(table, kid)
            if key is not None:
                keys.append(key)
        return keys

    def _kid(self, table: _Table, paths: dict[str, str]) -> str:
        """The kid, and "" for a wrong one. `paths` knows where each kid was met first."""
        kid = table.text("kid", required=True)
        if kid is None:
            return ""
        if not is_kid(kid):
            table.fail("kid", "want 1 to 64 of A-Z a-z 0-9 _ -")
            return ""
        if kid in paths:
            table.fail("kid", f"{kid} is there already, at {paths[kid]}")
            return ""
        paths[kid] = table.path
        return kid

    def _key(self, table: _Table, kid: str) -> Key | None:
        table.check_names(_NAMES)
        algorithm = self._algorithm(table)
        not_before = table.moment("not_before")
        not_after = table.moment("not_after")
        if not_before is not None and not_after is not None and not_after <= not_before:
            table.fail("not_after", "is not after not_before")
        limits: dict[str, Any] = {name: table.texts(name) for name in _PATTERNS}
        limits["classes"] = table.classes()
        limits["max_lifetime_s"] = table.lifetime()
        limits["created"] = table.moment("created")
        limits["state_since"] = table.moment("state_since")
        limits["replaces"] = table.replaces(kid)
        state = table.state()
        if not kid or algorithm is None:
            return None
        return Key(kid, algorithm, state, not_before, not_after, **limits)

    def _algorithm(self, table: _Table) -> Algorithm | None:
        """The algorithm keyed with its material; None when either is wrong."""
        alg = table.text("alg", required=True)
        if alg is None:
            return None
        fields = _FIELDS_OF.get(alg)
        if fields is None:
            table.fail("alg", f"want {HMAC_SHA256} or {ED25519}")
            return None
        for name in _MATERIAL:
            if name in table.entry and name not in fields:
                table.fail(name, f"is not for alg {alg}")
        present = [name for name in fields if name in table.entry]
        if len(present) != 1:
            self.errors.append(f"{table.path}: want {' or '.join(fields)} for alg {alg}")
            return None
        return self._material(table, present[0])

    def _material(self, table: _Table, name: str) -> Algorithm | None:
        """Material from a reference, or from a literal, which is warned about."""
        text = table.text(name)
        if text is None:
            return None
        kind = _MATERIAL[name]
        try:
            if _REFERENCE.match(text):
                text = self._resolve(text).strip()
            elif is_material(text) and kind is not MaterialKind.ED25519_PUBLIC:
                self.warnings.append(f"{table.path}.{name}: is written into the file; use env: or file:")
            data = parse_secret(text, kind)
        except UnicodeError:
            table.fail(name, "is not text")
            return None
        except (ValueError, LookupError, OSError) as error:
            table.fail(name, str(error))
            return None
        twin = self._seen.setdefault(data, table.path)
        if twin != table.path:
            self.warnings.append(f"{table.path}.{name}: is the same as that of {twin}")
        return algorithm_of(kind, data)


class _Table(FileTable):
    """One `[[key]]` table."""

    __slots__ = ()

    def state(self) -> KeyState:
        text = self.text("state")
        if text is None:
            return KeyState.ACTIVE
        try:
            return KeyState(text)
        except ValueError:
            self.fail("state", "want active, verify or revoked")
            return KeyState.REVOKED

    def moment(self, name: str) -> int | None:
        """Unix seconds of a TOML date-time or an ISO 8601 text, either with its offset from UTC."""
        value = self.entry.get(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            moment = None
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            self.fail(name, "want a date and time with its offset, like 2026-01-01T00:00:00Z")
            return None
        return int(moment.timestamp())

    def lifetime(self) -> int:
        text = self.text("max_lifetime")
        if text is None:
            return MAX_LIFETIME_S_DEFAULT
        try:
            lifetime_s = parse_duration(text)
        except ValueError as error:
            self.fail("max_lifetime", str(error))
            return MAX_LIFETIME_S_DEFAULT
        if lifetime_s > LIFETIME_S_MAX:
            self.fail("max_lifetime", f"is over {LIFETIME_S_MAX // 86400}d")
        return lifetime_s

    def replaces(self, kid: str) -> str | None:
        """The kid of another key, which need not be there any more."""
        text = self.text("replaces")
        if text is not None and (not is_kid(text) or text == kid):
            self.fail("replaces", "want the kid of another key")
            return None
        return text

    def classes(self) -> tuple[str, ...] | None:
        classes = self.texts("classes")
        for name in classes or ():
            if name not in CLASSES and not (name.startswith(_CONTROL) and len(name) > len(_CONTROL)):
                self.fail("classes", f"want {', '.join(CLASSES)} or control:COMMAND")
        return classes
