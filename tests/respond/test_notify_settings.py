"""The file of channels, routes and actions: what is wrong in it is told with file, line, column, key and how to mend it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import ConfigError
from muniment.respond.settings import read_notify_settings
from muniment.toml_file import place_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WHOLE = """\
# Who is told
allow = ["10.1.0.0/16"]

[channels.soc]
kind = "slack"
url_file = "SLACK"

[channels.tickets]
kind = "webhook"
url = "https://tickets.example.com/hooks/muniment"
secrets_file = "SECRET"

[channels.duty]
kind = "mail"
host = "mail.example.com"
sender = "muniment@example.com"
recipients = [
    "duty@example.com",
    "second@example.com",
]

[channels.siem]
kind = "syslog"
host = "siem.example.com"
port = 6514
format = "cef"

[actions.idp]
url = "https://idp.example.com/hooks/end-sessions"
secrets_file = "SECRET"
for = "sessions.end"

[[routes]]
channels = ["soc", "siem"]
severity = "medium"

[[routes]]
name = "night"
channels = ["duty"]
from = "18:00"
to = "08:00"
zone = "Europe/Zurich"
days = ["mon", "tuesday"]
"""


def _written(folder: Path, text: str) -> Path:
    (folder / "secret").write_text(SECRET)
    (folder / "slack").write_text("https://hooks.example.com/services/1")
    path = folder / "notify.toml"
    path.write_text(text.replace("SECRET", f"{folder}/secret").replace("SLACK", f"{folder}/slack"))
    return path


def _refusal(folder: Path, text: str) -> str:
    path = _written(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_notify_settings(path)
    assert caught.value.setting == "notify"
    assert str(caught.value).startswith("notify: ")
    return str(caught.value).removeprefix("notify: ").replace(str(folder), "F")


def test_a_file_that_is_right_is_read_whole(tmp_path: Path) -> None:
    found = read_notify_settings(_written(tmp_path, WHOLE))
    assert list(found.channels) == ["soc", "tickets", "duty", "siem"]
    assert [(route.name, route.severity_min, route.when) for route in found.routes] == [
        ("route 1", "medium", "always"), ("night", "low", "Mon Tue, 18:00 to 08:00 Europe/Zurich"),
    ]  # fmt: skip
    assert found.actions["idp"].types == ("sessions.end",)
    assert found.at_most == {"soc": 20, "duty": 20}  # people; machines are told of all


def test_how_many_notices_a_channel_takes_is_set_for_each(tmp_path: Path) -> None:
    text = WHOLE.replace('kind = "slack"', 'kind = "slack"\nat_most = 0').replace(
        "port = 6514", "port = 6514\nat_most = 100"
    )
    assert read_notify_settings(_written(tmp_path, text)).at_most == {"duty": 20, "siem": 100}
    assert "5:1: channels.soc.kind: got" in _refusal(tmp_path, WHOLE.replace('"slack"', '"sms"'))
    told = _refusal(tmp_path, WHOLE.replace("port = 6514", "port = 6514\nat_most = 5000"))
    assert "channels.siem.at_most: got 5000; give a number from 0 to 1000" in told


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('kind = "slack"', 'kind = "pigeon"', "5:1: channels.soc.kind: got 'pigeon'; there are webhook, slack, teams, mail, syslog"),
        ('kind = "slack"', 'kind = "slak"', "5:1: channels.soc.kind: got 'slak'; did you mean slack? there are"),
        ('kind = "slack"', "", "4:1: channels.soc: kind is missing; add a line such as: kind = "),
        ('url_file = "SLACK"', 'url = "https://x.example.com"', "6:1: channels.soc.url: secrets stand in files of their own; write it to a file and give url_file"),
        ('url_file = "SLACK"', 'url_file = "/nowhere/soc.url"', "6:1: channels.soc.url_file: cannot read /nowhere/soc.url: No such file or directory; let the"),
        ("https://tickets", "ftp://tickets", "10:1: channels.tickets.url: expected an https URL with a host"),
        ('["10.1.0.0/16"]', '["::1", "10.1.0.1/16"]', "2:17: allow 2: 10.1.0.1/16 has host bits set; write 10.1.0.0/16, or one address"),
        ('["10.1.0.0/16"]', '"10.1.0.0/16"', '2:1: allow: got \'10.1.0.0/16\'; write it as in: allow = ["10.1.0.0/16"]'),
        ('"second@example.com"', '"second at example.com"', "17:1: channels.duty.recipients: 'second at example.com' is no mail address"),
        ('"second@example.com"', "7", "17:1: channels.duty.recipients 2: got 7; write texts"),
        ("port = 6514", 'port = "6514"', "25:1: channels.siem.port: got '6514'; write it as in: port = 65535"),
        ("port = 6514", "port = 70000", "25:1: channels.siem.port: got 70000; give a number from 1 to 65535"),
        ("port = 6514", "  prot = 6514", "22:1: channels.siem: port is missing"),
        ('format = "cef"', '  fromat = "cef"', "26:3: channels.siem.fromat: there is no 'fromat' here; did you mean format? there are kind, "),
        ("[actions.idp]", "[action.idp]", "28:1: action: there is no 'action' here; did you mean actions? there are allow, channels, actions, routes"),
        ("[actions.idp]", "[actions.soc]", "28:1: actions.soc: there is a channel of that name; call one of the two otherwise"),
        ('for = "sessions.end"', 'for = "fire"', "31:1: actions.idp.for: got 'fire'; there are sessions.end, block.made, block.undone"),
        ('for = "sessions.end"', 'for = ["block.*", "fire"]', "31:19: actions.idp.for 2: got 'fire'; there are sessions.end"),
        ('for = "sessions.end"', "for = []", "31:1: actions.idp.for: got an empty list; write it as in: for = "),
        ('for = "sessions.end"', "", "28:1: actions.idp: for is missing; add a line such as: for = "),
        ('["soc", "siem"]', '["soc", "sime"]', "34:20: routes 1.channels 2: there is no channel 'sime'; there are soc, tickets, duty, siem"),
        ('severity = "medium"', 'severity = "middling"', "35:1: routes 1.severity: got 'middling'; there are informational, low"),
        ('from = "18:00"', 'from = "24:00"', "40:1: routes 2.from: got '24:00'; write a time of day from 00:00 to 23:59"),
        ("Europe/Zurich", "Europe/Zurch", "42:1: routes 2.zone: there is no time zone 'Europe/Zurch'; write one as"),
        ('"tuesday"', '"tiu"', "43:16: routes 2.days 2: got 'tiu'; there are mon, tue"),
        ("[[routes]]\nname", "[routes]\nname", "37:8: Cannot declare ('routes',) twice; take"),
        ("host = \"siem.example.com\"", "host = siem.example.com", "24:8: Invalid value; put texts in quotes"),
        ('sender = "muniment@example.com"', 'host = "other"', "16:15: Cannot overwrite a value; take one of the two out"),
        ('days = ["mon", "tuesday"]\n', 'days = ["mon",', "43: Invalid value; close the bracket or the quote that was opened"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_how_to_mend_it(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    assert WHOLE.count(right) == 1
    assert told in _refusal(tmp_path, WHOLE.replace(right, wrong)).removeprefix("F/notify.toml:")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read .*none\.toml: No such file or directory; let the server's user read"
    ):
        read_notify_settings(tmp_path / "none.toml")
    (tmp_path / "notify.toml").write_bytes(b"# one\n# \xff\n")
    with pytest.raises(ConfigError, match=r"notify\.toml:2: invalid start byte; save the file as UTF-8"):
        read_notify_settings(tmp_path / "notify.toml")


def test_lines_that_end_as_on_windows_are_counted_once(tmp_path: Path) -> None:
    text = WHOLE.replace('severity = "medium"', 'severity = "middling"').replace("\n", "\r\n")
    assert "notify.toml:35:1: routes 1.severity" in _refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ('a = """\nkind = 1\n"""\nkind = 2\n', ("kind",), (4, 1)),
        ("channels = {soc = {kind = 1}}\n", ("channels", "soc", "kind"), (1, 20)),
        ('channels.soc."kind" = 1\n', ("channels", "soc", "kind"), (1, 14)),
        ("[channels.soc]\n# kind = 0\n\n  kind = 1\n", ("channels", "soc", "kind"), (4, 3)),
        ("routes = [\n  {a = 1},\n  {a = 2},\n]\n", ("routes", 1, "a"), (1, 1)),
        ("a = 1\n", ("b", "c"), (1, 1)),
        ("[x]\ny = 1\n", ("x", "z"), (1, 1)),
    ],
)
def test_the_place_is_that_of_the_key_or_of_its_statement(
    text: str, path: tuple[str | int, ...], place: tuple[int, int]
) -> None:
    assert place_of(text, path) == place


@given(st.lists(st.sampled_from(["k{n} = {n}", "k{n} = [\n  {n},\n]", 'k{n} = """\nk1 = 1\n"""', "# k{n} = 0\n\nk{n} = 1", "[k{n}]\na = 1"]), min_size=1, max_size=12), st.data())  # fmt: skip
def test_any_key_is_found_where_it_was_written(parts: list[str], data: st.DataObject) -> None:
    """The slow twin: keys were written by us, so we know at which line each stands."""
    lines: list[str] = []
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for n, part in enumerate(parts, 2):
        written = part.format(n=n).split("\n")
        table = (f"k{n}",) if part.startswith("[") else table
        name = table if part.startswith("[") else (*table, f"k{n}")
        places[name] = len(lines) + (3 if part.startswith("#") else 1)
        lines += written
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    name = data.draw(st.sampled_from(sorted(places)))
    assert place_of(text, name) == (places[name], 1)
