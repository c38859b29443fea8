"""References to HashiCorp Vault (or OpenBao), KV version 2: `vault:MOUNT/data/PATH#FIELD`.

The path is that of Vault's API, and of its policies. hvac, the client library, is imported when the first
reference is read. Messages are our own: those of a server, or of a library, might repeat what they were sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sealgate.config.bounded_http import TooLargeError, bounded_session
from sealgate.config.errors import SourceError
from sealgate.config.fields import VAULT_LOCATOR
from sealgate.config.remote import ANSWER_BYTES_MAX
from sealgate.config.store_settings import Vault
from sealgate.signing.keyfile import NamedSecret

#: A login is renewed when this much of its time is over, and made anew when renewing gives less than a half
#: of the first time: it nears its longest.
_RENEW_AT: Final = 2 / 3
_WORTH_RENEWING: Final = 1 / 2
#: A login shorter than this would be renewed all the time.
RENEW_S_MIN: Final = 1.0
_FOREVER: Final = float("inf")

ReadLocal = Callable[[str], str]


class VaultStore:
    """One login at one Vault. `read_local` gives the text behind the references of its settings."""

    def __init__(
        self,
        settings: Vault,
        environ: Mapping[str, str],
        read_local: ReadLocal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings: Final = settings
        self._environ: Final = environ
        self._read_local: Final = read_local
        self._clock: Final = clock
        self._lock: Final = threading.RLock()
        self._client: Any = None
        self._first_ttl_s = 0.0
        self._renew_at = _FOREVER
        self._over_at = _FOREVER
        self._renewable = False
        #: What this reading has fetched already, by mount and path.
        self._fetched: Final[dict[tuple[str, str], dict[str, object]]] = {}

    def begin(self) -> None:
        with self._lock:
            self._fetched.clear()

    def text(self, locator: str) -> str:
        """The field's text. Raises `SourceError`."""
        mount, path, field = _split(locator)
        if not field:
            raise SourceError(f"vault:{locator} names no field: write vault:MOUNT/data/PATH#FIELD")
        fields = self._fields(mount, path)
        if field not in fields:
            raise SourceError(f"vault:{locator}: there is no such field")
        return _text(fields[field], f"vault:{locator}")

    def secrets(self, locator: str) -> list[NamedSecret] | str:
        """Without a field each field is a key, by its kid."""
        mount, path, field = _split(locator)
        if field:
            return self.text(locator)
        fields = self._fields(mount, path)
        if not fields:
            raise SourceError(f"vault:{locator} has no fields: each is a key, its name the kid")
        return [NamedSecret(kid, _text(value, f"vault:{locator}#{kid}")) for kid, value in fields.items()]

    def replace(self, locator: str, old: str, new: str) -> None:
        """Write a version whose field has the text `new`, if it has `old` now; other fields stay as they are.

        Raises `SourceError`. Vault itself refuses it (check-and-set) when somebody else was faster.
        """
        mount, path, field = _split(locator)
        named = f"vault:{locator}"
        with self._lock:
            self._ensure_login()
            from hvac import exceptions

            changed = SourceError(
                f"{named} was changed by somebody else meanwhile; nothing is done", away=True
            )
            try:
                answer = self._read(mount, path)
                fields = _data_of(answer, named)
                if _text(fields.get(field), named) != old:
                    raise changed
                self._client.secrets.kv.v2.create_or_update_secret(
                    path, {**fields, field: new}, cas=_version_of(answer), mount_point=mount
                )
            except exceptions.InvalidRequest:
                raise changed from None
            except Exception as error:
                raise _told(error, named, "writing it") from None

    def renew_in(self) -> float:
        return max(self._renew_at - self._clock(), 0.0)

    def _fields(self, mount: str, path: str) -> dict[str, object]:
        with self._lock:
            fields = self._fetched.get((mount, path))
            if fields is None:
                fields = self._fetched[mount, path] = self._fetch(mount, path)
            return fields

    def _fetch(self, mount: str, path: str) -> dict[str, object]:
        """One secret; with a login that is refused, once more with a new one."""
        fresh = self._ensure_login()
        from hvac import exceptions

        named = f"vault:{mount}/data/{path}"
        try:
            try:
                answer = self._read(mount, path)
            except exceptions.Forbidden:
                if fresh:
                    raise
                self._log_in()
                answer = self._read(mount, path)
        except Exception as error:
            raise _told(error, named, "reading it") from None
        return _data_of(answer, named)

    def _read(self, mount: str, path: str) -> object:
        return self._client.secrets.kv.v2.read_secret_version(
            path, mount_point=mount, raise_on_deleted_version=True
        )

    def _ensure_login(self) -> bool:
        """Be logged in; whether that was just done. Raises `SourceError`."""
        now = self._clock()
        if self._client is None or now >= self._over_at:
            self._log_in()
            return True
        if now >= self._renew_at:
            self._renew()
        return False

    def _log_in(self) -> None:
        self._client = None
        settings = self._settings
        self._renew_at = self._over_at = _FOREVER
        try:
            client = self._new_client()
            if settings.auth == "token":
                auth = self._with_token(client)
            elif settings.auth == "approle":
                answer = client.auth.approle.login(
                    self._needed("role_id"),
                    self._needed("secret_id"),
                    mount_point=settings.mount or "approle",
                )
                auth = _auth_of(answer)
            else:
                answer = client.auth.kubernetes.login(
                    settings.role or "", self._jwt(), mount_point=settings.mount or "kubernetes"
                )
                auth = _auth_of(answer)
        except SourceError:
            raise
        except Exception as error:
            raise _told(error, "vault", f"the login ({settings.auth})") from None
        self._client = client
        self._first_ttl_s = self._note(auth)

    def _with_token(self, client: Any) -> Mapping[str, object]:
        """What a token of somebody else's is good for; a policy may forbid to ask."""
        from hvac import exceptions

        client.token = self._needed("token")
        try:
            found = client.auth.token.lookup_self()
        except exceptions.Forbidden:
            return {}
        data = found.get("data") if isinstance(found, dict) else None
        if not isinstance(data, dict):
            return {}
        return {"lease_duration": data.get("ttl"), "renewable": data.get("renewable")}

    def _renew(self) -> None:
        """More time for the login, or a new one."""
        try:
            auth = _auth_of(self._client.auth.token.renew_self()) if self._renewable else {}
        except Exception:
            auth = {}
        if _seconds(auth) < self._first_ttl_s * _WORTH_RENEWING:
            self._log_in()
        else:
            self._note(auth)

    def _note(self, auth: Mapping[str, object]) -> float:
        """Remember how long the login is good; 0 is for ever."""
        ttl_s = _seconds(auth)
        self._renewable = auth.get("renewable") is True
        if ttl_s:
            now = self._clock()
            self._over_at = now + ttl_s
            self._renew_at = now + max(ttl_s * _RENEW_AT, RENEW_S_MIN)
        return ttl_s

    def _new_client(self) -> Any:
        try:
            import hvac
        except ImportError:
            raise SourceError('vault: references need hvac: pip install "sealgate[vault]"') from None
        settings, environ = self._settings, self._environ
        address = settings.address or environ.get("VAULT_ADDR")
        if not address:
            raise SourceError("vault: vault.address is not set, nor is VAULT_ADDR")
        ca = settings.ca or environ.get("VAULT_CACERT") or True
        if isinstance(ca, str) and not Path(ca).is_file():
            raise SourceError(f"vault: vault.ca: {ca} is no file")
        return hvac.Client(
            address,
            token="",
            verify=ca,
            timeout=settings.timeout,
            namespace=settings.namespace or environ.get("VAULT_NAMESPACE") or None,
            session=bounded_session(ca, ANSWER_BYTES_MAX, settings.timeout),
        )

    def _needed(self, name: str) -> str:
        reference = getattr(self._settings, name)
        if reference is None:
            raise SourceError(f'vault: vault.{name} is missing for auth = "{self._settings.auth}"')
        try:
            return self._read_local(reference)
        except SourceError as error:
            raise SourceError(f"vault: vault.{name}: {error}", error.permission) from None

    def _jwt(self) -> str:
        try:
            return self._read_local(f"file:{self._settings.jwt}")
        except SourceError as error:
            raise SourceError(f"vault: vault.jwt: {error}", error.permission) from None


