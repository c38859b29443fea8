"""What one call to Redis says, as bytes, and how its reply is checked. Pure: claims in, outcomes out.

The call is packed by hand: one EVALSHA with the keys, the identity and one string with all the rest in
columns (exchange.lua tells which). Packing each field as an argument of its own cost ten times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, error, pack
from typing import Final, NamedTuple

from sealgate.stores.blocks import REACH_US, Wanted
from sealgate.stores.names import to_keep
from sealgate.stores.pending import Part
from sealgate.stores.settlements import Settlement, Steps
from sealgate.verify.bucket import interval_us
from sealgate.verify.verdict import GRANTED, Bucket, Claim, ClaimOutcome, ClaimStatus, Debit

#: By the numbers that exchange.lua returns.
_STATUSES: Final = (
    ClaimStatus.GRANTED,
    ClaimStatus.INFLIGHT,
    ClaimStatus.DUPLICATE,
    ClaimStatus.CONFLICT,
    ClaimStatus.LIMITED,
    ClaimStatus.COST,
    ClaimStatus.FULL,
    ClaimStatus.HORIZON,
    ClaimStatus.GRANTED,
)
#: Granted, and goes through the queue.
_HELD: Final = 8
_HEAD: Final = Struct(">16s8sQIHHHHH")
_TERM: Final = Struct(">QQBQH")
_DEBIT: Final = Struct(">HQQQB")
_BLOCK: Final = Struct(">HIQQI")
_OTHER: Final = Struct(">cQ32sQ")
_REPLY_HEAD: Final = Struct(">16sQHHH")
_REFUSED: Final = Struct(">HBHQ")
#: Arguments of EVALSHA beside the keys: its name, the script, how many keys, and ARGV.
_WORDS: Final = 5


class ReplyMismatch(Exception):  # noqa: N818
    """The reply is not the one to this call: the connection can not be trusted any more."""


class KeySpace:
    """Names of keys. The deployment is in braces: one hash slot, so that scripts may use them together."""

    __slots__ = ("_nonce_heads", "_prefix", "identity")

    def __init__(self, deployment: str) -> None:
        self._prefix: Final = b"sealgate:{%b}:" % deployment.encode()
        self._nonce_heads: Final[dict[int, bytes]] = {}
        self.identity: Final = self._prefix + b"identity"

    def nonce(self, nonce_key: bytes) -> bytes:
        return self._prefix + b"n:" + nonce_key

    def bucket(self, name: str) -> bytes:
        return self._prefix + b"b:" + name.encode()

    def hold(self, name: str) -> bytes:
        """It is there while messages go through the bucket's queue."""
        return self._prefix + b"w:" + name.encode()

    def nonce_arguments(self, nonce_keys: list[bytes]) -> bytes:
        """The keys of nonces as arguments, each led by the end of the line before."""
        lengths = set(map(len, nonce_keys))
        if len(lengths) == 1:
            head = self._nonce_head(lengths.pop())
            return head + head.join(nonce_keys)
        return b"".join([part for key in nonce_keys for part in (self._nonce_head(len(key)), key)])

    def _nonce_head(self, length: int) -> bytes:
        """What goes before a nonce of this length: as many as there are lengths of kid and nonce."""
        head = self._nonce_heads.get(length)
        if head is None:
            prefix = self.nonce(b"")
            head = self._nonce_heads[length] = b"\r\n$%d\r\n%b" % (len(prefix) + length, prefix)
        return head


class Terms(NamedTuple):
    """What every call of one link says alike. `gateway` is 8 octets that no other gateway has."""

    script: bytes
    identity: bytes
    gateway: bytes
    keyspace: KeySpace
    lease_ms: int


class Exchange(NamedTuple):
    """What one call brought: keys in the database, settlements done, tokens for each block wanted, and the
    claims that were not granted, by their place in the call."""

    entries: int
    settled: int
    blocks: Sequence[int]
    refused: dict[int, ClaimOutcome]


