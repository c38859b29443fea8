"""A small certificate authority: real certificates in real files, made in milliseconds."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """Certificate and key, PEM files."""

    cert: str
    key: str


class Authority:
    """Signs certificates into `home`; `ca` is its own, as a file."""

    def __init__(self, home: Path, name: str = "test authority") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home = home
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.ca = str(home / "ca.pem")
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        built = self._builder(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        Path(self.ca).write_bytes(_pem(built.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, file: str = "") -> Pair:
        """A certificate for the host (or person) `name`; `file` names the files, by default like it."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        built = self._builder(_named(name), key.public_key()).add_extension(names, critical=False)
        pair = Pair(str(self._home / f"{file or name}.crt"), str(self._home / f"{file or name}.key"))
        Path(pair.cert).write_bytes(_pem(built.sign(self._key, hashes.SHA256())))
        Path(pair.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        Path(pair.key).chmod(0o600)
        return pair

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
        )

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """What a client of servers certified here uses, with its own certificate if it has one."""
        context = ssl.create_default_context(cafile=self.ca)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    def server(self, pair: Pair) -> ssl.SSLContext:
        """What a server with this certificate uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
