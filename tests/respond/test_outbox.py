"""The outbox: once per notice and channel, again until taken, dead letters kept, a dead receiver holds nobody up."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from muniment.access.database import open_database
from muniment.errors import BusyError, RejectedError
from muniment.limits import OUTBOX_BATCH_MAX, OUTBOX_PAUSE_S, OUTBOX_STORM_CRITICAL, OUTBOX_STORM_S
from muniment.respond import notify
from muniment.respond.notice import RULE_BY, DeliveryError, Notice, new_notice, read_notice, summary_of
from muniment.respond.notify import RETRY_SECONDS, Deliveries, Outbox, retry_at
from muniment.search.persons import Person

SECOND = 1_000_000_000
LONG = 10**18


class Receiver:
    """Takes notices and remembers them; refuses while `error` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.remark = ""
        self.calls = 0
        self.taken: list[Notice] = []

    def deliver(self, notice: Notice, now_ns: int) -> str:
        self.calls += 1
        if self.error:
            raise self.error
        self.taken.append(notice)
        return self.remark


def notice(id: str = "n1") -> Notice:
    return new_notice(
        id,
        "Füñf\nlogins",
        "high",
        "okta",
        5,
        lines=["one\x00", "two"],
        link="https://m.example/a?b=1",
        fields={"who": "anna"},
    )


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_database(f"sqlite:///{tmp_path / 'meta.db'}")


def test_a_notice_reads_back_as_it_was() -> None:
    assert read_notice(notice().to_json()) == notice()


def test_the_same_notice_goes_once_to_each_channel(engine: sa.Engine) -> None:
    mail, chat = Receiver(), Receiver()
    outbox = Outbox(engine, {"mail": mail, "chat": chat})
    assert outbox.put(notice(), ["mail", "mail"], 1) == 1
    assert outbox.put(notice(), ["mail", "chat"], 2) == 1
    assert outbox.deliver_due(3) == Deliveries(delivered=2)
    assert outbox.put(notice(), ["mail", "chat"], 4) == 0
    assert outbox.deliver_due(LONG) == Deliveries()
    assert mail.taken == chat.taken == [notice()]
    assert outbox.next_due() is None


def test_an_unknown_channel_is_refused(engine: sa.Engine) -> None:
    with pytest.raises(RejectedError, match="no channel 'fax'"):
        Outbox(engine, {}).put(notice(), ["fax"], 0)


def test_what_waits_survives_a_restart(engine: sa.Engine) -> None:
    Outbox(engine, {"mail": Receiver()}).put(notice(), ["mail"], 0)
    mail = Receiver()
    assert Outbox(engine, {"mail": mail}).deliver_due(1) == Deliveries(delivered=1)
    assert mail.taken == [notice()]


def test_a_failure_is_tried_again_on_schedule_until_it_is_dead(engine: sa.Engine) -> None:
    mail = Receiver(DeliveryError("mail.example: busy\nnow"))
    outbox = Outbox(engine, {"mail": mail})
    outbox.put(notice(), ["mail"], 0)
    now = 0
    for attempt, wait in enumerate(RETRY_SECONDS, 1):
        assert outbox.deliver_due(now) == Deliveries(failed=1)
        due = outbox.next_due()
        assert due == retry_at("n1", "mail", attempt, now)
        assert due is not None
        assert wait * SECOND <= due - now <= wait * SECOND * 11 // 10
        assert outbox.deliver_due(due - 1) == Deliveries()
        now = due
    assert outbox.deliver_due(now) == Deliveries(dead=1)
    assert outbox.deliver_due(now + LONG) == Deliveries()
    (entry,) = outbox.entries("dead")
    assert (entry.attempts, entry.ended_at, entry.remark) == (
        len(RETRY_SECONDS) + 1,
        now,
        "mail.example: busy now",
    )


def test_a_dead_letter_can_be_revived(engine: sa.Engine) -> None:
    mail = Receiver(DeliveryError("gone", is_permanent=True))
    outbox = Outbox(engine, {"mail": mail})
    outbox.put(notice(), ["mail"], 0)
    assert outbox.deliver_due(0) == Deliveries(dead=1)
    mail.error = None
    outbox.revive("n1", "mail", 7)
    assert outbox.deliver_due(7) == Deliveries(delivered=1)
    with pytest.raises(RejectedError):
        outbox.revive("n1", "mail", 8)


