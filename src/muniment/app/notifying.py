"""Alerts to people: when one begins it is routed, put into the outbox and delivered by a thread of its own.

What was sent, what could not be, and what a silence kept quiet are records. A receiver that is away never holds up
detection; an alert that no route matches is said on the status page.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from muniment.detect.alerts import Alert
from muniment.errors import AuditError
from muniment.respond.notice import Notice, new_notice
from muniment.respond.notify import Outbox
from muniment.respond.routes import route
from muniment.respond.settings import NotifySettings
from muniment.respond.silences import Silences

__all__ = ["Notifier"]

_log = logging.getLogger("muniment.notify")
_EVERY_S: Final = 1.0
_KEPT_NS: Final = 30 * 86_400 * 10**9


class Notifier:
    """Tells people. `start` it, hand it alerts, `close` it."""

    def __init__(
        self,
        database: sa.Engine,
        settings: NotifySettings,
        base_url: str,
        now_ns: Callable[[], int],
        told: Callable[[str, dict[str, object]], None],
    ) -> None:
        self.outbox = Outbox(database, settings.channels)
        self.silences = Silences(database)
        self.channels = tuple(settings.channels)
        self.routes = settings.routes
        self._base_url = base_url
        self._now_ns = now_ns
        self._told = told
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        if self.channels:
            self._thread.start()

    def close(self) -> None:
        """Stop after the delivery in hand; the rest waits in the outbox."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def alerts_began(self, alerts: Sequence[Alert]) -> None:
        """Put notices of new alerts into the outbox. Drills notify nobody outside."""
        now = self._now_ns()
        for alert in alerts:
            if alert.drill or not self.channels:
                continue
            notice = _notice(alert, self._base_url)
            routing = route(notice, self.routes, self.silences.all(), now)
            if routing.silenced_by:
                self._told("notify.silence", {"alert": alert.uid, "silence": routing.silenced_by})
                continue
            try:
                self.outbox.put(notice, routing.channels, now)
            except AuditError as error:
                self._told("notify.fail", {"alert": alert.uid, "reason": str(error)})

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                now = self._now_ns()
                due = self.outbox.next_due()
                if due is None or due > now:
                    continue
                done = self.outbox.deliver_due(now)
                if done.delivered or done.failed or done.dead:
                    counts = {"delivered": done.delivered, "failed": done.failed, "dead": done.dead}
                    self._told("notify.deliver", {name: n for name, n in counts.items() if n})
                self.outbox.forget_ended(now - _KEPT_NS)
            except Exception:  # a mistake in one channel must not end the others in silence
                _log.exception("notifications")


def _notice(alert: Alert, base_url: str) -> Notice:
    """What an alert says outside: the rule, how much and where to look. Who is concerned stands behind the link."""
    lines = [line for line in alert.description.splitlines() if line.strip()]
    fields = {
        "events": str(alert.count),
        "accounts": str(len(alert.of("actors"))),
        "addresses": str(len(alert.of("addresses"))),
        "rule by": alert.author or "unknown",
    }
    level = alert.level if alert.level in {"informational", "low", "medium", "high", "critical"} else "medium"
    return new_notice(
        f"alert_{alert.uid}", alert.title, level, alert.title, alert.created_ns, lines=lines,
        link=f"{base_url}/alerts/{alert.uid}", fields=fields,
    )  # fmt: skip
