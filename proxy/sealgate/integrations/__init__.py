"""Signing and verifying inside the application, for who wants no sidecar.

The map:

- `options`: what is configured, from a mapping and from the environment.
- `keys`: the keyring behind `env:` or `file:`, read again when its files change.
- `signer`: seals what a client library is about to write, one object per process and one `Line` per
  connection.
- `deliveries`: checks what a client library has received; `decoded`: where that is values, not octets.
- `kombu` (Celery), `pika`, `aio_pika` (taskiq), `dramatiq`: the libraries.

Called by applications, which import the module for their library and nothing else; the gateway uses none of
it. `options`, `keys`, `signer`, `deliveries` and `decoded` import the core and the standard library alone
(`cryptography` for Ed25519 keys); each module for a library imports that library beside them.

The warning: all of it runs in other people's processes. Nothing here may start a thread, hold a lock over a
fork, log a header, a body or a secret, or change what the application handed over.
"""
