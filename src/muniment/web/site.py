"""What every page shares: templates, static files under their hash, headers, preferences, forms, refusals.

The policy allows nothing but our own files and no inline code, and browsers that know Trusted Types refuse to turn
text into markup at all: log text that gets past escaping still cannot run.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import tzinfo
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from muniment.errors import AuditError, BusyError, DeniedError, RejectedError, StorageError
from muniment.limits import PAGE_FORM_BYTES_MAX, PAGE_PINS_MAX
from muniment.web.backend import Backend, Horizon, Viewer
from muniment.web.fields import PINNABLE
from muniment.web.shown import plain, shown
from muniment.web.times import ago, clock_text, utc_text, zone_of

__all__ = ["HEADERS", "Look", "Problem", "Shell", "Site", "redirect"]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_MEDIA: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_YEAR_S: Final = 31_536_000
_log = logging.getLogger("muniment.web")


@dataclass(frozen=True, slots=True)
class Look:
    """How this browser wants its pages. `theme`: auto, light or dark; `has_keys`: single-key shortcuts are on.

    `pins`: fields whose most frequent values stand first.
    """

    theme: str
    zone_name: str
    zone: tzinfo
    has_keys: bool
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shell:
    """What the frame of every page shows. `here` is the page's own address; `json_url` the same data as JSON."""

    title: str
    section: str
    viewer: Viewer | None
    look: Look
    static: str
    here: str
    json_url: str = ""
    horizon: Horizon | None = None
    refresh_s: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """A page that says what went wrong, what to do and whom to ask."""

    status: int
    heading: str
    words: str
    advice: str
    permission: str
    request_id: str
    back: tuple[str, str] = ("/", "To the search")


_LISTS: Final = {
    "alerts": "To the alerts", "blocks": "To the blocks", "cases": "To the cases", "formats": "To the formats",
    "notices": "Who is told", "orders": "Ended sessions", "rules": "To the rules", "sources": "To the sources",
}  # fmt: skip
"""Where somebody goes on from a page that is not there, by how its address begins."""