def test_a_receiver_may_ask_for_a_longer_wait_but_not_for_ever(engine: sa.Engine) -> None:
    assert retry_at("n", "c", 1, 0, 600_000) == 600 * SECOND
    assert retry_at("n", "c", 1, 0, 10**15) == 86_400 * SECOND


def test_a_process_killed_while_delivering_tries_again_later(engine: sa.Engine) -> None:
    """The attempt is counted before the receiver is called, so that a crash loop ends too."""
    mail = Receiver(KeyboardInterrupt())  # type: ignore[arg-type]
    outbox = Outbox(engine, {"mail": mail})
    outbox.put(notice(), ["mail"], 0)
    with pytest.raises(KeyboardInterrupt):
        outbox.deliver_due(0)
    (entry,) = outbox.entries("pending")
    assert (entry.attempts, entry.next_at) == (1, retry_at("n1", "mail", 1, 0))
    mail.error = None
    assert Outbox(engine, {"mail": mail}).deliver_due(entry.next_at) == Deliveries(delivered=1)


def test_a_dead_receiver_holds_nobody_up(engine: sa.Engine) -> None:
    broken, chat = Receiver(DeliveryError("down")), Receiver()
    outbox = Outbox(engine, {"a-broken": broken, "chat": chat})
    waiting = 5 * OUTBOX_BATCH_MAX
    for n in range(waiting):
        outbox.put(notice(f"n{n}"), ["a-broken"], n)
    outbox.put(notice("late"), ["chat"], waiting)
    assert outbox.deliver_due(waiting) == Deliveries(delivered=1, failed=1, postponed=waiting - 1)
    assert broken.calls == 1
    assert [entry.attempts for entry in outbox.entries("pending")].count(0) == waiting - 1, "waiting is no attempt"
    broken.error = None
    now = waiting + OUTBOX_PAUSE_S * SECOND
    for _ in range(5):
        assert outbox.deliver_due(now) == Deliveries(delivered=OUTBOX_BATCH_MAX)
    assert len({one.id for one in broken.taken}) == waiting


def test_two_processes_never_deliver_the_same_attempt(engine: sa.Engine) -> None:
    outbox = Outbox(engine, {"mail": Receiver()})
    inner = Receiver()

    class Nosy(Receiver):
        def deliver(self, notice: Notice, now_ns: int) -> str:
            assert Outbox(engine, {"mail": inner}).deliver_due(now_ns) == Deliveries()
            return super().deliver(notice, now_ns)

    outbox.put(notice(), ["mail"], 0)
    assert Outbox(engine, {"mail": Nosy()}).deliver_due(0) == Deliveries(delivered=1)
    assert inner.calls == 0


def test_a_row_that_another_process_tried_meanwhile_is_left_to_it(engine: sa.Engine) -> None:
    other = Outbox(engine, {"mail": Receiver(DeliveryError("down", is_permanent=False))})

    class Overtaken(Receiver):
        def deliver(self, notice: Notice, now_ns: int) -> str:
            assert other.deliver_due(now_ns) == Deliveries(failed=1)
            return super().deliver(notice, now_ns)

    mail = Overtaken()
    outbox = Outbox(engine, {"mail": mail})
    for n in range(2):
        outbox.put(notice(f"n{n}"), ["mail"], n)
    assert outbox.deliver_due(5) == Deliveries(delivered=1)
    assert [one.id for one in mail.taken] == ["n0"]
    assert [(entry.notice_id, entry.attempts) for entry in outbox.entries("pending")] == [("n1", 1)]


def test_threads_may_put_while_another_delivers(engine: sa.Engine) -> None:
    """Every notice arrives once, though four threads share one connection."""
    mail = Receiver()
    outbox = Outbox(engine, {"mail": mail})
    errors: list[BaseException] = []

    def put(writer: int) -> None:
        try:
            for n in range(60):
                outbox.put(notice(f"w{writer}-{n}"), ["mail"], 0)
                outbox.put(notice(f"shared-{n}"), ["mail"], 0)
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=put, args=(writer,)) for writer in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers) or outbox.next_due() is not None:
        outbox.deliver_due(1)
    for writer in writers:
        writer.join()
    assert errors == []
    assert len(mail.taken) == len({one.id for one in mail.taken}) == 4 * 60


def test_a_channel_taken_out_of_the_configuration_leaves_dead_letters(engine: sa.Engine) -> None:
    Outbox(engine, {"mail": Receiver()}).put(notice(), ["mail"], 0)
    outbox = Outbox(engine, {})
    assert outbox.deliver_due(0) == Deliveries(dead=1)
    assert outbox.entries("dead")[0].remark == "the channel is no longer configured"


