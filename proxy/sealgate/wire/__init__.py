"""AMQP 0-9-1 as bytes: what is read is checked to its last octet, what is passed on is the original, spliced.

The map:

- `constants`: frame types, method ids, reply codes, and every limit of this room.
- `pieces`: what came of a peer, in pieces as it came; puts together what must lie in one, and no more
- `splitter`: bytes in any chunks to whole `frames`; finds a message that is all there, and runs and stretches
  of frames to pass on. `numbers` in bytes.
- `table`: the strict field-table scanner: `values` and the seal1 canonical form in one pass.
- `entries`: those of a table, encoded anew, taken out and put in.
- `properties`: the content header of a message; takes headers out and puts headers in.
- `reader`: content headers that are like the last one, read by what differs in them (`table_shape`,
  `property_shape`).
- `arguments`: the reader and the encoders of method arguments. `consuming`: methods about consumers
  and queues; `receiving`: about what is delivered.
- `methods`: the few methods that must be read or written. All others pass as opaque bytes.
- `sasl`: what a login says of its user.

Called by `session` (frames, methods, content headers) and `verify` (header values, the canonical form). Knows
nothing of signing: the names a signature leaves out come in as arguments.

The warning: everything here meets bytes of an unauthenticated peer. A length is checked before it is used,
nesting and counts are bounded, and only `GateError` leaves this room.
"""
