"""Tallies of several processes as one: plain data on the way, then sums.

Counters and histograms are added up. What is known of the use of a key is united (`session.keyuse`); of the
sources of the keys the one counts that is worst off. What is open or held now is added up among those who
live.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any, Final

from sealgate.session.keyuse import KeyUse, of_plain
from sealgate.session.records import Histogram, Tally

#: What ends with its process; every other number is a count that must never go back.
NOW: Final = frozenset({"client_connections", "upstream_connections", "buffered_bytes", "prefetch_granted"})
_KEY_USE: Final = "key_use"
#: All of a tally but who is still to tell it something, which is of its process.
_NAMES: Final = tuple([field.name for field in fields(Tally) if field.name != "untold"])
#: Of several workers the one counts that is worst off: it is the first of these, in Unix seconds.
_WORST: Final = frozenset({"keys_good_at", "keys_failing_since"})


def to_plain(tally: Tally) -> dict[str, Any]:
    """`tally` in lists, texts and numbers, as JSON has them."""
    tally.settle()
    return {name: _plain(getattr(tally, name)) for name in _NAMES}


def from_plain(data: dict[str, Any]) -> Tally:
    """The tally that `to_plain` was given."""
    tally = Tally()
    for name, value in data.items():
        current = getattr(tally, name)
        if name == _KEY_USE:
            value = {kid: of_plain(use) for kid, use in value}
        elif isinstance(current, Histogram):
            value = _histogram(value)
        elif isinstance(current, Counter):
            value = Counter({_key(key): count for key, count in value})
        elif isinstance(current, dict):
            value = {key: _histogram(row) if isinstance(row, dict) else row for key, row in value}
        setattr(tally, name, value)
    return tally


def add(into: Tally, other: Tally, alive: bool = True) -> None:
    """Add `other` to `into`; of a process that has ended (not `alive`) only what it counted."""
    for kid, use in other.key_use.items():
        into.use_of(kid).add(use)
    for name in _NAMES:
        if name == _KEY_USE or (name in NOW and not alive):
            continue
        ours, theirs = getattr(into, name), getattr(other, name)
        if name in _WORST:
            known = [moment for moment in (ours, theirs if alive else 0.0) if moment]
            setattr(into, name, min(known, default=0.0))
        elif isinstance(ours, int):
            setattr(into, name, ours + theirs)
        elif isinstance(ours, Counter):
            ours.update(theirs)
        elif isinstance(ours, Histogram):
            _add_histogram(ours, theirs)
        else:
            for key, histogram in theirs.items():
                _add_histogram(ours.setdefault(key, Histogram(histogram.bounds)), histogram)


def clear(tally: Tally) -> None:
    """Make it a new one, in place."""
    fresh = Tally()
    for name in _NAMES:
        setattr(tally, name, getattr(fresh, name))


def _plain(value: Any) -> Any:
    if isinstance(value, KeyUse):
        return value.plain()
    if isinstance(value, Histogram):
        return {"bounds": value.bounds, "counts": value.counts, "total": value.total}
    if isinstance(value, dict):
        return [[key, _plain(row)] for key, row in value.items()]
    return value


def _key(key: Any) -> Any:
    """A label, or several, which JSON has made a list."""
    return tuple(key) if isinstance(key, list) else key


def _histogram(data: dict[str, Any]) -> Histogram:
    histogram = Histogram(tuple(data["bounds"]))
    histogram.counts = list(data["counts"])
    histogram.total = data["total"]
    return histogram


def _add_histogram(into: Histogram, other: Histogram) -> None:
    into.counts = [ours + theirs for ours, theirs in zip(into.counts, other.counts, strict=True)]
    into.total += other.total