def test_a_remark_of_the_receiver_is_kept(engine: sa.Engine) -> None:
    mail = Receiver()
    mail.remark = "refused: x@example.com"
    outbox = Outbox(engine, {"mail": mail})
    outbox.put(notice(), ["mail"], 0)
    outbox.deliver_due(0)
    assert outbox.entries()[0].remark == mail.remark


def test_a_kept_notice_that_cannot_be_read_becomes_a_dead_letter(engine: sa.Engine) -> None:
    outbox = Outbox(engine, {"mail": Receiver()})
    outbox.put(notice(), ["mail"], 0)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE outbox SET notice = '{}'"))
    assert outbox.deliver_due(0) == Deliveries(dead=1)


def test_a_full_outbox_says_so(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "OUTBOX_PENDING_MAX", 2)
    outbox = Outbox(engine, {"mail": Receiver(), "chat": Receiver()})
    outbox.put(notice(), ["mail", "chat"], 0)
    with pytest.raises(BusyError):
        outbox.put(notice("n2"), ["mail"], 0)
    assert len(outbox.entries()) == 2


def test_only_what_ended_is_forgotten(engine: sa.Engine) -> None:
    outbox = Outbox(engine, {"mail": Receiver(), "chat": Receiver(DeliveryError("down"))})
    outbox.put(notice(), ["mail", "chat"], 0)
    outbox.deliver_due(5)
    assert outbox.forget_ended(5) == 0
    assert outbox.forget_ended(6) == 1
    assert [entry.channel for entry in outbox.entries()] == ["chat"]


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://", "https://a b", "http://a/\n", "https://m.example/<x>", "//x"]
)
def test_a_link_that_is_no_web_address_is_refused(link: str) -> None:
    with pytest.raises(RejectedError):
        new_notice("n1", "t", "low", "s", 0, link=link)


@pytest.mark.parametrize(
    ("id", "severity"), [("", "low"), ("a b", "low"), ("a\r\nb", "low"), ("é", "low"), ("n", "urgent")]
)
def test_an_id_or_severity_that_is_none_is_refused(id: str, severity: str) -> None:
    with pytest.raises(RejectedError):
        new_notice(id, "t", severity, "s", 0)


def test_a_long_notice_is_cut_and_says_so() -> None:
    cut = new_notice(
        "n1", "t" * 999, "low", "s", 0, lines=["x" * 999] * 99, fields={str(n): "v" * 999 for n in range(99)}
    )
    assert cut.lines[-1] == "… and 80 more lines"
    assert cut.fields[-1] == ("…", "90 more fields")
    assert (len(cut.title), len(cut.lines), len(cut.lines[0]), len(cut.fields)) == (200, 20, 500, 10)


def _storm(first: int, count: int, severity: str = "high", title: str = "Many failed logins") -> list[Notice]:
    fields = {RULE_BY: "Ana Example"} if severity == "low" else {}
    return [
        new_notice(f"s{n}", title, severity, title, 5, origins=["okta"], fields=fields)
        for n in range(first, first + count)
    ]


def _summary(notices: Sequence[Notice]) -> Notice:
    return summary_of("1", notices, 7, "https://m.example/alerts")


def test_a_storm_is_told_as_one_summary_to_people_and_one_by_one_to_machines(engine: sa.Engine) -> None:
    chat, siem = Receiver(), Receiver()
    channels = {"chat": chat, "siem": siem}
    outbox = Outbox(engine, channels, at_most={"chat": 3})
    for each in [*_storm(0, 6), *_storm(6, 3, "low", "A new country")]:
        outbox.put(each, ["chat", "siem"], SECOND)
    assert outbox.deliver_due(2 * SECOND) == Deliveries(delivered=3 + 9)
    assert [each.id for each in chat.taken] == ["s0", "s1", "s2"]
    assert len(outbox.entries("held")) == 6
    over = SECOND + OUTBOX_STORM_S * SECOND
    assert outbox.gather("chat", over - 1, _summary) == 0
    assert outbox.gather("siem", over, _summary) == 0
    outbox = Outbox(engine, channels, at_most={"chat": 3})  # as after a restart
    assert outbox.gather("chat", over, _summary) == 6
    assert outbox.gather("chat", over, _summary) == 0
    assert outbox.deliver_due(over) == Deliveries(delivered=1)
    told = chat.taken[-1]
    assert (told.title, told.severity, told.origins) == ("6 more alerts of 2 rules", "high", ("okta",))
    assert told.lines == ("3 x Many failed logins (high)", "3 x A new country (low, rule by Ana Example)")
    assert {each.remark for each in outbox.entries("gathered")} == {f"told in {told.id}"}
    assert not outbox.entries("held")
    assert outbox.put(_storm(3, 1)[0], ["chat"], over) == 0  # told already
    outbox.put(_storm(20, 1)[0], ["chat"], over + 1)
    assert outbox.deliver_due(over + 2) == Deliveries(delivered=1)  # the storm is over


