"""The notifier's own loop puts a storm together when its time is over, and writes down that it did."""

from __future__ import annotations

from pathlib import Path

from tests.live import within

from muniment.access.database import open_database
from muniment.app.notifying import Notifier
from muniment.limits import OUTBOX_STORM_S
from muniment.respond.notice import Notice, new_notice
from muniment.respond.settings import NotifySettings

SECOND = 10**9


class Chat:
    def __init__(self) -> None:
        self.taken: list[Notice] = []

    def deliver(self, notice: Notice, now_ns: int) -> str:
        self.taken.append(notice)
        return ""


def test_a_storm_is_put_together_when_its_time_is_over(tmp_path: Path) -> None:
    chat, now, told = Chat(), [SECOND], list[tuple[str, dict[str, object]]]()
    notifier = Notifier(
        open_database(f"sqlite:///{tmp_path / 'meta.db'}"), NotifySettings({"chat": chat}, at_most={"chat": 2}),
        "https://m.example", lambda: now[0], lambda action, found: told.append((action, found)),
    )  # fmt: skip
    for n in range(5):
        notifier.outbox.put(new_notice(f"n{n}", "A rule", "high", "A rule", 1), ["chat"], now[0])
    notifier.start()
    try:
        within(10, lambda: len(chat.taken) == 2, "the first two are not told")
        assert not [action for action, _ in told if action == "notify.gather"]
        now[0] += OUTBOX_STORM_S * SECOND
        within(10, lambda: len(chat.taken) == 3, "the summary is not told")
    finally:
        notifier.close()
    assert (chat.taken[2].title, chat.taken[2].link) == ("3 more alerts of one rule", "https://m.example/alerts")
    assert ("notify.gather", {"channel": "chat", "alerts": 3}) in told
