"""Where Sealgate refuses what all three libraries read, with the rule it refuses by.

The oracle of content headers asks for more: that the reference reader found this very rule broken.
"""

from __future__ import annotations

from sealgate.reason import Reason

#: seal1.md, "Refused, never normalised", unless another source is named.
STRICTER: dict[Reason, str] = {
    Reason.HEADER_DUPLICATE: "duplicate keys at any level: libraries keep the last, RabbitMQ both (HD01)",
    Reason.SIG_DUPLICATE: "exactly one x-seal (HD31)",
    Reason.HEADER_KEY: "keys that are empty or over 128 bytes (HD15)",
    Reason.HEADER_TRUNCATED: "a length past its container: libraries cut, or read on behind it (HD12)",
    Reason.HEADER_DEPTH: "depth over 8 (HD02)",
    Reason.HEADER_COUNT: "over 256 entries in all",
    Reason.HEADER_SIZE: "a table over 64 KiB (HD19)",
    Reason.HEADER_X_DELAY: "an x-delay that has no absolute value in 64 bits",
    Reason.PROPS_FLAGS: "a second flags word, or the flag that has no property (FR13)",
    Reason.PROPS_UTF8: "a NUL in a short string (PR03)",
    Reason.PROPS_TRUNCATED: "octets behind the last property, or a short string cut by its end",
    Reason.FRAME_CLASS: "a weight, or a class that is not basic (FR04)",
}