class Site:
    """The pages' common ground over one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        folder = files("muniment.web") / "static"
        self._static = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}
        # One hash over all: modules import each other by relative name, so they must change address together.
        digest = hashlib.sha256(
            b"".join(n.encode() + b"\0" + self._static[n] for n in sorted(self._static))
        ).hexdigest()
        self.static = f"/static/{digest[:16]}"
        self._templates = Environment(
            loader=PackageLoader("muniment.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_finalized,
        )
        self._templates.filters.update(
            shown=shown,
            count=_count,
            hex=bytes.hex,
            ago=ago,
            utc=utc_text,
            verbatim=Markup.escape,
            clock=clock_text,
            quote_path=quote,
        )

    def look(self, request: Request) -> Look:
        """The preferences of the browser that asks."""
        theme = request.cookies.get("muniment_theme", "auto")
        name = request.cookies.get("muniment_zone", "UTC").replace("~", "/")
        zone = zone_of(name)
        return Look(
            theme if theme in {"light", "dark"} else "auto",
            "UTC" if zone is zone_of("UTC") else name,
            zone,
            request.cookies.get("muniment_keys", "on") != "off",
            tuple(
                dict.fromkeys(
                    n for n in request.cookies.get("muniment_pins", "").split(".")[:PAGE_PINS_MAX] if n in PINNABLE
                )
            ),
        )

    def shell(self, request: Request, title: str, section: str, **more: Any) -> Shell:
        """The frame for a page."""
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return Shell(title, section, self.backend.viewer(request), self.look(request), self.static, here, **more)

    def render(self, template: str, shell: Shell, view: object, status: int = 200) -> Response:
        """A page. Never stored by anybody: it holds what its reader may see."""
        text = self._templates.get_template(template).render(shell=shell, view=view, now_ns=self.backend.now_ns())
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status, {**HEADERS, "Cache-Control": "no-store"})

    def page(self, work: Callable[[Request, Viewer], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint for signed-in people; every refusal becomes a page."""

        async def endpoint(request: Request) -> Response:
            try:
                viewer = self.backend.viewer(request)
                if viewer is None:
                    return redirect("/login")
                if "search" not in viewer.permissions:
                    raise DeniedError("reading the log needs the permission 'search'", permission="search")
                return await work(request, viewer)
            except AuditError as error:
                return self.refusal(request, error)
            except Exception as error:
                return self.failure(request, error)

        return endpoint

    def form(
        self,
        work: Callable[[Request, Viewer, dict[str, str]], Awaitable[Response]],
        bytes_max: int = PAGE_FORM_BYTES_MAX,
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that changes something: signed in, from our own page, with its token."""

        async def change(request: Request, viewer: Viewer) -> Response:
            fields = await self.fields(request, bytes_max)
            if not hmac.compare_digest(viewer.csrf.encode(), fields.get("csrf", "").encode("utf-8", "replace")):
                raise DeniedError("the form's token is missing or stale; load the page again and repeat")
            return await work(request, viewer, fields)

        return self.page(change)

    async def fields(self, request: Request, bytes_max: int = PAGE_FORM_BYTES_MAX) -> dict[str, str]:
        """The posted fields, bounded; from our own pages only."""
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise DeniedError("this form was sent by another site")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise RejectedError(f"larger than {bytes_max} bytes", field="form", status=413)
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def refusal(self, request: Request, error: AuditError) -> Response:
        """The page for an error: what happened, what to do, whom to ask."""
        request_id = secrets.token_hex(6)
        problem = Problem(
            500, "Something went wrong", str(error), "Tell an administrator and give this number.", "", request_id
        )
        if isinstance(error, DeniedError) and not error.is_authenticated:
            problem = Problem(
                401, "Please sign in", str(error), "Open a login link. An administrator makes new ones.", "", request_id
            )
        elif isinstance(error, DeniedError):
            advice = "An administrator can grant it." if error.permission else "Go back and try again."
            advice = "" if "an administrator can grant it" in str(error) else advice
            problem = Problem(403, "This is not open to you", str(error), advice, error.permission, request_id)
        elif isinstance(error, RejectedError):
            heading = "Not found" if error.status == 404 else "That cannot be done"
            advice = "Check the address, or search for it."
            if request.method == "POST" and error.status != 404:
                advice = "Nothing was changed. Go back, mend it and send it again."
            problem = Problem(error.status, heading, str(error), advice, "", request_id, _list_of(request.url.path))
        elif isinstance(error, BusyError):
            problem = Problem(503, "Busy", str(error), "Load the page again in a moment.", "", request_id)
        elif isinstance(error, StorageError):
            problem = Problem(
                503, "The disk refuses", str(error), "An operator must look at the disk now.", "", request_id
            )
        if problem.status >= 500:
            _log.warning("page %s refused, number %s: %s", request.url.path, request_id, error)
        return self.render("problem.html", self.shell(request, problem.heading, ""), problem, problem.status)

    def failure(self, request: Request, error: Exception) -> Response:
        """The page for what nobody foresaw: its words stay in the server's log, under the number the page shows."""
        number = secrets.token_hex(6)
        _log.error("page %s failed, number %s", request.url.path, number, exc_info=error)
        words = "This page could not be made. Nothing that was recorded is affected by it."
        advice = (
            "Load it again. If that does not help, give an administrator this number: it stands in the server's log."
        )
        problem = Problem(500, "Something went wrong", words, advice, "", number)
        return self.render("problem.html", self.shell(request, problem.heading, ""), problem, problem.status)

    def static_file(self, request: Request) -> Response:
        """A file of the current tree; its address changes with its content, so it may be kept for ever."""
        name = request.path_params["name"]
        if request.path_params["tree"] != self.static.rpartition("/")[2] or name not in self._static:
            return Response("not found", 404, HEADERS, "text/plain")
        cache = {"Cache-Control": f"public, max-age={_YEAR_S}, immutable"}
        return Response(self._static[name], 200, {**HEADERS, **cache}, _MEDIA[name.rpartition(".")[2]])


def _list_of(path: str) -> tuple[str, str]:
    """The list that a page was one of; the search where it was of none, or is a list itself.

    >>> _list_of("/rules/one"), _list_of("/events/7"), _list_of("/rules")
    (('/rules', 'To the rules'), ('/', 'To the search'), ('/', 'To the search'))
    """
    _, _, rest = path.partition("/")
    first, _, more = rest.partition("/")
    return (f"/{first}", _LISTS[first]) if more and first in _LISTS else ("/", "To the search")


def redirect(target: str, status: int = 303) -> Response:
    """To one of our own pages; anything else leads home."""
    parts = urlsplit(target)
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return RedirectResponse(target if is_ours else "/", status, {**HEADERS, "Cache-Control": "no-store"})


def _finalized(value: object) -> object:
    """Everything printed that is not markup already loses its hidden characters."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _count(value: int) -> str:
    """Digits in threes, with a narrow space that does not break."""
    return f"{value:,}".replace(",", "\u202f")