class Call:
    """One call: `steps`, then the claims of `parts`, then blocks for `wanted`. `data` goes to Redis."""

    __slots__ = (
        "_bucket_keys",
        "_bucket_names",
        "_buckets",
        "_call_id",
        "claims",
        "data",
        "parts",
        "steps",
        "waits",
        "wanted",
    )

    def __init__(
        self,
        terms: Terms,
        number: int,
        created_min: int,
        parts: list[Part],
        steps: Steps,
        wanted: list[Wanted],
    ) -> None:
        self.parts: Final = parts
        self.steps: Final = steps
        self.wanted: Final = wanted
        self.claims: Final = sum([len(part.claims) for part in parts])
        self._call_id: Final = terms.gateway + pack(">Q", number)
        self._buckets: Final[dict[str, int]] = {}
        self._bucket_names: Final[list[str]] = []
        self._bucket_keys: Final[list[str]] = []
        #: Whether a message of these may wait.
        self.waits = False
        self.data: Final = self._packed(terms, created_min)

    def _packed(self, terms: Terms, created_min: int) -> bytes:
        shared = _SharedTerms(self)
        codes = bytearray()
        numbers: list[int] = []
        digests: list[bytes] = []
        keys = [_kept_name(claim) for claim in self.steps.commits]
        keys += [_kept_name(step.claim) for step in self.steps.others]
        for part in self.parts:
            shared.encode(part.claims, codes)
            if part.nonces:
                numbers += part.numbers
                digests += [claim.digest for claim in part.claims]
                keys += [_kept_name(claim) for claim in part.claims]
        blocks = [self._block(wanted) for wanted in self.wanted]
        head = _HEAD.pack(
            self._call_id,
            terms.gateway,
            created_min,
            terms.lease_ms,
            len(self.steps.commits),
            len(self.steps.others),
            self.claims,
            shared.count,
            len(blocks),
        )
        text = b"".join(
            (head, shared.packed, *blocks, *_packed_steps(self.steps), codes, _column(numbers), *digests)
        )
        return self._command(terms, keys, text)

    def _command(self, terms: Terms, nonce_keys: list[bytes], text: bytes) -> bytes:
        keyspace = terms.keyspace
        bucket_keys = [keyspace.bucket(key) for key in self._bucket_keys]
        if self.waits:
            bucket_keys += [keyspace.hold(key) for key in self._bucket_keys]
        keys = 1 + len(nonce_keys) + len(bucket_keys)
        count = b"%d" % keys
        words: list[bytes] = [
            b"*%d\r\n$7\r\nEVALSHA" % (_WORDS + keys),
            _argument(terms.script),
            _argument(count),
            _argument(keyspace.identity),
        ]
        if nonce_keys:
            words.append(keyspace.nonce_arguments(nonce_keys))
        words += [_argument(key) for key in bucket_keys]
        words += (_argument(terms.identity), _argument(text), b"\r\n")
        return b"".join(words)

    def bucket(self, bucket: Bucket) -> int:
        """The place of a bucket among those of this call."""
        key = bucket.state
        index = self._buckets.get(key)
        if index is None:
            index = self._buckets[key] = len(self._bucket_keys)
            self._bucket_keys.append(key)
            self._bucket_names.append(bucket.name)
        return index

    def _block(self, wanted: Wanted) -> bytes:
        bucket, interval = wanted.bucket, interval_us(wanted.bucket)
        return _BLOCK.pack(self.bucket(bucket), wanted.tokens, interval, bucket.burst * interval, REACH_US)

    def read(self, reply: bytes) -> Exchange:
        """What the reply says. Raises `ReplyMismatch` when it is not surely the one to this call."""
        try:
            call_id, entries, settled, claims, blocks = _REPLY_HEAD.unpack_from(reply)
        except error:
            raise ReplyMismatch("the reply is too short") from None
        if call_id != self._call_id:
            raise ReplyMismatch("the reply is to another call")
        if claims != self.claims or blocks != len(self.wanted) or settled > self.steps.count:
            raise ReplyMismatch("the reply is about another number of claims than was asked")
        refused_at = _REPLY_HEAD.size + 4 * blocks
        if len(reply) < refused_at or (len(reply) - refused_at) % _REFUSED.size:
            raise ReplyMismatch("the reply has another length than it says")
        tokens: Sequence[int] = ()
        if blocks:
            tokens = Struct(f">{blocks}I").unpack_from(reply, _REPLY_HEAD.size)
            if any(given > wanted.tokens for given, wanted in zip(tokens, self.wanted, strict=True)):
                raise ReplyMismatch("the reply gives more than was asked")
        return Exchange(entries, settled, tokens, self._refused(reply[refused_at:]))

    def _refused(self, reply: bytes) -> dict[int, ClaimOutcome]:
        refused: dict[int, ClaimOutcome] = {}
        last = -1
        for index, status, bucket, wait_us in _REFUSED.iter_unpack(reply):
            if not last < index < self.claims or not 0 < status < len(_STATUSES):
                raise ReplyMismatch("the reply refuses what was not asked")
            if bucket > len(self._bucket_names):
                raise ReplyMismatch("the reply names a bucket that was not asked about")
            last = index
            name = self._bucket_names[bucket - 1] if bucket else ""
            refused[index] = ClaimOutcome(_STATUSES[status], name, wait_us, status == _HELD)
        return refused