def _split(locator: str) -> tuple[str, str, str]:
    """(mount, path, field); the field is empty where none is named. Raises `SourceError`."""
    match = VAULT_LOCATOR.fullmatch(locator)
    assert match is not None  # `check_reference` took it
    return match["mount"], match["path"], match["field"] or ""


def _text(value: object, named: str) -> str:
    if not isinstance(value, str):
        kind = "nothing" if value is None else type(value).__name__
        raise SourceError(f"{named} is {kind}, and no text")
    if not value.strip():
        raise SourceError(f"{named} is empty")
    return value.strip()


def _data_of(answer: object, named: str) -> dict[str, object]:
    outer = answer.get("data") if isinstance(answer, dict) else None
    data = outer.get("data") if isinstance(outer, dict) else None
    if not isinstance(data, dict) or not isinstance(outer, dict) or "metadata" not in outer:
        raise SourceError(f"{named} is no secret of KV version 2")
    return data


def _version_of(answer: Any) -> int:
    """Of a secret that `_data_of` took."""
    return int(answer["data"]["metadata"]["version"])


def _auth_of(answer: object) -> Mapping[str, object]:
    auth = answer.get("auth") if isinstance(answer, dict) else None
    return auth if isinstance(auth, dict) else {}


def _seconds(auth: Mapping[str, object]) -> float:
    ttl = auth.get("lease_duration")
    return float(ttl) if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl > 0 else 0.0


def _told(error: Exception, named: str, doing: str) -> SourceError:
    """What went wrong, in our own words."""
    import requests.exceptions as http
    from hvac import exceptions

    if isinstance(error, SourceError):
        return error
    match error:
        case exceptions.Forbidden():
            message = f"{doing} is not allowed: the login is over, or its policy does not permit it"
            return SourceError(f"{named}: {message}", permission=True)
        case exceptions.InvalidPath():
            return SourceError(f"{named}: there is no such secret, or its last version is deleted")
        case exceptions.InvalidRequest() | exceptions.Unauthorized():
            return SourceError(f"{named}: {doing} was refused as wrong", permission=True)
        case exceptions.VaultDown():
            return SourceError(f"{named}: the Vault is sealed or in maintenance", away=True)
        case TooLargeError():
            return SourceError(f"{named}: the answer is over {ANSWER_BYTES_MAX} bytes")
        case http.SSLError():
            return SourceError(f"{named}: its certificate is not good for this address and CA", away=True)
        case http.Timeout():
            return SourceError(f"{named}: no answer in time (vault.timeout)", away=True)
        case http.ConnectionError():
            return SourceError(f"{named}: the Vault can not be reached", away=True)
        case exceptions.VaultError() | http.RequestException():
            return SourceError(f"{named}: {doing} failed ({type(error).__name__})", away=True)
        case _:
            return SourceError(f"{named}: the answer can not be read ({type(error).__name__})")
