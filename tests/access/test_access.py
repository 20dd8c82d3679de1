"""Access: deny first, links once, sessions end, keys are hashed and scoped."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from muniment.access.database import open_database
from muniment.access.erasures import Erasure, Erasures
from muniment.access.keys import KeyRing
from muniment.access.policy import MACHINE, PERMISSIONS, ROLES, Identity, require
from muniment.access.sessions import LINK_LIFETIME_NS, Doorkeeper
from muniment.errors import ConfigError, DeniedError, RejectedError
from muniment.four_eyes import check_second, is_enough

HOUR = 3_600_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_database(f"sqlite:///{tmp_path / 'db' / 'meta.db'}")


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_nobody_and_unknown_roles_may_do_nothing(permission: str) -> None:
    for identity in (None, Identity("x", "x", "no-such-role")):
        with pytest.raises(DeniedError) as caught:
            require(identity, permission)
        assert caught.value.permission == permission


def test_only_sources_append_and_sources_only_append() -> None:
    assert [role for role, held in ROLES.items() if "ingest" in held] == ["source"]
    assert ROLES["source"] == {"ingest"}


def test_a_login_link_works_once(engine: sa.Engine) -> None:
    doorkeeper = Doorkeeper(engine, HOUR)
    token = doorkeeper.new_link("anna", "Anna", "administrator", 0)
    session, cookie = doorkeeper.enter(token, 1)
    assert session.identity.permissions == ROLES["administrator"]
    assert doorkeeper.session(cookie, 2) == session
    with pytest.raises(DeniedError):
        doorkeeper.enter(token, 3)


def test_an_expired_link_and_a_made_up_one_are_refused(engine: sa.Engine) -> None:
    doorkeeper = Doorkeeper(engine, HOUR)
    token = doorkeeper.new_link("anna", "Anna", "administrator", 0)
    for attempt in (token, "made-up", "", "\ud800"):
        with pytest.raises(DeniedError):
            doorkeeper.enter(attempt, LINK_LIFETIME_NS + 1)


def test_a_session_ends_by_time_by_logout_and_stays_ended_after_restart(engine: sa.Engine) -> None:
    doorkeeper = Doorkeeper(engine, HOUR)
    _, first = doorkeeper.enter(doorkeeper.new_link("a", "A", "reader", 0), 0)
    _, second = doorkeeper.enter(doorkeeper.new_link("a", "A", "reader", 0), 0)
    doorkeeper.leave(first)
    reopened = Doorkeeper(engine, HOUR)
    for keeper in (doorkeeper, reopened):
        assert keeper.session(first, 1) is None
        assert keeper.session(second, 1) is not None
        assert keeper.session(second, HOUR) is None


def test_neither_links_cookies_nor_keys_stand_in_the_database(engine: sa.Engine, tmp_path: Path) -> None:
    doorkeeper, ring = Doorkeeper(engine, HOUR), KeyRing(engine)
    link = doorkeeper.new_link("anna", "Anna", "administrator", 0)
    _, cookie = doorkeeper.enter(link, 1)
    _, text = ring.create("shop", "source", 0, source="shop")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "db").iterdir())
    for secret in (link, cookie, text.split("_", 2)[2]):  # a secret may hold "_"
        assert secret.encode() not in stored


def test_a_key_is_known_until_revoked_also_after_restart(engine: sa.Engine) -> None:
    ring = KeyRing(engine)
    key, text = ring.create("shop", "source", 5, source="shop")
    assert ring.identify(text).source == "shop"
    assert KeyRing(engine).identify(text).role == "source"
    ring.revoke(key.id, 6)
    for opened in (ring, KeyRing(engine)):
        with pytest.raises(DeniedError):
            opened.identify(text)
    with pytest.raises(RejectedError):
        ring.revoke("nope", 7)


@pytest.mark.parametrize("change", ["", "mk_", "mk_x_y", "mk", "\x00", "\ud800", "Bearer mk_a_b"])
def test_malformed_keys_are_refused_alike(engine: sa.Engine, change: str) -> None:
    ring = KeyRing(engine)
    _, text = ring.create("shop", "source", 5, source="shop")
    for attempt in (change, text + change if change else text[:-1], text.replace("mk_", "mq_")):
        with pytest.raises(DeniedError) as caught:
            ring.identify(attempt)
        assert str(caught.value) == "this API key is not valid"


def test_an_ingest_key_needs_its_source(engine: sa.Engine) -> None:
    with pytest.raises(RejectedError):
        KeyRing(engine).create("x", "source", 0)


def test_a_database_that_cannot_be_opened_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        open_database(f"sqlite:///{tmp_path / 'file' / 'meta.db'}")
    assert caught.value.setting == "database"


def test_transactions_of_two_threads_do_not_run_into_each_other(engine: sa.Engine) -> None:
    """Every acknowledged row is there, no rolled-back one is."""
    table = sa.Table("rows", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    table.create(engine)
    kept: list[int] = []

    def write(first: int) -> None:
        for n in range(first, first + 400):
            with contextlib.suppress(KeyError), engine.begin() as connection:
                connection.execute(table.insert().values(id=n))
                if n % 7 == 0:
                    raise KeyError
            if n % 7:
                kept.append(n)

    threads = [threading.Thread(target=write, args=(first,)) for first in (1_000, 2_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert sorted(connection.execute(sa.select(table.c.id)).scalars()) == sorted(kept)
    assert len(kept) > 600


def test_a_person_is_the_account_of_a_session_and_the_owner_of_a_key(engine: sa.Engine) -> None:
    ring = KeyRing(engine)
    owned, text = ring.create("script", "administrator", 5, owner="anna")
    assert owned.owner == "anna"
    for opened in (ring, KeyRing(engine)):
        assert opened.identify(text).person == "anna"
    assert Identity("anna", "Anna", "administrator").person == "anna"
    assert ring.identify(ring.create("nobody's", "administrator", 6)[1]).person == ""
    assert ring.identify(ring.create("the machine's", "administrator", 7, owner=MACHINE)[1]).person == ""


def test_nobody_in_particular_is_no_second_person_and_one_person_is_not_two() -> None:
    for first, second, words in (
        ("anna", "anna", "anna asked for this"),
        ("anna", "", "belongs to nobody"),
        ("", "", "belongs to nobody"),
    ):
        with pytest.raises(DeniedError, match=words) as caught:
            check_second(first, second, "block")
        assert caught.value.permission == "block"
    check_second("anna", "bob", "block")
    check_second("", "bob", "block")
    assert (is_enough("anna"), is_enough("")) == (True, False)


def test_a_database_of_before_keys_had_owners_is_read_on(engine: sa.Engine) -> None:
    """Keys of then belong to nobody; requests made in a session are that account's, those of a key nobody's."""
    new = KeyRing(engine)
    _, text = new.create("old", "administrator", 5, owner="anna")
    erasures = Erasures(engine)
    numbers = [
        erasures.ask(f"person-{by}", "", "because", by, 7, person="anna").number for by in ("anna", "key:0123456789ab")
    ]
    Doorkeeper(engine, HOUR).new_link("anna", "Anna", "administrator", 0)
    with engine.begin() as connection:
        for table, column in (("api_keys", "owner"), ("erasures", "asked_person"), ("people", "left_at")):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    for _ in range(2):
        ring, read = KeyRing(engine), Erasures(engine)
        assert ring.identify(text).person == ""
        assert [read.get(number).asked_person for number in numbers] == ["anna", ""]
        assert [each.left_at for each in Doorkeeper(engine, HOUR).people()] == [0]
    with pytest.raises(DeniedError, match="belongs to nobody"):
        read.approve(numbers[0], ring.identify(text).id, person=ring.identify(text).person)
    assert read.approve(numbers[0], "bob", person="bob").approved_by == "bob"


def test_two_who_agree_at_once_to_what_nobody_asked_are_first_and_second(engine: sa.Engine) -> None:
    """Both have looked before either has agreed."""
    both = threading.Barrier(2)
    looks = iter(range(10))

    class Slow(Erasures):
        def get(self, number: int) -> Erasure:
            found = super().get(number)
            if next(looks) < 2:
                both.wait(10)
            return found

    number = Erasures(engine).ask("x", "", "because", "key:0", 7, person="").number
    erasures = Slow(engine)
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(erasures.approve, number, who, person=who) for who in ("anna", "bob")]:
            each.result()
    found = erasures.get(number)
    assert {found.asked_person, found.approved_by} == {"anna", "bob"}
