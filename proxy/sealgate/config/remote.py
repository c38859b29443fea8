"""Secret stores on the network, behind one interface: what is asked of them blocks, and is asked in a thread.

Each is made when the first reference asks for it, and its library is imported then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sealgate.config.errors import SourceError
from sealgate.config.store_settings import Aws, Vault
from sealgate.signing.keyfile import NamedSecret

#: Of one answer, bytes: the same bound as a file's.
ANSWER_BYTES_MAX: Final = 1_048_576


class Remote(Protocol):
    """One store. Every method may be called from any thread, and raises `SourceError`."""

    def begin(self) -> None:
        """A reading begins: what was fetched for the last one is not good enough for this."""

    def text(self, locator: str) -> str:
        """The one text behind what follows `scheme:`."""

    def secrets(self, locator: str) -> list[NamedSecret] | str:
        """The same as a keyring: named secrets, or a text that holds them."""

    def renew_in(self) -> float:
        """Seconds until it wants to be asked again, because its own login ends; infinity when it does not."""


class Remotes:
    """The stores of one process, by scheme. None stands for a table of the configuration that is wrong.

    `read_local` gives the text behind a reference of their own settings.
    """

    def __init__(
        self,
        vault: Vault | None,
        aws: Aws | None,
        environ: Mapping[str, str],
        read_local: Callable[[str], str],
    ) -> None:
        self._vault: Final = vault
        self._aws: Final = aws
        self._environ: Final = environ
        self._read_local: Final = read_local
        self._made: Final[dict[str, Remote]] = {}

    def get(self, scheme: str) -> Remote:
        """The store of `vault` or `aws` references. Raises `SourceError` where it can not be asked at all."""
        remote = self._made.get(scheme)
        if remote is None:
            remote = self._made[scheme] = self._make(scheme)
        return remote

    def renew_in(self) -> float:
        """As `Remote.renew_in`, of the first that wants it."""
        return min([remote.renew_in() for remote in list(self._made.values())], default=float("inf"))

    def _make(self, scheme: str) -> Remote:
        if scheme == "vault" and self._vault is not None:
            from sealgate.config.vault import VaultStore

            return VaultStore(self._vault, self._environ, self._read_local)
        if scheme == "aws" and self._aws is not None:
            from sealgate.config.aws import AwsStore

            return AwsStore(self._aws)
        raise SourceError(f"{scheme}: references can not be read: the table [{scheme}] is wrong")
