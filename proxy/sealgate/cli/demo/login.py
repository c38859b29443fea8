"""Who everybody in the demo is at the broker: what `--upstream` says, as everything goes there in the end."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit


@dataclass(slots=True, frozen=True)
class Login:
    """User, password and virtual host of a broker's URL; guest and / where it does not say."""

    user: str
    password: str
    vhost: str
    where: str

    @classmethod
    def of(cls, url: str) -> Login:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return cls(
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path[1:]) or "/",
            where=f"{parts.scheme}://{host}{parts.path}",
        )

    def through(self, port: int) -> str:
        """The URL of the same login at a port of this machine."""
        user, password, vhost = (quote(text, safe="") for text in (self.user, self.password, self.vhost))
        return f"amqp://{user}:{password}@127.0.0.1:{port}/{vhost}"
