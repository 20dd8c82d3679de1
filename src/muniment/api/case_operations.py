"""Operations of cases: open one from an alert, look at it with its timeline, decide about it, take its evidence file.

Who may search may look at a case: all that stands in it is in the log. Who may handle alerts may decide.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muniment.api.case_answers import (
    Called,
    CaseAlertBody,
    CaseAnswer,
    CaseListAnswer,
    CaseMarkBody,
    CaseNoteAnswer,
    CaseNoteBody,
    CaseOpenAnswer,
    CaseOwnerBody,
    CaseParams,
    CaseStateBody,
    CaseViewAnswer,
    alert_answer,
    case_answer,
    gap_answer,
    line_answer,
)
from muniment.api.case_records import case_event, record_acts
from muniment.api.evidence_file import evidence_bytes
from muniment.api.operations import Call, Empty, Operation, Raw
from muniment.api.search_operations import HorizonAnswer
from muniment.api.services import Services
from muniment.cases.about import About, about, sentence
from muniment.cases.case import Case, Subject
from muniment.cases.cases import Told
from muniment.cases.gaps import Gap, gaps
from muniment.cases.lines import Line, notices
from muniment.cases.timeline import OWN_SOURCE, Draft, draft
from muniment.detect.admitted import admitted
from muniment.detect.alerts import Alert, kept_alerts
from muniment.errors import DeniedError, RejectedError
from muniment.evidence.bundle import MEMBERS_MAX
from muniment.limits import CASE_EVIDENCE_MAX
from muniment.together import Subject as Together
from muniment.together import together

__all__ = ["Casing", "case_operations"]

_ACTIVE: Final = ("open", "contained")
_OTHERS_MAX: Final = 50
_LISTED_MAX: Final = 500


def case_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    c = Casing(services)
    conflict = frozenset({404, 409})
    return [
        Operation("GET", "/api/v1/cases", "cases", "Cases, the newest change first", "search", c.cases, params=CaseParams,
                  answer=CaseListAnswer, tag="cases"),
        Operation("POST", "/api/v1/cases", "case_open", "Open a case from an alert; a second time leads to the case there is",
                  "alerts", c.open, body=CaseAlertBody, answer=CaseOpenAnswer, status=201, tag="cases", refusals=conflict),
        Operation("GET", "/api/v1/cases/{number}", "case", "One case with its timeline, as the log has it now", "search",
                  c.case, answer=CaseViewAnswer, tag="cases"),
        Operation("POST", "/api/v1/cases/{number}/alerts", "case_add", "Another alert in a case", "alerts", c.add,
                  body=CaseAlertBody, answer=CaseAnswer, tag="cases", refusals=conflict),
        Operation("POST", "/api/v1/cases/{number}/state", "case_state", "Contain a case, close it with a verdict, open it again",
                  "alerts", c.set_state, body=CaseStateBody, answer=CaseAnswer, tag="cases", refusals=conflict),
        Operation("POST", "/api/v1/cases/{number}/owner", "case_owner", "Give a case to somebody, or to nobody", "alerts",
                  c.assign, body=CaseOwnerBody, answer=CaseAnswer, tag="cases", refusals=conflict),
        Operation("POST", "/api/v1/cases/{number}/notes", "case_note", "Write something to a case", "alerts", c.note,
                  body=CaseNoteBody, answer=CaseAnswer, tag="cases", refusals=conflict),
        Operation("POST", "/api/v1/cases/{number}/marks", "case_mark", "Pin an event to a case, or leave a line out of it",
                  "alerts", c.mark, body=CaseMarkBody, answer=CaseAnswer, tag="cases", refusals=conflict),
        Operation("GET", "/api/v1/cases/{number}/evidence", "case_evidence", "The evidence file of a case, which verifies offline",
                  "export", c.evidence, media_types=("application/zip",), tag="cases", refusals=frozenset({404, 409})),
    ]  # fmt: skip


class Casing:
    """The handlers. What is decided and its record are kept together; the answer leaves when the ledger has the record."""

    def __init__(self, services: Services) -> None:
        self._s = services

    # --- looking --------------------------------------------------------------------------------------------------

    async def cases(self, call: Call[CaseParams, Empty]) -> CaseListAnswer:
        _all_rows(call)
        p = call.params
        found = await self._s.blocking(lambda: self._list(p))
        await self._s.recorder.note(
            call, "case.list", "ledger", self._s.ledger.origin, results=len(found.cases), entity=p.value, alert=p.alert
        )
        return found

    def _list(self, p: CaseParams) -> CaseListAnswer:
        every = self._s.cases.all()
        counts = dict(Counter(each.state for each in every))
        if p.alert:
            alert = self._alert(p.alert)
            own = [each for each in every if alert.uid in each.alerts]
            if own:
                return CaseListAnswer(self._answers(own), counts)
            concerned = about([alert])
            active = [each for each in every if each.state in _ACTIVE and each.drill == alert.drill]
            near = [each for each in self._looked(active) if each.about.meets(concerned)]
            return CaseListAnswer([], counts, [each.answer() for each in near])
        looked = self._looked([each for each in every if _is_wanted(each, p)][:_LISTED_MAX])
        if p.value:
            kinds = [p.kind] if p.kind else ["address", "range", "account"]
            looked = [each for each in looked if any(each.about.has(kind, p.value) for kind in kinds)]
        return CaseListAnswer([each.answer() for each in looked], counts)

    async def case(self, call: Call[Empty, Empty]) -> CaseViewAnswer:
        _all_rows(call)
        number = int(call.path["number"])
        found = await self._s.blocking(lambda: self._view(self._s.cases.get(number)))
        await self._s.recorder.note(
            call, "case.view", "case", str(number), results=sum(line.count for line in found.lines)
        )
        return found

    def _view(self, case: Case) -> CaseViewAnswer:
        looked, called = self._looked([case])[0], self._s.keys.called
        alerts, concerned = looked.alerts, looked.about
        drafted = self._draft(case, alerts, concerned)
        horizon, sources = self._s.horizon(), [each for each in drafted.sources if each != OWN_SOURCE]
        lines = [*drafted.lines, *self._notices(case, drafted)]
        others = self._others(case, concerned) if case.state in _ACTIVE else []
        return CaseViewAnswer(
            looked.answer(),
            drafted.from_us, drafted.to_us, drafted.is_cut,
            [line_answer(each, called) for each in sorted(lines, key=lambda each: (each.at_us, each.index))],
            [line_answer(each, called) for each in drafted.left_out], drafted.n_untold, drafted.n_untold_events,
            list(map(gap_answer, self._gaps(drafted, sources))), sources, [each for each in sources if not self._rhythm(each)],
            list(map(alert_answer, others)),
            [CaseNoteAnswer(each.at, called(each.by), each.text) for each in self._s.cases.notes(case.number)],
            HorizonAnswer(horizon.complete_to_index, horizon.complete_to_time, horizon.ledger_size, horizon.pending),
        )  # fmt: skip

    def _others(self, case: Case, concerned: About) -> list[Alert]:
        """Open alerts about the same that are in no case yet, the newest first."""
        found = [
            each for each in self._s.alerts.all()
            if each.state in {"new", "in_progress"} and each.uid not in case.alerts and each.drill == case.drill
            and about([each]).meets(concerned)
        ]  # fmt: skip
        return [each for each in found[:_OTHERS_MAX] if self._s.cases.of_alert(each.uid) is None]

    def _draft(self, case: Case, alerts: Sequence[Alert], concerned: About) -> Draft:
        marks = self._s.cases.marks(case.number)
        return draft(self._s.engine, case, alerts, concerned, marks, self._s.clock())

    def _gaps(self, drafted: Draft, sources: Sequence[str]) -> list[Gap]:
        """Of the sources concerned, and of Muniment itself: it says something every hour."""
        rhythms = {}
        for source in (*sources, OWN_SOURCE):
            info = self._s.sources.get(source)
            if info is not None and not info.retired_at:
                rhythms[source] = (info.rhythm_s, info.created_at // 1_000)
        return gaps(self._s.engine, rhythms, drafted.from_us, min(drafted.to_us, self._s.clock() // 1_000))

    def _rhythm(self, source: str) -> int:
        info = self._s.sources.get(source)
        return info.rhythm_s if info is not None else 0

    def _notices(self, case: Case, drafted: Draft) -> list[Line]:
        """Who was told of its alerts. The outbox knows; records count notices and do not name them."""
        by_id = {f"alert_{uid}": uid for uid in case.alerts}
        return notices(
            ((each.ended_at or each.put_at) // 1_000, each.channel, each.state, by_id[each.notice_id])
            for each in self._s.outbox.entries(ids=by_id)
            if (each.ended_at or each.put_at) // 1_000 >= drafted.from_us
        )

    # --- deciding -------------------------------------------------------------------------------------------------

    async def open(self, call: Call[Empty, CaseAlertBody]) -> CaseOpenAnswer:
        """Who opens a case has it, with all that is one card with the alert, and takes those alerts up."""
        _all_rows(call)
        alert, now = self._alert(call.body.alert), self._s.clock()
        told = self._told(call, "case.open", alert=alert.uid, rule_by=alert.author)
        case, is_new = await self._s.blocking(
            lambda: self._s.cases.open(
                _subject(alert),
                list(map(_subject, self._same(alert))),
                call.identity.person,
                call.identity.id,
                now,
                told,
            )
        )
        await self._recorded()
        if is_new:
            await self._take_up(call, await self._s.blocking(lambda: self._alerts([case])[case.number]))
        return CaseOpenAnswer(await self._s.blocking(lambda: self._answers([case])[0]), is_new)

    async def add(self, call: Call[Empty, CaseAlertBody]) -> CaseAnswer:
        alert = self._alert(call.body.alert)
        told = self._told(call, "case.add", alert=alert.uid, rule_by=alert.author)
        cases, now = self._s.cases, self._s.clock()
        before = cases.of_alert(alert.uid)
        answer = await self._decided(call, lambda number, who: cases.add(number, _subject(alert), who, now, told))
        if before is None:
            await self._take_up(call, [alert])
        return answer

    def _same(self, alert: Alert) -> list[Alert]:
        """The open alerts that people see as one card with it."""
        every = self._s.alerts.all()
        subjects = [Together(each.uid, dict(each.group), each.level, each.state, each.drill) for each in every]
        card = next((same for same in together(subjects) if any(every[at].uid == alert.uid for at in same)), ())
        return [every[at] for at in card if every[at].uid != alert.uid]

    async def _take_up(self, call: Call[Any, Any], alerts: Sequence[Alert]) -> None:
        uids = [each.uid for each in alerts if each.state == "new"]
        await self._s.blocking(lambda: self._s.alerts.set_states(uids, "in_progress", "", call.identity.id))
        for uid in uids:
            await self._s.recorder.note(call, "alert.handle", "alert", uid, state="in_progress", together=len(uids))

    async def set_state(self, call: Call[Empty, CaseStateBody]) -> CaseAnswer:
        b, now = call.body, self._s.clock()
        if b.with_alerts and b.state != "closed":
            raise RejectedError("alerts are done with when the case is closed", field="with_alerts")
        told = self._told(call, "case.close" if b.state == "closed" else "case.state", b.reason)
        cases = self._s.cases
        answer = await self._decided(
            call,
            lambda number, who: cases.set_state(number, b.state, b.verdict, b.reason, b.version, who, now, told),
        )
        if b.with_alerts:
            await self._done_with(call, answer)
        return answer

    async def _done_with(self, call: Call[Any, Any], case: CaseAnswer) -> None:
        """Its open alerts end with a case that is closed; why stands in the case."""
        uids = [each.uid for each in case.alerts if each.state in {"new", "in_progress"}]
        state = "suppressed" if case.verdict == "false_positive" else "resolved"
        why = f"case {case.number}"
        alerts = await self._s.blocking(lambda: self._s.alerts.set_states(uids, state, why, call.identity.id))
        for alert in alerts:
            await self._s.recorder.note(
                call, "alert.handle", "alert", alert.uid, why, state=state, together=len(alerts)
            )

    async def assign(self, call: Call[Empty, CaseOwnerBody]) -> CaseAnswer:
        b, now, cases = call.body, self._s.clock(), self._s.cases
        told = self._told(call, "case.assign")
        return await self._decided(
            call, lambda number, who: cases.assign(number, b.owner.strip(), b.version, who, now, told)
        )

    async def note(self, call: Call[Empty, CaseNoteBody]) -> CaseAnswer:
        text, now, cases = call.body.text, self._s.clock(), self._s.cases
        told = self._told(call, "case.note", text)
        return await self._decided(call, lambda number, who: cases.note(number, text, who, now, told))

    async def mark(self, call: Call[Empty, CaseMarkBody]) -> CaseAnswer:
        b, now, cases = call.body, self._s.clock(), self._s.cases
        if b.index >= self._s.ledger.size:
            raise RejectedError(f"the ledger has {self._s.ledger.size:,} records", field="index", status=404)
        action = {"pinned": "case.pin", "left_out": "case.leave_out", "drafted": "case.draft"}[b.mark]
        told = self._told(call, action, b.reason, index=b.index)
        return await self._decided(
            call, lambda number, who: cases.mark(number, b.index, b.mark, b.reason, who, now, told)
        )

    async def _decided(self, call: Call[Any, Any], work: Callable[[int, str], Case]) -> CaseAnswer:
        _all_rows(call)
        number = int(call.path["number"])
        case = await self._s.blocking(lambda: work(number, call.identity.id))
        await self._recorded()
        return await self._s.blocking(lambda: self._answers([case])[0])

    def _told(self, call: Call[Any, Any], action: str, words: str = "", /, **metadata: object) -> Told:
        return lambda case: case_event(self._s.recorder, call, action, case, words, **metadata)

    async def _recorded(self) -> None:
        await record_acts(self._s.cases, self._s.recorder)

    # --- taking along ---------------------------------------------------------------------------------------------

    async def evidence(self, call: Call[Empty, Empty]) -> Raw:
        _all_rows(call)
        number = int(call.path["number"])
        indexes, summary = await self._s.blocking(lambda: self._evidence_of(self._s.cases.get(number)))
        await self._s.recorder.note(
            call, "case.export", "case", str(number), format="evidence", results=len(indexes), indexes=indexes[:100]
        )
        body = await self._s.blocking(lambda: evidence_bytes(self._s, indexes, {"case": summary}))
        return Raw(body, "application/zip", f"muniment-case-{number}.zip")

    def _evidence_of(self, case: Case) -> tuple[list[int], dict[str, object]]:
        """The records of every line, as many as a file takes: first one of each line, then the others, the most telling first."""
        looked = self._looked([case])[0]
        alerts, concerned = looked.alerts, looked.about
        drafted = self._draft(case, alerts, concerned)
        ranked = sorted(drafted.lines, key=lambda each: -each.weight)
        chosen = dict.fromkeys(each.index for each in ranked)
        chosen.update(dict.fromkeys(index for each in ranked for index in each.indexes))
        indexes = self._fitting(chosen)
        if not indexes:
            raise RejectedError("nothing of it is in the log yet; try again in a moment", field="number", status=409)
        n_events = sum(each.count for each in drafted.lines)
        summary: dict[str, object] = {
            "number": case.number, "title": case.title, "about": looked.answer().sentence,
            "rules_by": sorted({each.author for each in alerts if each.author}), "state": case.state,
            "verdict": case.verdict, "lines": len(drafted.lines), "events_of_the_lines": n_events,
            "records_in_this_file": len(indexes), "lines_without_room": drafted.n_untold,
            "lines_people_took_out": len(drafted.left_out),
        }  # fmt: skip
        return indexes, summary

    def _fitting(self, chosen: Iterable[int]) -> list[int]:
        """As many of these as a file takes that the verifier looks at, those that come first."""
        found: list[int] = []
        size, members = self._s.ledger.size, 2
        for index in (each for each in chosen if 0 <= each < size):
            members += 4 + 2 * len(self._s.ledger.entry(index).parts)  # leaf, proof, and each part with its salt
            if members > MEMBERS_MAX or len(found) == CASE_EVIDENCE_MAX:
                break
            found.append(index)
        return sorted(found)

    # --- what its alerts say --------------------------------------------------------------------------------------

    def _alert(self, uid: str) -> Alert:
        try:
            return self._s.alerts.get(uid)
        except RejectedError:
            raise RejectedError("there is no such alert; take the id of one", field="alert", status=404) from None

    def _alerts(self, cases: Sequence[Case]) -> dict[int, list[Alert]]:
        """By case its alerts, also those that are too old to be in memory."""
        known: dict[str, Alert] = {}
        for uid in (uid for case in cases for uid in case.alerts):
            with contextlib.suppress(RejectedError):
                known[uid] = self._s.alerts.get(uid)
        if missing := [uid for case in cases for uid in case.alerts if uid not in known]:
            known |= kept_alerts(self._s.engine, missing)
        return {case.number: [known[uid] for uid in case.alerts if uid in known] for case in cases}

    def _looked(self, cases: Sequence[Case]) -> list[_Looked]:
        """Cases with what their alerts say; one query finds who was let in, of all of them."""
        alerts = self._alerts(cases)
        by_alert = admitted(self._s.engine, [alert for found in alerts.values() for alert in found])
        looked = []
        for case in cases:
            found = alerts[case.number]
            let_in = tuple(
                dict.fromkeys(name for each in found if each.uid in by_alert for name in by_alert[each.uid].who)
            )
            looked.append(_Looked(case, found, let_in, about(found, let_in), self._s.keys.called))
        return looked

    def _answers(self, cases: Sequence[Case]) -> list[CaseAnswer]:
        return [each.answer() for each in self._looked(cases)]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A case, its alerts, who was let in where others were refused, whom it is about, and how people are shown."""

    case: Case
    alerts: list[Alert]
    let_in: tuple[str, ...]
    about: About
    called: Called

    def answer(self) -> CaseAnswer:
        said = sentence(self.alerts, self.about, self.let_in)
        return case_answer(self.case, self.alerts, self.about, said, self.called)


def _subject(alert: Alert) -> Subject:
    return Subject(alert.uid, alert.title, alert.level, alert.drill)


def _is_wanted(case: Case, p: CaseParams) -> bool:
    if p.state and case.state != p.state and not (p.state == "active" and case.state in _ACTIVE):
        return False
    return not p.owner or case.owner == ("" if p.owner == "-" else p.owner)


def _all_rows(call: Call[Any, Any]) -> None:
    """Refuse who sees some rows only."""
    if call.identity.scope:
        raise DeniedError("a case is about all rows; this key sees some rows only", permission="search")
