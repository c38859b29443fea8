"""A message in, a verdict out.

The map:

- `message`, `verdict`: what is judged, and the answers; `verdict` also holds the port of the claim store.
- `policy`: what the operator allows, as one frozen value; `globs` and `rates` are its pieces.
- `checks`: the `Verifier`, which asks everything in the order of seal1.md, "Order of checks"; `seals` has the
  steps, `inputs` what is signed. `alike`: the short way for messages that are like an accepted one; `known`
  and `senders`: what it remembers of those, and of their keys.
- `delivery`: the `DeliveryVerifier`, which asks again when a consumer is handed a message; `targets`: whether
  it was meant to arrive there. `alike_delivered`: its short way.
- `naming`: what a message runs, for rules that name tasks, before it is proven.
- `fields`: properties and headers, before the signature; `expiration`: one of them. `authority`: what the
  key may do. `classes`: task, result, control or event.
- `bounds`: what tasks may ask of workers, and what is changed in one that asks for more. `expiry`: how long
  results and replies stay.
- `content`: types, encodings, compression (`inflate`), and bodies proven by parsing (`strict_json`,
  `strict_msgpack`; `pickles` finds pickles wrapped in base64).
- `celery`, `pidbox`, `canvas`, `dramatiq`, `taskiq`: the envelopes, and what a worker would publish because
  of one.
- `bucket`: the arithmetic of a token bucket, for the stores.
- `sealer`: the other side, which signs what a client published; `seal_shape`: what seals have in common.

Called by `session`; `stores` use `bucket` and `verdict`. The warning: until the signature was checked nothing
here may touch what messages share, or an unsigned flood burns nonces and drains buckets.
"""
