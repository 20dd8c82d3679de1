"""Access: deny first, links once, sessions end, keys are hashed and scoped."""

import contextlib
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from muniment.access.database import open_database
from muniment.access.keys import KeyRing
from muniment.access.policy import PERMISSIONS, ROLES, Identity, require
from muniment.access.sessions import LINK_LIFETIME_NS, Doorkeeper
from muniment.errors import ConfigError, DeniedError, RejectedError

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
    for secret in (link, cookie, text.rsplit("_", 1)[1]):
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
