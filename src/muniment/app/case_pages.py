"""The pages of cases, answered by the same handlers as the API."""

from __future__ import annotations

from muniment.api.case_answers import (
    CaseAlertBody,
    CaseMarkBody,
    CaseNoteBody,
    CaseOwnerBody,
    CaseParams,
    CaseStateBody,
)
from muniment.api.case_operations import Casing
from muniment.app.pages import PagesBackend
from muniment.app.security_pages import as_web, checked
from muniment.cases.case import verdicts
from muniment.web.backend import Viewer
from muniment.web.case_answers import Case, Cases, CaseView, Opened

__all__ = ["CasePagesBackend"]


class CasePagesBackend:
    """Fills `web.case_answers.CasesBackend`."""

    def __init__(self, pages: PagesBackend) -> None:
        self._pages = pages
        self._casing = Casing(pages.collecting)

    async def cases(
        self, viewer: Viewer, *, state: str = "", owner: str = "", kind: str = "", value: str = "", alert: str = ""
    ) -> Cases:
        asked: dict[str, object] = {"state": state, "owner": owner, "kind": kind, "value": value, "alert": alert}
        params = checked(asked, CaseParams)
        return as_web(Cases, await self._casing.cases(self._pages.call("search", params)))

    async def case(self, viewer: Viewer, number: int) -> CaseView:
        return as_web(CaseView, await self._casing.case(self._pages.call("search", number=number)))

    async def open_case(self, viewer: Viewer, alert: str) -> Opened:
        body = checked({"alert": alert}, CaseAlertBody)
        return as_web(Opened, await self._casing.open(self._pages.call("alerts", body=body)))

    async def add_alert(self, viewer: Viewer, number: int, alert: str) -> Case:
        body = checked({"alert": alert}, CaseAlertBody)
        return as_web(Case, await self._casing.add(self._pages.call("alerts", body=body, number=number)))

    async def set_case_state(
        self, viewer: Viewer, number: int, *, state: str, verdict: str, reason: str, version: int, with_alerts: bool
    ) -> Case:
        values: dict[str, object] = {
            "state": state, "verdict": verdict, "reason": reason, "version": version, "with_alerts": with_alerts,
        }  # fmt: skip
        body = checked(values, CaseStateBody)
        return as_web(Case, await self._casing.set_state(self._pages.call("alerts", body=body, number=number)))

    async def assign_case(self, viewer: Viewer, number: int, owner: str, version: int) -> Case:
        body = checked({"owner": owner, "version": version}, CaseOwnerBody)
        return as_web(Case, await self._casing.assign(self._pages.call("alerts", body=body, number=number)))

    async def note_case(self, viewer: Viewer, number: int, text: str) -> Case:
        body = checked({"text": text}, CaseNoteBody)
        return as_web(Case, await self._casing.note(self._pages.call("alerts", body=body, number=number)))

    async def mark(self, viewer: Viewer, number: int, index: int, mark: str, reason: str) -> Case:
        body = checked({"index": index, "mark": mark, "reason": reason}, CaseMarkBody)
        return as_web(Case, await self._casing.mark(self._pages.call("alerts", body=body, number=number)))

    def verdicts(self) -> dict[str, str]:
        return dict(verdicts())
