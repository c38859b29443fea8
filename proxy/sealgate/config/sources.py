"""What is behind a secret reference, the keyring behind `keys.source`, the users behind `credentials`.

Errors name the reference, never what is in it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sealgate.accounts.userfile import UserfileError, check_broker_secret, load_users
from sealgate.accounts.users import BrokerLogin, UserBook
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.errors import SourceError as SourceError
from sealgate.config.fields import check_reference, is_reference, is_remote
from sealgate.config.remote import Remote, Remotes
from sealgate.config.settings import Credentials, Settings
from sealgate.config.store_settings import Aws, Vault
from sealgate.signing.keyfile import KeyfileError, NamedSecret, load_keys, load_secrets
from sealgate.signing.keyring import Keyring

#: A keyring of a few thousand keys; what is larger is the wrong file.
SOURCE_BYTES_MAX: Final = 1_048_576
#: Nobody is locked out for guessing at `admin.token`: of so many characters of chance none is guessed.
TOKEN_CHARACTERS_MIN: Final = 16


#: Inode, modification time in ns, size, change time in ns (of its mode as well); None for a file that is not
#: there.
Stamp = tuple[int, int, int, int] | None
#: Where systemd puts what a unit's LoadCredential= names.
CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
#: Of this process alone: a fingerprint of secrets is worth nothing without it.
_FINGERPRINT_KEY: Final = os.urandom(32)


class Sources:
    """Reads references; remembers the files they were in as they were, and what deserves a warning."""

    def __init__(self, environ: Mapping[str, str], remotes: Remotes | None = None) -> None:
        """`remotes` are the stores on the network; by default those the environment tells of."""
        self._environ: Final = environ
        self._remotes = remotes
        self._asked: Final[set[str]] = set()
        self.stamps: Final[dict[Path, Stamp]] = {}
        self.warnings: Final[list[Problem]] = []
        self._digest: Final = hashlib.blake2b(key=_FINGERPRINT_KEY)

    @property
    def asks_remotes(self) -> bool:
        """Whether a store on the network was asked."""
        return bool(self._asked)

    @property
    def fingerprint(self) -> bytes:
        """Equal for two readings of this process that gave the same texts."""
        return self._digest.digest()

    def resolve(self, reference: str) -> str:
        """The text behind a reference, such as `env:NAME` or `file:/path`, without white space around it.

        What is no reference is a literal and is given back. Raises `SourceError`.
        """
        if not is_reference(reference):
            return reference
        try:
            check_reference(reference)
        except ValueError as error:
            raise SourceError(str(error)) from None
        text = self._read(reference)
        self._note(reference, text)
        return text

    def keys(self, reference: str) -> str | list[NamedSecret]:
        """What is behind `keys.source`: a text, or from a store on the network the keys one by one.

        Raises `SourceError`.
        """
        if not is_remote(reference):
            return self.resolve(reference)
        scheme, _, name = reference.partition(":")
        found = self._remote(scheme).secrets(name)
        if isinstance(found, str):
            self._note(reference, found)
            return found
        for secret in found:
            self._note(reference, secret.kid, secret.material, repr(sorted(secret.fields.items())))
        return found

    def _note(self, *parts: str) -> None:
        for part in parts:
            data = part.encode()
            self._digest.update(len(data).to_bytes(8, "big") + data)

    def _remote(self, scheme: str) -> Remote:
        if self._remotes is None:
            self._remotes = new_remotes(Vault(), Aws(), self._environ)
        remote = self._remotes.get(scheme)
        if scheme not in self._asked:
            self._asked.add(scheme)
            remote.begin()
        return remote

    def _read(self, reference: str) -> str:
        scheme, _, name = reference.partition(":")
        if is_remote(reference):
            return self._remote(scheme).text(name)
        if scheme == "env":
            return self._environment(reference, name)
        if scheme == "cred":
            return self.read_file(self._credential(reference, name), reference)
        return self.read_file(Path(name))

    def _credential(self, reference: str, name: str) -> Path:
        directory = self._environ.get(CREDENTIALS_DIRECTORY)
        if not directory:
            raise SourceError(
                f"{reference} is not there: ${CREDENTIALS_DIRECTORY} is not set (LoadCredential= in the unit)"
            )
        return Path(directory) / name

    def _environment(self, reference: str, name: str) -> str:
        text = self._environ.get(name)
        if text is None:
            raise SourceError(f"{reference} is not set")
        if not text.strip():
            raise SourceError(f"{reference} is empty")
        return text.strip()

    def read_file(self, path: Path, reference: str = "") -> str:
        """The text of a file that holds secrets; warns when others can read or change it."""
        named = reference or f"file:{path}"
        before = stamp_of(path)
        self.stamps[path] = before  # before reading: a change in between is then seen as one
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    raise SourceError(f"{named} is no regular file")
                data = file.read(SOURCE_BYTES_MAX + 1)
        except PermissionError:
            raise SourceError(f"{named} may not be read by this user", permission=True) from None
        except OSError as error:
            raise SourceError(f"{named} can not be read: {error.strerror}") from None
        self.warnings.extend([Problem(str(path), "", message) for message in permission_warnings(mode)])
        if len(data) > SOURCE_BYTES_MAX:
            raise SourceError(f"{named} is over {SOURCE_BYTES_MAX} bytes")
        if stamp_of(path) != before:
            raise SourceError(f"{named} changed while it was read")
        try:
            text = data.decode().strip()
        except UnicodeDecodeError:
            raise SourceError(f"{named} is no UTF-8 text") from None
        if not text:
            raise SourceError(f"{named} is empty")
        return text


def new_remotes(vault: Vault | None, aws: Aws | None, environ: Mapping[str, str]) -> Remotes:
    """The stores on the network that these tables describe."""
    return Remotes(vault, aws, environ, lambda reference: Sources(environ).resolve(reference))


def sources_of(settings: Settings, environ: Mapping[str, str]) -> Sources:
    """Sources that know the stores of these settings."""
    return Sources(environ, new_remotes(settings.vault, settings.aws, environ))


def stamp_of(path: Path) -> Stamp:
    """What changes when the file behind `path` and its symlinks does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns


