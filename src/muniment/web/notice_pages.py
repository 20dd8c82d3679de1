"""Who is told of alerts: channels and routes, what waits or could not be delivered, and silences that end.

A dead letter is never only counted: it says what the channel answered and can be sent again by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.web.backend import Viewer
from muniment.web.refused import Refused, refused
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text, span_text

__all__ = ["Delivery", "NoticeAction", "NoticePages", "NoticeRoute", "Notices", "NoticesBackend", "Quiet"]

_DEAD_SHOWN = 50
_SHOWN = 20
_EVERY = "*"
_ENDED_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice on its way to one channel. `state`: pending, held, gathered, delivered, dead, discarded; times UTC ns, 0: not yet."""

    notice_id: str
    channel: str
    state: str
    attempts: int
    put_at: int
    next_at: int
    ended_at: int
    remark: str
    title: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class NoticeRoute:
    """Which notices go to which channels, and when."""

    name: str
    channels: tuple[str, ...]
    severity_min: str
    rules: tuple[str, ...]
    sources: tuple[str, ...]
    when: str


@dataclass(frozen=True, slots=True)
class NoticeAction:
    """Who carries orders out, and of which types."""

    name: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notices:
    """Everything about who is told."""

    channels: tuple[str, ...]
    routes: tuple[NoticeRoute, ...]
    notifications: tuple[Delivery, ...]
    actions: tuple[NoticeAction, ...] = ()
    by_state: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quiet:
    """A silence. Times UTC ns."""

    number: int
    source: str
    from_ns: int
    until_ns: int
    by: str
    reason: str
    severity_max: str
    hidden: int = 0
    last_hidden_ns: int = 0


class NoticesBackend(Protocol):
    """What these pages need; every method raises the errors of `muniment.errors`."""

    async def notices(self, viewer: Viewer) -> Notices:
        """Channels, routes and deliveries."""
        ...

    async def silences(self, viewer: Viewer) -> Sequence[Quiet]:
        """All silences, ended ones among them."""
        ...

    async def silence(self, viewer: Viewer, *, source: str, reason: str, hours: int, severity_max: str) -> None:
        """Tell nobody of some alerts for a time."""
        ...

    async def end_silence(self, viewer: Viewer, number: int) -> None:
        """End a silence now."""
        ...

    async def revive(self, viewer: Viewer, notice_id: str, channel: str) -> None:
        """Try a dead letter again."""
        ...

    async def discard(self, viewer: Viewer, notice_id: str, channel: str) -> None:
        """Nobody wants a dead letter any more."""
        ...

    async def test(self, viewer: Viewer, channel: str) -> None:
        """Send a test to a channel and wait for its answer, which the list of deliveries then has."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel: how it fares."""

    name: str
    state: str
    words: str
    remark: str
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A notice that waits, is dead, or went out; `can_go`: its channel is there."""

    letter: Delivery
    alert: str
    when: str
    clock: str
    words: str
    can_go: bool


@dataclass(frozen=True, slots=True)
class Heap:
    """A channel that has several dead letters, which are dealt with together."""

    channel: str
    n: int
    can_go: bool


@dataclass(frozen=True, slots=True)
class QuietRow:
    """A silence: when it ends or ended, and what it hid."""

    quiet: Quiet
    words: str
    hid: str


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of a test: whether the channel took it, and what it said."""

    channel: str
    is_taken: bool
    remark: str


@dataclass(frozen=True, slots=True)
class NoticesView:
    """The page."""

    channels: tuple[ChannelRow, ...]
    routes: tuple[NoticeRoute, ...]
    dead: tuple[LetterRow, ...]
    waiting: tuple[LetterRow, ...]
    sent: tuple[LetterRow, ...]
    silences: tuple[QuietRow, ...]
    ended: tuple[QuietRow, ...]
    may_change: bool
    source: str
    n_dead: int
    n_waiting: int
    n_sent: int
    actions: tuple[ChannelRow, ...] = ()
    tested: Tested | None = None
    refused: Refused | None = None
    heaps: tuple[Heap, ...] = ()


