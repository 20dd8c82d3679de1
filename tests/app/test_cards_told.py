"""People hear of a card, not of each alert on it: when it opens, when it gets graver or somebody was let in; then a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from muniment.access.database import open_database
from muniment.app.notifying import Notifier
from muniment.detect.alerts import Alert, AlertBook, Finding
from muniment.detect.rule import Rule
from muniment.limits import OUTBOX_FOLDED_S, OUTBOX_TOLD_S
from muniment.respond.notice import Notice
from muniment.respond.routes import Route
from muniment.respond.settings import NotifySettings

SECOND = 10**9
NETWORK = (("src_subnet", "203.0.113.0/24"),)


class Receiver:
    def __init__(self) -> None:
        self.taken: list[Notice] = []

    def deliver(self, notice: Notice, now_ns: int) -> str:
        self.taken.append(notice)
        return ""


class Desk:
    """A chat and a machine that hear of the alerts of a book."""

    def __init__(self, database: sa.Engine) -> None:
        self.now = 10**15
        self.chat, self.machine, self._n = Receiver(), Receiver(), 0
        self.book = AlertBook(lambda records, ids: None, lambda: self.now)
        settings = NotifySettings(
            {"chat": self.chat, "machine": self.machine}, (Route("all", ("chat", "machine")),), at_most={"chat": 20}
        )
        self.notifier = Notifier(
            database, settings, "https://m.example", lambda: self.now, lambda *_: None, self.book.all
        )

    def find(self, *found: tuple[str, tuple[tuple[str, str], ...], str, str]) -> list[Alert]:
        """Rules with a title, level and outcome find something about groups."""
        findings = []
        for title, group, level, outcome in found:
            self._n += 1
            findings.append(Finding(_rule(title, level), group, (self._n,), self.now // 1_000, self.now // 1_000,
                                    {"outcomes": (outcome,)}))  # fmt: skip
        began = self.book.apply(findings)
        self.notifier.alerts_began(began)
        return began

    def told(self) -> list[str]:
        """Titles that the chat has heard since it was asked last."""
        outbox = self.notifier.outbox
        for name in ("chat", "machine"):
            outbox.gather(name, self.now, self.notifier._summary)
        outbox.deliver_due(self.now)
        titles = [each.title for each in self.chat.taken]
        self.chat.taken.clear()
        return titles


def _rule(title: str, level: str) -> Rule:
    fields: dict[str, Any] = dict.fromkeys(Rule.__dataclass_fields__, ())
    fields |= dict.fromkeys(("author", "description", "file", "status", "id", "name"), "")
    known = {"key": title, "title": title, "level": level}
    return Rule(**{name: known.get(name, value) for name, value in fields.items()})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(open_database(f"sqlite:///{tmp_path / 'meta.db'}"))


def _tries(numbers: Sequence[int], level: str = "medium") -> list[tuple[str, tuple[tuple[str, str], ...], str, str]]:
    return [("Tries", (("src_ip", f"203.0.113.{n}"),), level, "failure") for n in numbers]


def test_a_network_with_thirty_addresses_is_one_message_and_a_summary(desk: Desk) -> None:
    desk.find(("Network", NETWORK, "high", "failure"), *_tries(range(1, 11)))
    assert desk.told() == ["Network"]
    desk.find(*_tries(range(11, 31)))
    assert desk.told() == []
    desk.now += OUTBOX_FOLDED_S * SECOND
    assert desk.told() == ["30 more alerts of one rule"]
    assert len(desk.machine.taken) == 31, "a machine counts for itself"


def test_what_gets_graver_and_the_first_success_are_told_at_once(desk: Desk) -> None:
    address = (("src_ip", "192.0.2.7"),)
    desk.find(("Slow", address, "low", "failure"))
    assert desk.told() == ["Slow"]
    desk.find(("Burst", address, "high", "failure"))
    assert desk.told() == ["Burst"]
    desk.find(("Again", address, "high", "failure"), ("Let in", address, "medium", "success"))
    assert desk.told() == ["Let in"]
    desk.find(("Once more", address, "medium", "success"))
    assert desk.told() == []


def test_another_thing_is_told_at_once_while_others_wait_for_their_summary(desk: Desk) -> None:
    desk.find(*_tries([1]))
    desk.find(("Other rule", (("src_ip", "203.0.113.1"),), "low", "failure"))
    desk.find(("Tries", (("src_ip", "198.51.100.1"),), "low", "failure"))
    assert desk.told() == ["Tries", "Tries"]


def test_what_was_resolved_or_told_long_ago_is_told_anew(desk: Desk) -> None:
    first = desk.find(*_tries([1]))[0]
    assert desk.told() == ["Tries"]
    desk.now += (OUTBOX_TOLD_S + 1) * SECOND
    desk.find(("Next day", (("src_ip", "203.0.113.1"),), "low", "failure"))
    assert desk.told() == ["Next day"]
    for each in desk.book.all():
        desk.book.set_state(each.uid, "resolved", "done", "ana")
    assert first.uid
    desk.find(("After", (("src_ip", "203.0.113.1"),), "low", "failure"))
    assert desk.told() == ["After"]


def test_who_could_not_be_told_of_the_card_is_told_of_the_next(desk: Desk) -> None:
    first = desk.find(*_tries([1]))[0]
    desk.notifier.outbox.give_up(f"alert_{first.uid}", "chat", desk.now)
    desk.find(("Other", (("src_ip", "203.0.113.1"),), "low", "failure"))
    assert desk.told() == ["Other"]