def permission_warnings(mode: int) -> list[str]:
    """What is too open about the `st_mode` of a file with secrets in it."""
    octal = f"mode {stat.S_IMODE(mode):04o}"
    warnings = []
    if mode & stat.S_IROTH:
        warnings.append(f"can be read by every user of this machine ({octal}); chmod o-r")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        warnings.append(f"can be changed by others than its owner ({octal}); chmod go-w")
    return warnings


def read_keyring(source: str, sources: Sources) -> Keyring:
    """The keyring `source` (a reference) names; its warnings go to `sources`.

    Raises `ConfigError` with every problem; those inside the keys name the file or variable they are in.
    """
    where = source if is_remote(source) else source.partition(":")[2]
    try:
        found = sources.keys(source)
    except SourceError as error:
        raise ConfigError([error.problem("keys.source")]) from None
    try:
        if isinstance(found, str):
            keyring, warnings = load_keys(found, source, sources.resolve)
        else:
            keyring, warnings = load_secrets(found)
    except KeyfileError as error:
        raise ConfigError([Problem(where, "", message) for message in error.errors]) from None
    sources.warnings.extend([Problem(where, "", message) for message in warnings])
    return keyring


def read_users(credentials: Credentials, sources: Sources) -> UserBook:
    """The users `credentials.users` names, who log in to the broker as `credentials.user` or for themselves.

    Its warnings go to `sources`. Raises `ConfigError` with every problem.
    """
    source = credentials.users or ""
    where = source.partition(":")[2]
    problems: list[Problem] = []
    broker = BrokerLogin(credentials.user or "", _broker_password(credentials, sources, problems))
    try:
        text = sources.resolve(source)
        book, warnings = load_users(text, sources.resolve, broker)
    except SourceError as error:
        problems.append(error.problem("credentials.users"))
    except UserfileError as error:
        problems += [Problem(where, "", message) for message in error.errors]
    if problems:
        raise ConfigError(problems)
    sources.warnings.extend([Problem(where, "", message) for message in warnings])
    return book


def read_token(token: str | None, sources: Sources) -> str | None:
    """What is behind `admin.token`; None where none is set. Raises `ConfigError`."""
    if token is None:
        return None
    try:
        text = sources.resolve(token)
    except SourceError as error:
        raise ConfigError([Problem("", "admin.token", str(error), error.permission)]) from None
    if len(text) < TOKEN_CHARACTERS_MIN or not text.isascii() or not text.isprintable() or " " in text:
        wanted = f"must be {TOKEN_CHARACTERS_MIN} characters or more of ASCII without spaces"
        raise ConfigError([Problem("", "admin.token", wanted)])
    return text


def _broker_password(credentials: Credentials, sources: Sources, problems: list[Problem]) -> str:
    try:
        password = sources.resolve(credentials.password or "")
        check_broker_secret(password)
    except SourceError as error:
        problems.append(error.problem("credentials.password"))
        return ""
    except ValueError as error:
        problems.append(Problem("", "credentials.password", str(error)))
        return ""
    return password