def _hid(quiet: Quiet, now: int) -> str:
    if not quiet.hidden:
        return "nothing"
    return f"{quiet.hidden:,} {'alert' if quiet.hidden == 1 else 'alerts'}, the last {ago(quiet.last_hidden_ns, now)}"


def _heaps(found: Notices) -> tuple[Heap, ...]:
    dead = Counter(each.channel for each in found.notifications if each.state == "dead")
    there = {*found.channels, *(action.name for action in found.actions)}
    return tuple(Heap(channel, n, channel in there) for channel, n in dead.items() if n > 1)


def _tested(channel: str, found: Notices) -> Tested | None:
    """What became of the newest test of a channel."""
    for each in found.notifications:
        if each.channel == channel and each.notice_id.startswith("test_"):
            return Tested(channel, each.state == "delivered", each.remark)
    return None


class NoticePages:
    """The page of notices and its forms."""

    def __init__(self, site: Site, backend: NoticesBackend) -> None:
        self._site = site
        self._backend = backend

    async def page(self, request: Request, viewer: Viewer) -> Response:
        """Channels, routes, letters and silences."""
        return await self._page(request, viewer)

    async def _page(self, request: Request, viewer: Viewer, told: Refused | None = None, status: int = 200) -> Response:
        found, quiet = await self._backend.notices(viewer), await self._backend.silences(viewer)
        now = self._site.backend.now_ns()

        def by_state(*states: str) -> tuple[LetterRow, ...]:
            own = [each for each in found.notifications if each.state in states]
            return tuple(
                self._letter(request, each, now, found) for each in own[: _DEAD_SHOWN if "dead" in states else _SHOWN]
            )

        def n_of(*states: str) -> int:
            return sum(found.by_state.get(state, 0) for state in states)

        view = NoticesView(
            tuple(_channel(name, found, now) for name in found.channels),
            found.routes,
            by_state("dead"),
            by_state("pending", "held"),
            by_state("delivered", "gathered", "discarded"),
            tuple(
                QuietRow(each, f"{span_text(each.until_ns - now)} left", _hid(each, now))
                for each in quiet
                if each.until_ns > now
            ),
            tuple(
                QuietRow(each, ago(each.until_ns, now), _hid(each, now))
                for each in quiet
                if each.until_ns <= now and each.hidden
            )[:_ENDED_SHOWN],
            "rules" in viewer.permissions,
            request.query_params.get("source", "")[:200],
            n_of("dead"),
            n_of("pending", "held"),
            n_of("delivered", "gathered", "discarded"),
            tuple(
                replace(_channel(each.name, found, now, "nothing asked yet"), routes=each.types)
                for each in found.actions
            ),
            _tested(request.query_params.get("tested", ""), found),
            told,
            _heaps(found),
        )
        shell = self._site.shell(request, "Who is told", "alerts", json_url="/api/v1/notifications")
        return self._site.render("notices.html", shell, view, status)

    async def silence(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Add a silence."""
        hours = fields.get("hours", "")
        try:
            await self._backend.silence(
                viewer, source=fields.get("source", ""), reason=fields.get("reason", ""),
                hours=int(hours) if hours.isdecimal() and len(hours) < 5 else 0, severity_max=fields.get("severity_max", "high"),
            )  # fmt: skip
        except RejectedError as error:
            return await self._page(request, viewer, refused("silence", error, fields), error.status)
        return redirect("/notices#silences")

    async def end(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End a silence; one that is over says so where the silences are."""
        number = fields.get("number", "")
        try:
            if not number.isdecimal() or len(number) > 12:
                raise RejectedError("there is no such silence", status=404)
            await self._backend.end_silence(viewer, int(number))
        except RejectedError as error:
            return await self._page(request, viewer, _whole("end", error, fields), error.status)
        return redirect("/notices#silences")

    async def revive(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Send a dead letter again, or all of a channel."""
        try:
            await self._each_letter(viewer, fields, self._backend.revive)
        except RejectedError as error:
            return await self._page(request, viewer, _whole("again", error, fields), error.status)
        return redirect("/notices")

    async def discard(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Nobody wants a dead letter any more, or any of a channel."""
        try:
            await self._each_letter(viewer, fields, self._backend.discard)
        except RejectedError as error:
            return await self._page(request, viewer, _whole("again", error, fields), error.status)
        return redirect("/notices")

    async def _each_letter(
        self, viewer: Viewer, fields: dict[str, str], act: Callable[[Viewer, str, str], Awaitable[None]]
    ) -> None:
        """Each is a record of its own. Of all of a channel one that somebody else has dealt with meanwhile is passed over."""
        notice, channel = fields.get("notice", "")[:64], fields.get("channel", "")[:64]
        if notice != _EVERY:
            await act(viewer, notice, channel)
            return
        n = 0
        for each in (await self._backend.notices(viewer)).notifications:
            if (each.state, each.channel) == ("dead", channel):
                with suppress(RejectedError):
                    await act(viewer, each.notice_id, channel)
                    n += 1
        if not n:
            raise RejectedError("there is no dead letter of this channel any more", status=404)

    async def test(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Send a test; the page then says what became of it."""
        channel = fields.get("channel", "")[:64]
        try:
            await self._backend.test(viewer, channel)
        except RejectedError as error:
            return await self._page(request, viewer, _whole("test", error, fields), error.status)
        return redirect(f"/notices?tested={quote(channel, safe='')}")

    def _letter(self, request: Request, each: Delivery, now: int, found: Notices) -> LetterRow:
        alert = each.notice_id.removeprefix("alert_")
        can_go = each.channel in (*found.channels, *(action.name for action in found.actions))
        words = {
            "dead": _given_up(each, can_go),
            "discarded": "discarded",
            "pending": f"tried {each.attempts} {'time' if each.attempts == 1 else 'times'}, next {_until(each.next_at, now)}"
            if each.attempts
            else "about to go",
            "held": f"told {_until(each.next_at, now)} in a summary, {each.remark or 'as there are many'}",
            "gathered": "told in a summary",
            "delivered": "sent" if each.attempts <= 1 else f"sent at try {each.attempts}",
        }[each.state]
        at = each.ended_at or each.put_at
        url = f"/alerts/{alert}" if alert != each.notice_id else ""
        if each.notice_id.startswith("block_"):
            url = f"/blocks/{each.notice_id.split('_')[1]}"
        elif not url and not each.notice_id.startswith(("test_", "summary_")):
            url = f"/orders/{each.notice_id}"
        clock = clock_text(at, self._site.look(request).zone)
        return LetterRow(each, url, ago(at, now), clock, words, can_go)


def _whole(form: str, error: RejectedError, fields: dict[str, str]) -> Refused:
    """A form of one button: what was refused is about it as a whole."""
    return refused(form, RejectedError(error.reason), fields)


def _channel(name: str, found: Notices, now: int, idle: str = "") -> ChannelRow:
    own = [each for each in found.notifications if each.channel == name]
    routes = tuple(route.name for route in found.routes if name in route.channels)
    ended = sorted((each for each in own if each.state in {"delivered", "dead"}), key=lambda each: each.ended_at)
    failing = [each for each in own if each.state == "pending" and each.attempts]
    if ended and ended[-1].state == "dead":
        return ChannelRow(name, "silent", f"gave up {ago(ended[-1].ended_at, now)}", ended[-1].remark, routes)
    if failing:
        return ChannelRow(name, "quiet", f"tried again later: {len(failing)}", failing[0].remark, routes)
    if ended:
        return ChannelRow(name, "fresh", f"last sent {ago(ended[-1].ended_at, now)}", "", routes)
    idle = idle or ("nothing sent yet" if routes else "no route leads to it")
    return ChannelRow(name, "never", idle, "", routes)


def _given_up(letter: Delivery, can_go: bool) -> str:
    if not can_go:
        return "nobody delivers it: it goes on when its channel is in the file again"
    if not letter.attempts:
        return "given up"
    return f"given up after {letter.attempts} {'try' if letter.attempts == 1 else 'tries'}"


def _until(at: int, now: int) -> str:
    return f"in {span_text(at - now)}" if at > now else "now"
