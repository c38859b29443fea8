from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

from sealgate.ops.health import Report
from sealgate.ops.status import ROWS_MAX, Facts, render
from sealgate.session.records import Tally

GOOD = Report({"loop": ""})


class Page(HTMLParser):
    """A page's texts and tags; a stray tag would show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


def page(tally: Tally, ready: Report = GOOD, about: dict[str, str] | None = None) -> Page:
    facts = Facts(about or {}, started_at=1_700_000_000.0, now=1_700_000_060.0)
    return Page(render(facts, GOOD, ready, tally))


def test_an_idle_gateway_has_a_page_that_says_it_is_ready() -> None:
    texts = page(Tally(), about={"deployment": "prod"}).texts
    assert "Sealgate is ready" in texts
    assert "prod" in texts
    assert "2023-11-14 22:13:20+00:00" in texts


def test_a_failing_check_is_in_the_title_and_in_its_row() -> None:
    texts = page(Tally(), ready=Report({"store": "no answer"})).texts
    assert "Sealgate is not ready" in texts
    assert texts[texts.index("store") + 1] == "no answer"


def test_messages_are_added_up_by_verdict_and_by_reason() -> None:
    tally = Tally()
    tally.messages["publish", "accepted", "ok"] = 3
    tally.messages["publish", "refused", "sig.bad"] = 4
    tally.messages["publish", "refused", "sig.missing"] = 5
    tally.messages["publish", "observed", "sig.bad"] = 6
    tally.use_of("k1").note(1, 1_700_000_030.0, 0, "")
    texts = page(tally).texts
    rows = dict(pairwise(texts))
    assert rows["publish refused"] == "9"
    assert rows["sig.bad (refused)"] == "4"
    assert rows["sig.bad (observed)"] == "6"
    assert "ok (accepted)" not in rows
    assert rows["k1"].endswith("30 s ago")


def test_everything_on_the_page_is_escaped() -> None:
    evil = "<script>alert('1')</script>"
    tally = Tally()
    tally.use_of(evil).note(1, 1.0, 0, "")
    tally.messages[evil, evil, evil] = 1
    found = page(tally, ready=Report({evil: evil}), about={evil: evil})
    assert "script" not in found.tags
    assert found.texts.count(evil) >= 4


def test_the_page_needs_nothing_from_elsewhere() -> None:
    assert page(Tally()).links == ["metrics", "livez?verbose", "readyz?verbose"]


def test_a_table_has_an_end() -> None:
    tally = Tally()
    for number in range(ROWS_MAX * 5):
        tally.messages["publish", "refused", f"r{number}"] = 1
        tally.use_of(f"k{number}").note(1, 1.0, 0, "")
    assert page(tally).tags.count("tr") < 3 * ROWS_MAX
