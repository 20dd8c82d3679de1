"""Routes: by severity, source and hour; silences end by themselves and hide nothing critical unasked."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from muniment.errors import RejectedError
from muniment.respond.notice import SEVERITIES, Notice, new_notice
from muniment.respond.routes import Route, Routing, Silence, route

DAY = 86_400_000_000_000
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


NOW = at("2026-03-04T12:00:00")  # a Wednesday


def notice(severity: str = "high", source: str = "okta-main") -> Notice:
    return new_notice("n1", "Something", severity, source, 0)


def silence(**changed: object) -> Silence:
    values = {"id": "s1", "sources": ("okta-*",), "from_ns": NOW, "until_ns": NOW + DAY, "by": "anna", "reason": "move"}
    return Silence(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("least", SEVERITIES)
def test_a_route_takes_its_severity_and_all_above(least: str) -> None:
    one = Route("r", ("mail",), severity_min=least)  # type: ignore[arg-type]
    taken = [level for level in SEVERITIES if one.matches(notice(level), NOW)]
    assert taken == list(SEVERITIES[SEVERITIES.index(least) :])  # type: ignore[arg-type]


def test_a_route_takes_rules_by_pattern_in_any_case() -> None:
    one = Route("r", ("mail",), rules=("MANY failed*", "Vault"))
    assert [one.matches(notice(source=s), NOW) for s in ("Many failed logins", "vault", "Failed", "vault2", "")] == [
        True, True, False, False, False
    ]  # fmt: skip


def test_a_route_takes_the_sources_that_events_came_from() -> None:
    one, every = Route("r", ("mail",), sources=("OKTA-*", "vault")), Route("all", ("mail",))
    origins: tuple[tuple[str, ...], ...] = (("okta-main",), ("sshd", "Vault"), ("okta", "sshd"), ("vault2",), ())
    notices = [new_notice("n1", "Something", "high", "rule", 0, origins=each) for each in origins]
    assert [one.matches(each, NOW) for each in notices] == [True, True, False, False, False]
    assert all(every.matches(each, NOW) for each in notices)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-03-04T20:59:59", False), ("2026-03-04T21:00:00", True), ("2026-03-05T04:59:59", True),
        ("2026-03-05T05:00:00", False), ("2026-03-06T21:30:00", True), ("2026-03-07T03:00:00", True),
        ("2026-03-07T22:00:00", False), ("2026-03-08T03:00:00", False), ("2026-03-09T03:00:00", False),
    ],
)  # fmt: skip
def test_a_window_over_midnight_belongs_to_the_day_it_began_on(moment: str, is_open: bool) -> None:
    """22:00 to 06:00 in Berlin (UTC+1), Monday to Friday; the early hours of Saturday are Friday's, of Monday Sunday's."""
    night = Route("night", ("pager",), days=frozenset(range(5)), from_minute=22 * 60, to_minute=6 * 60, zone=BERLIN)
    assert night.matches(notice(), at(moment)) is is_open


def test_a_window_follows_summer_time() -> None:
    office = Route("office", ("mail",), from_minute=9 * 60, to_minute=17 * 60, zone=BERLIN)
    assert [office.matches(notice(), at(f"2026-{day}T07:30:00")) for day in ("01-15", "07-15")] == [False, True]


def test_two_windows_that_share_their_ends_leave_no_minute_out() -> None:
    zone = timezone(timedelta(hours=-5))
    day = Route("day", ("mail",), from_minute=480, to_minute=1_080, zone=zone)
    night = Route("night", ("pager",), from_minute=1_080, to_minute=480, zone=zone)
    for minute in range(0, 2 * 1_440, 7):
        now = NOW + minute * 60_000_000_000
        assert day.matches(notice(), now) != night.matches(notice(), now)


def test_every_channel_of_every_matching_route_comes_once() -> None:
    routes = [
        Route("a", ("mail", "chat")),
        Route("b", ("chat", "pager"), severity_min="critical"),
        Route("c", ("chat", "hook")),
    ]
    assert route(notice(), routes, [], NOW) == Routing(("mail", "chat", "hook"), ("a", "c"))


def test_nothing_matching_is_told_from_silenced() -> None:
    everything = [Route("a", ("mail",))]
    assert route(notice("informational"), everything, [], NOW) == Routing((), ())
    assert route(notice(), everything, [silence()], NOW) == Routing((), ("a",), "s1")


def test_a_silence_begins_and_ends_by_itself() -> None:
    everything = [Route("a", ("mail",))]
    for now, silenced in ((NOW - 1, ""), (NOW, "s1"), (NOW + DAY - 1, "s1"), (NOW + DAY, "")):
        assert route(notice(), everything, [silence()], now).silenced_by == silenced


def test_a_silence_hides_nothing_critical_unless_it_says_so() -> None:
    assert not silence(sources=("*",)).covers(notice("critical"), NOW)
    assert silence(severity_max="critical").covers(notice("critical"), NOW)
    assert not silence(severity_max="low").covers(notice("medium"), NOW)


@pytest.mark.parametrize(
    "changed", [{"reason": " "}, {"by": ""}, {"sources": ()}, {"until_ns": NOW}, {"until_ns": NOW + 31 * DAY}]
)
def test_a_silence_without_an_end_a_name_or_a_reason_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(RejectedError):
        silence(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"channels": ()},
        {"days": frozenset()},
        {"days": frozenset({7})},
        {"to_minute": 1_440},
        {"severity_min": "urgent"},
    ],
)
def test_a_route_that_could_never_fire_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(RejectedError):
        Route(**{"name": "r", "channels": ("mail",), **changed})  # type: ignore[arg-type]