class _SharedTerms:
    """What claims have in common (times and debits), packed once: nearly all claims of a call are alike."""

    __slots__ = ("_call", "_codes", "count", "packed")

    def __init__(self, call: Call) -> None:
        self._call: Final = call
        self._codes: Final[dict[tuple[bool, int, int, int, int], int]] = {}
        self.count = 0
        self.packed = b""

    def encode(self, claims: list[Claim], codes: bytearray) -> None:
        """Append one code for each claim."""
        created = remember_until = wait_us = -1
        debits: tuple[Debit, ...] | None = None
        nonce, code = False, 0
        for claim in claims:
            with_nonce = claim.nonce_key != b""
            if (
                claim.created != created
                or claim.remember_until != remember_until
                or claim.debits is not debits
                or claim.wait_us != wait_us
                or with_nonce is not nonce
            ):
                created, remember_until, debits = claim.created, claim.remember_until, claim.debits
                nonce, wait_us = with_nonce, claim.wait_us
                code = self._code(created, remember_until, debits, nonce, wait_us)
            codes.append(code)

    def _code(
        self, created: int, remember_until: int, debits: tuple[Debit, ...], nonce: bool, wait_us: int
    ) -> int:
        # By identity: the debits of one task are one tuple, and the claims keep it alive.
        what = (nonce, created, remember_until, id(debits), wait_us)
        code = self._codes.get(what)
        if code is None:
            code = self._codes[what] = self.count
            self.count += 1
            packed: list[bytes] = []
            for debit in debits:
                spare = debit.spare
                packed.append(self._packed_debit(debit.bucket, debit.cost, spare is not None))
                if spare is not None:
                    packed.append(self._packed_debit(spare, debit.cost, False))
            if wait_us:
                self._call.waits = True
            self.packed += _TERM.pack(created, remember_until, nonce, wait_us, len(packed)) + b"".join(packed)
        return code

    def _packed_debit(self, bucket: Bucket, cost: int, spare: bool) -> bytes:
        interval = interval_us(bucket)
        index = self._call.bucket(bucket)
        return _DEBIT.pack(index, cost * interval, bucket.burst * interval, bucket.delay_us, spare)


def _kept_name(claim: Claim) -> bytes:
    """What a claim's nonce is called in Redis: asked for once more when it is settled."""
    if not claim.kept_name:
        claim.kept_name = to_keep(claim.nonce_key)
    return claim.kept_name


def _packed_steps(steps: Steps) -> list[bytes]:
    packed = [claim.digest for claim in steps.commits]
    packed.append(_column([claim.remember_until for claim in steps.commits]))
    packed += [_packed_other(step) for step in steps.others]
    return packed


def _packed_other(step: Settlement) -> bytes:
    return _OTHER.pack(step.what, step.number, step.claim.digest, step.claim.remember_until)


def _column(numbers: Sequence[int]) -> bytes:
    return pack(f">{len(numbers)}Q", *numbers)


def _argument(word: bytes) -> bytes:
    return b"\r\n$%d\r\n%b" % (len(word), word)


def outcomes_of(part: Part, first: int, refused: dict[int, ClaimOutcome]) -> list[ClaimOutcome]:
    """One outcome per claim of `part`, whose claims start at `first` in the call."""
    return [refused.get(index, GRANTED) for index in range(first, first + len(part.claims))]
