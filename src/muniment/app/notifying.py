"""Alerts to people and orders to systems: routed, put into the outbox and delivered, by a thread for each receiver.

A person hears of a card once (`together`): when it opens, when something graver or the first success is found of it, and an hour later
of all the rest in a summary. Machines hear of each alert.

What was sent, what could not be, and what a silence kept quiet are records; of orders every attempt is. A receiver that is
away or hangs holds up neither detection nor another receiver; an alert that no route matches is said on the status page.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from muniment.detect.alerts import Alert
from muniment.errors import AuditError
from muniment.limits import OUTBOX_TOLD_S
from muniment.respond.block import Block
from muniment.respond.notice import RULE_BY, Notice, new_notice, summary_of
from muniment.respond.notify import Outbox, Outcome
from muniment.respond.order import Order, is_for, order_about_block
from muniment.respond.routes import route
from muniment.respond.settings import NotifySettings
from muniment.respond.silences import Silences
from muniment.together import Subject, gravity, near, together

__all__ = ["Notifier"]

_log = logging.getLogger("muniment.notify")
_TOLD_NS: Final = OUTBOX_TOLD_S * 10**9
_EVERY_S: Final = 1.0
_OF_ALERTS: Final = ("alert_", "summary_", "test_")
"""How the ids of notices begin; other letters are orders, of which each is a record of its own."""
_KEPT_NS: Final = 30 * 86_400 * 10**9
_FORGET_EVERY_NS: Final = 3_600 * 10**9
_CLOSE_S: Final = 2.0
"""How long a stop waits for deliveries in hand. What is cut off is tried again after the next start, with the same id."""


class Notifier:
    """Tells people and systems. `start` it, hand it alerts and orders, `close` it."""

    def __init__(
        self,
        database: sa.Engine,
        settings: NotifySettings,
        base_url: str,
        now_ns: Callable[[], int],
        told: Callable[[str, dict[str, object]], None],
        alerts: Callable[[], Sequence[Alert]] = tuple,
    ) -> None:
        """`alerts`: all there are, for who is told of what belongs together."""
        self.outbox = Outbox(database, settings.channels, settings.actions, settings.at_most)
        self.silences = Silences(database)
        self.channels = tuple(settings.channels)
        self.actions = {name: action.types for name, action in settings.actions.items()}
        self.routes = settings.routes
        self._base_url = base_url
        self._now_ns = now_ns
        self._told = told
        self._alerts = alerts
        self._people = frozenset(settings.at_most)
        self._forgotten_at = 0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name,), name=f"notifier {name}", daemon=True)
            for name in (*self.channels, *self.actions)
        ]

    def start(self) -> None:
        """Begin to deliver; what waits for channels that were taken out of the file is told as not deliverable."""
        self._settle()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop after the deliveries in hand, or without them; the rest waits in the outbox."""
        self._stopping.set()
        deadline = time.monotonic() + _CLOSE_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def performers(self, type: str) -> list[str]:
        """The actions that take orders of a type."""
        return [name for name, types in self.actions.items() if is_for(type, types)]

    def order(self, order: Order) -> list[str]:
        """Put an order into the outbox; to which actions. Raises BusyError when the outbox is full."""
        names = self.performers(order.type)
        if names:
            self.outbox.put(order, names, self._now_ns())
        return names

    def tell_of_block(self, block: Block, type: str) -> None:
        """Tell the actions that want it of a block made, undone or over. A full outbox is a record, not an error."""
        try:
            self.order(order_about_block(block, type))
        except AuditError as error:
            self._told("order.fail", {"block": block.id, "type": type, "reason": str(error)})

    def alerts_began(self, alerts: Sequence[Alert]) -> None:
        """Put notices of new alerts into the outbox. Drills notify nobody outside."""
        now = self._now_ns()
        concerned = [alert for alert in alerts if self.channels and not alert.drill]
        if not concerned:
            return
        cards = self._cards(concerned) if self._people else {}
        # The gravest first: what else began at the same time then belongs to it.
        for alert in sorted(concerned, key=lambda each: (-gravity(each.level), not _is_of_success(each))):
            notice = _notice(alert, self._base_url)
            routing = route(notice, self.routes, self.silences.all(), now)
            if routing.silenced_by:
                self.silences.note_hidden(routing.silenced_by, now)
                self._told("notify.silence", {"alert": alert.uid, "silence": routing.silenced_by})
                continue
            try:
                folded = self._know_of_it(alert, cards.get(alert.uid, ()), now) if self._people else set()
                # No channel: it is on the page, and nobody is told.
                self.outbox.put(notice, routing.channels, now, folded=folded & self._people)
            except AuditError as error:
                self._told("notify.fail", {"alert": alert.uid, "reason": str(error)})

    def _cards(self, concerned: Sequence[Alert]) -> dict[str, list[Alert]]:
        """The alerts that are one card with each of these, by its id; itself among them."""
        every = [each for each in self._alerts() if not each.drill and each.state in {"new", "in_progress"}]
        new = {each.uid for each in concerned}
        among = near([each.group for each in every], [at for at, each in enumerate(every) if each.uid in new])
        every = [every[at] for at in among]
        subjects = [Subject(each.uid, dict(each.group), each.level, each.state, each.drill) for each in every]
        found: dict[str, list[Alert]] = {}
        for same in together(subjects):
            if len(same) > 1:
                card = [every[at] for at in same]
                found |= {each.uid: card for each in card}
        return found

    def _know_of_it(self, alert: Alert, card: Sequence[Alert], now: int) -> set[str]:
        """Channels that were lately told of something on its card that is as grave, and of a success if it is about one."""
        weighty = {
            f"alert_{each.uid}"
            for each in card
            if each.uid != alert.uid
            and gravity(each.level) >= gravity(alert.level)
            and (_is_of_success(each) or not _is_of_success(alert))
        }
        if not weighty:
            return set()
        return {
            entry.channel
            for entry in self.outbox.entries(ids=weighty)
            if entry.put_at > now - _TOLD_NS and entry.state not in {"dead", "discarded"}
        }

    def _settle(self) -> None:
        died, resumed = self.outbox.settle(self._now_ns())
        gone: Counter[str] = Counter()
        for each in died:
            if each.notice_id.startswith(_OF_ALERTS):
                gone[each.channel] += 1
            else:
                self._answered(each)
        for channel, n in gone.items():
            self._told("notify.deliver", {"channel": channel, "dead": n, "reason": died[0].remark})
        for channel, n in resumed.items():
            self._told("notify.resume", {"channel": channel, "letters": n})

    def _run(self, name: str) -> None:
        """One receiver's deliveries; each has a thread, so that one that hangs keeps nobody waiting."""
        while not self._stopping.wait(_EVERY_S):
            try:
                now = self._now_ns()
                self._forget(now)
                if gathered := self.outbox.gather(name, now, self._summary):
                    self._told("notify.gather", {"channel": name, "alerts": gathered})
                due = self.outbox.next_due(name)
                if due is None or due > now:
                    continue
                tell = self._answered if name in self.actions else _say_nothing
                done = self.outbox.deliver_due(now, name, tell)
                if name not in self.actions and (done.delivered or done.failed or done.dead):
                    counts = {"delivered": done.delivered, "failed": done.failed, "dead": done.dead}
                    self._told("notify.deliver", {"channel": name, **{key: n for key, n in counts.items() if n}})
            except Exception:  # a mistake in one channel must not end the others in silence
                _log.exception("notifications to %s", name)

    def _summary(self, notices: Sequence[Notice]) -> Notice:
        return summary_of(str(uuid.uuid4()), notices, self._now_ns(), f"{self._base_url}/alerts")

    def _answered(self, outcome: Outcome) -> None:
        """Each attempt of an order is a record of its own: an answer, or why there was none."""
        what = {"delivered": "order.answer", "failed": "order.fail", "dead": "order.dead"}[outcome.state]
        found = {
            "order": outcome.notice_id, "action": outcome.channel, "attempt": outcome.attempts, "answer": outcome.remark,
        }  # fmt: skip
        self._told(what, found)

    def _forget(self, now: int) -> None:
        if now - self._forgotten_at > _FORGET_EVERY_NS:
            self._forgotten_at = now
            self.outbox.forget_ended(now - _KEPT_NS)


def _is_of_success(alert: Alert) -> bool:
    return "success" in alert.of("outcomes")


def _say_nothing(outcome: Outcome) -> None:
    """Notices are counted, not named: there are many."""


def _notice(alert: Alert, base_url: str) -> Notice:
    """What an alert says outside: the rule, how much and where to look. Who is concerned stands behind the link."""
    lines = [line for line in alert.description.splitlines() if line.strip()]
    fields = {
        "events": str(alert.count),
        "accounts": str(len(alert.of("actors"))),
        "addresses": str(len(alert.of("addresses"))),
        RULE_BY: alert.author or "nobody named",
    }
    level = alert.level if alert.level in {"informational", "low", "medium", "high", "critical"} else "medium"
    return new_notice(
        f"alert_{alert.uid}", alert.title, level, alert.title, alert.created_ns, lines=lines,
        link=f"{base_url}/alerts/{alert.uid}", fields=fields, origins=alert.of("sources"),
    )  # fmt: skip
