from __future__ import annotations

import json

import pytest

from sealgate.control.orders import (
    PATTERNS_MAX,
    REVOKE,
    REVOKED_MAX,
    REVOKED_S,
    SHED,
    UNTIL_S_MAX,
    Order,
    OrderError,
    Orders,
    new_order,
    orders_of,
    plain,
)
from sealgate.reason import GateError, Reason

NOW = 1_800_000_000.0


def test_new_orders_end_as_asked_and_ids_always_end() -> None:
    assert new_order(SHED, "shop.*", None, "me@host", NOW) == Order(SHED, "shop.*", NOW, 0.0, "me@host")
    assert new_order(SHED, "shop.*", 60, "", NOW).until == NOW + 60
    assert new_order(REVOKE, "id-1", None, "", NOW).until == NOW + REVOKED_S
    assert new_order(REVOKE, "id-1", UNTIL_S_MAX, "", NOW).until == NOW + UNTIL_S_MAX


@pytest.mark.parametrize(
    ("kind", "subject", "for_s"),
    [
        (SHED, "", None),
        (SHED, "x" * 256, None),
        (SHED, "a\nb", None),
        (SHED, 7, None),
        (SHED, None, None),
        (SHED, "a", 0),
        (SHED, "a", -1),
        (SHED, "a", "60"),
        (SHED, "a", UNTIL_S_MAX + 1),
        (SHED, "a", float("nan")),
        (REVOKE, "two words", None),
        (REVOKE, "", None),
        (REVOKE, "x" * 256, None),
        (REVOKE, "id", float("inf")),
    ],
)
def test_what_is_no_order_is_400(kind: str, subject: object, for_s: object) -> None:
    with pytest.raises(OrderError) as refused:
        new_order(kind, subject, for_s, "me", NOW)
    assert refused.value.status == 400


def test_name_of_who_ordered_is_short_and_printable() -> None:
    assert new_order(SHED, "a", None, "me\x1b[2J@" + "h" * 99, NOW).by == ("me[2J@" + "h" * 99)[:64]
    assert new_order(SHED, "a", None, ["me"], NOW).by == ""


def test_patterns_and_ids_are_bounded_apart() -> None:
    orders = Orders()
    for number in range(PATTERNS_MAX):
        orders.put(Order(SHED, f"t{number}", NOW, 0.0, ""))
    for number in range(REVOKED_MAX):
        orders.put(Order(REVOKE, f"id{number}", NOW, NOW + 9, ""))
    for kind in (SHED, REVOKE):
        with pytest.raises(OrderError) as full:
            orders.put(Order(kind, "one-more", NOW, NOW + 9, ""))
        assert full.value.status == 409
    # One that is there already is only changed.
    orders.put(Order(SHED, "t0", NOW, NOW + 5, "other"))
    assert orders.get(SHED, "t0") == Order(SHED, "t0", NOW, NOW + 5, "other")
    assert len(orders) == PATTERNS_MAX + REVOKED_MAX


def test_what_is_over_is_told() -> None:
    orders = Orders([Order(SHED, "a", NOW, 0.0, ""), Order(SHED, "b", NOW, NOW + 5, "")])
    assert orders.over(NOW + 4.9) == []
    assert [order.subject for order in orders.over(NOW + 5)] == ["b"]


def test_the_core_gets_both_kinds_and_nothing_when_there_are_none() -> None:
    assert Orders().controls() is None
    controls = Orders([Order(SHED, "a.*", NOW, 0.0, ""), Order(REVOKE, "i", NOW, NOW + 5, "")]).controls()
    assert controls is not None
    assert controls.may_concern("a.b")
    assert not controls.may_concern("b")
    with pytest.raises(GateError) as revoked:
        controls.check_ids(["i"], NOW + 4)
    assert revoked.value.reason is Reason.ACL_REVOKED


def test_json_gives_them_back() -> None:
    orders = Orders([Order(SHED, "ä*", NOW, 0.0, "me"), Order(REVOKE, "i", NOW, NOW + 5, "")])
    assert orders_of(json.loads(json.dumps(plain(orders)))) == orders


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [1],
        [["shed", "a", 1, 0]],
        [["shed", 1, 1, 0, ""]],
        [["explode", "a", 1, 0, ""]],
        [["shed", "a", "1", 0, ""]],
        [["shed", "a", 1, float("inf"), ""]],
        [["revoke", "i", 1, 0, ""]],
        [["shed", str(number), 1, 0, ""] for number in range(PATTERNS_MAX + 1)],
    ],
)
def test_what_is_no_list_of_orders_is_told(data: object) -> None:
    with pytest.raises(ValueError, match="order"):
        orders_of(data)
