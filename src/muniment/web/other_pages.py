"""Status, saved searches, help, signing in and out, preferences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import AuditError, DeniedError
from muniment.limits import PAGE_PINS_MAX
from muniment.web.address import Address
from muniment.web.backend import SavedSearch, Status, Viewer
from muniment.web.erasure_pages import ErasuresBackend
from muniment.web.fields import FIELDS, GROUPS, PINNABLE, Field
from muniment.web.site import Site, redirect
from muniment.web.times import absolute, ago, clock_text, parse_range, span_text

__all__ = ["OtherPages"]

_YEAR_S = 31_536_000


@dataclass(frozen=True, slots=True)
class StatusView:
    """The state of every part. `n_waiting`: requests of erasure that an administrator should look at."""

    status: Status
    checkpoint_clock: str
    checkpoint_age: str
    up: str
    disk: str
    per_event: str
    n_waiting: int


@dataclass(frozen=True, slots=True)
class SavedRow:
    """A saved search and where it leads."""

    saved: SavedSearch
    url: str
    when: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class SavedView:
    """One's own searches, then those others share."""

    rows: tuple[SavedRow, ...]
    is_done: str


@dataclass(frozen=True, slots=True)
class HelpView:
    """The query language on one page, and all its fields."""

    groups: tuple[tuple[str, tuple[Field, ...]], ...]


@dataclass(frozen=True, slots=True)
class LoginView:
    """`state`: ask (no link), enter (a link to spend), spent (used, expired or never was) or left (signed out)."""

    state: str
    token: str


class OtherPages:
    """The pages around the search."""

    def __init__(self, site: Site, erasures: ErasuresBackend | None = None) -> None:
        self._site = site
        self._backend = site.backend
        self._erasures = erasures

    async def status(self, request: Request, viewer: Viewer) -> Response:
        """Is everything well, and how is it known."""
        status = await self._backend.status(viewer)
        look, now = self._site.look(request), self._backend.now_ns()
        view = StatusView(
            status,
            clock_text(status.ledger.checkpoint_time, look.zone),
            ago(status.ledger.checkpoint_time, now),
            span_text(now - status.started_at),
            _size(status.ledger.disk_bytes),
            f"{status.ledger.disk_bytes / status.ledger.size:.0f} bytes" if status.ledger.size else "none yet",
            self._erasures.waiting() if self._erasures and "admin" in viewer.permissions else 0,
        )
        shell = self._site.shell(request, "Status", "status", json_url="/api/v1/status", horizon=status.horizon)
        return self._site.render("status.html", shell, view)

    async def saved(self, request: Request, viewer: Viewer) -> Response:
        """Saved searches."""
        found, status = await self._backend.saved(viewer), await self._backend.status(viewer)
        listed = [
            SavedRow(s, _saved_url(s), _saved_when(s) or "24h", s.owner in {viewer.id, viewer.name})
            for s in sorted(found, key=lambda s: (s.owner not in {viewer.id, viewer.name}, s.name.lower()))
        ]
        done = request.query_params.get("done", "")
        view = SavedView(tuple(listed), done if done in {"saved", "deleted"} else "")
        shell = self._site.shell(request, "Saved searches", "saved", json_url="/api/v1/saved", horizon=status.horizon)
        return self._site.render("saved.html", shell, view)

    async def save(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Save the search a form describes."""
        address = Address.of(fields)
        covered = parse_range(address.when, self._backend.now_ns(), self._site.look(request).zone)
        start, end = _api_range(address.when, covered.start, covered.end, covered.is_open)
        name = " ".join(fields.get("name", "").split())[:128] or address.q[:128] or "Everything"
        await self._backend.save(
            viewer,
            name=name,
            q=address.q,
            start=start,
            end=end,
            columns=list(address.columns),
            is_shared=fields.get("shared") == "1",
        )
        return redirect("/saved?done=saved")

    async def delete(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Delete a saved search of one's own."""
        await self._backend.delete_saved(viewer, request.path_params["id"])
        return redirect("/saved?done=deleted")

    async def help(self, request: Request, viewer: Viewer) -> Response:
        """The language and the keys on one page."""
        groups = tuple((g, tuple(f for f in FIELDS.values() if f.group == g and f.is_filter)) for g in GROUPS)
        return self._site.render("help.html", self._site.shell(request, "Help", "help"), HelpView(groups))

    async def login(self, request: Request) -> Response:
        """Says how to get in. A link is spent by a button, never by being looked at: mail scanners open links too."""
        token = request.path_params.get("token", "")
        is_token = bool(re.fullmatch(r"[A-Za-z0-9_-]{16,128}", token))
        if not token and self._backend.viewer(request):
            return redirect("/")
        state = "enter" if is_token else "spent" if token else "left" if request.query_params.get("left") else "ask"
        return self._site.render(
            "login.html", self._site.shell(request, "Sign in", ""), LoginView(state, token if is_token else "")
        )

    async def enter(self, request: Request) -> Response:
        """Spend a login link."""
        try:
            await self._site.fields(request)
            name, value, lifetime_s = await self._backend.enter(request.path_params["token"], request)
        except DeniedError:
            return self._site.render(
                "login.html", self._site.shell(request, "Sign in", ""), LoginView("spent", ""), 403
            )
        except AuditError as error:
            return self._site.refusal(request, error)
        answer = redirect("/")
        answer.set_cookie(
            name,
            value,
            max_age=lifetime_s,
            path="/",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def leave(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End the session."""
        name = await self._backend.leave(request)
        answer = redirect("/login?left=1")
        answer.delete_cookie(name, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    async def look(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Keep a preference in this browser: theme, zone, shortcuts, a pinned field (pinned again: no more)."""
        answer = redirect(fields.get("back", "/"))
        allowed = {
            "theme": r"auto|light|dark",
            "keys": r"on|off",
            "zone": r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}",
        }
        for name, pattern in allowed.items():
            if name in fields and re.fullmatch(pattern, fields[name]):
                answer.set_cookie(
                    f"muniment_{name}", fields[name].replace("/", "~"), max_age=_YEAR_S, path="/", httponly=True, samesite="strict",
                    secure=request.url.scheme == "https",
                )  # fmt: skip
        pin = fields.get("pin", "")
        if pin in PINNABLE:
            pins = self._site.look(request).pins
            kept = [p for p in pins if p != pin] if pin in pins else [*pins, pin][-PAGE_PINS_MAX:]
            answer.set_cookie(
                "muniment_pins", ".".join(kept), max_age=_YEAR_S, path="/", httponly=True, samesite="strict",
                secure=request.url.scheme == "https",
            )  # fmt: skip
        return answer


def _size(n_bytes: int) -> str:
    value = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _api_range(when: str, start: int | None, end: int, is_open: bool) -> tuple[str, str]:
    """A range as the API keeps it: open ones stay open (`-24h`), others are absolute."""
    if re.fullmatch(r"\d{1,5}[smhdw]", when):
        return f"-{when}", "now"
    if start is None:
        return "", "now"
    first, _, last = absolute(start, end).partition("/")
    return first, "now" if is_open else last


def _saved_when(saved: SavedSearch) -> str:
    if re.fullmatch(r"-\d{1,5}[smhdw]", saved.start) and saved.end in {"", "now"}:
        return saved.start[1:]
    return f"{saved.start}/{saved.end or 'now'}" if saved.start else "all"


def _saved_url(saved: SavedSearch) -> str:
    columns = ",".join(c for c in saved.columns if c in FIELDS)
    params = {"q": saved.q, "when": _saved_when(saved)} | ({"cols": columns} if columns else {})
    return Address.of(params).url()
