"""seal1: what is signed, the token that carries it, the algorithms, and the keys.

The map:

- `canonical`: what a signature covers, as bytes: names, properties, target, and the signing input.
- `table`: headers as bytes from Python values, for who signs without a wire.
- `token`: the text of `x-seal` and `x-countersign`, and the nonces in it.
- `hashing`: SHA-256 alone. `randomness`: octets for nonces, of a source that is given.
- `algorithms`: HMAC-SHA-256 and Ed25519; the only place that compares signatures.
- `keyring`: keys by kid, their states and their limits.
- `material`: the printed form of secrets; refuses short and known ones.
- `keyfile`: a keyring from the `[[key]]` tables of a TOML file.
- `filetable`: one such table, read so that all its errors are told (the users file has them as well).

Called by `verify` (checks and seals), `config` (loads the keys) and the `keys`, `sign` and `verify` commands.
Knows
nothing of AMQP frames: it takes property values and section digests. Imports only the standard library, and
`cryptography` inside the Ed25519 class, so an application can use it alone.

The warning: whatever changes a byte here changes the signature. seal1.md and its vectors are frozen.
"""