def test_critical_notices_are_held_in_the_worst_storm_only(engine: sa.Engine) -> None:
    chat = Receiver()
    outbox = Outbox(engine, {"chat": chat}, at_most={"chat": 2})
    for each in [*_storm(0, 4), *_storm(4, 2 * OUTBOX_STORM_CRITICAL, "critical")]:
        outbox.put(each, ["chat"], SECOND)
    outbox.deliver_due(2 * SECOND)
    assert [each.severity for each in chat.taken] == ["high"] * 2 + ["critical"] * (2 * OUTBOX_STORM_CRITICAL - 2)
    assert len(outbox.entries("held")) == 4


def test_what_is_held_is_not_forgotten_and_an_erased_person_is_not_in_the_summary(engine: sa.Engine) -> None:
    outbox = Outbox(engine, {"chat": Receiver()}, at_most={"chat": 1})
    named = new_notice("s9", "Logins of m.ruiz", "high", "x", 5)
    for each in [*_storm(0, 3), named]:
        outbox.put(each, ["chat"], SECOND)
    assert outbox.forget_ended(LONG) == 0
    assert outbox.forget_person(Person(("m.ruiz",)), 2 * SECOND) == 1
    told: list[Sequence[Notice]] = []

    def summary(notices: Sequence[Notice]) -> Notice:
        told.append(notices)
        return _summary(notices)

    assert outbox.gather("chat", LONG, summary) == 2
    assert [each.id for each in told[0]] == ["s1", "s2"]


def test_what_waits_for_a_channel_that_is_gone_dies_at_the_start_and_goes_on_when_it_is_back(engine: sa.Engine) -> None:
    before = Outbox(engine, {"mail": Receiver(), "chat": Receiver()}, at_most={"chat": 1})
    for n in range(3):
        before.put(notice(f"n{n}"), ["mail", "chat"], n)
    assert {(e.channel, e.state) for e in before.entries()} == {
        ("mail", "pending"),
        ("chat", "pending"),
        ("chat", "held"),
    }
    without = Outbox(engine, {"chat": Receiver()}, at_most={"chat": 1})
    died, resumed = without.settle(10)
    assert ({(each.notice_id, each.channel, each.state) for each in died}, resumed) == (
        {(f"n{n}", "mail", "dead") for n in range(3)}, {},
    )  # fmt: skip
    assert without.counts() == {"dead": 3, "pending": 1, "held": 2}
    assert {(e.ended_at, e.remark) for e in without.entries("dead")} == {(10, "the channel is no longer configured")}
    with pytest.raises(RejectedError, match="put it back into the file"):
        without.revive("n0", "mail", 11)
    without.discard("n0", "mail", 12)
    with pytest.raises(RejectedError, match="no such dead letter"):
        without.discard("n0", "mail", 12)
    mail = Receiver()
    again = Outbox(engine, {"mail": mail, "chat": Receiver()}, at_most={"chat": 1})
    assert again.settle(20) == ([], {"mail": 2})
    again.deliver_due(20, "mail")
    assert [each.id for each in mail.taken] == ["n1", "n2"]
    assert again.counts() == {"delivered": 2, "discarded": 1, "pending": 1, "held": 2}
    neither = Outbox(engine, {})
    assert {each.notice_id for each in neither.settle(30)[0]} == {"n0", "n1", "n2"}
    assert neither.counts() == {"dead": 3, "delivered": 2, "discarded": 1}


def test_a_letter_that_died_of_itself_does_not_go_on_at_a_start(engine: sa.Engine) -> None:
    outbox = Outbox(engine, {"mail": Receiver(DeliveryError("410", is_permanent=True))})
    outbox.put(notice(), ["mail"], 0)
    outbox.deliver_due(0)
    assert Outbox(engine, {"mail": Receiver()}).settle(1) == ([], {})
    assert outbox.counts() == {"dead": 1}
