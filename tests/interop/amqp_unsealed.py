"""Loaded into py-amqp's and kombu's own test runs: a received message does not show its seal.

Deliveries carry the header `x-seal` until they are verified on their way to the consumer, and tests that
compare a message's headers see it. With this plugin nothing else may differ.
"""

from __future__ import annotations

from typing import Any

from amqp.serialization import GenericContent

_load_properties = GenericContent._load_properties


def _without_seal(self: Any, class_id: int, data: bytes, offset: int) -> int:
    end: int = _load_properties(self, class_id, data, offset)
    headers = self.properties.get("application_headers", {})
    if headers.pop("x-seal", None) is not None and not headers:
        del self.properties["application_headers"]
    return end


GenericContent._load_properties = _without_seal
