"""Whatever people typed: every format still says exactly it, in the one place it belongs."""

import email
import email.policy
import json
import random
import re
from collections.abc import Iterator

from muniment.respond.channels.mail import MailSettings, compose
from muniment.respond.channels.syslog import cef, rfc5424
from muniment.respond.channels.webhook import slack_message, teams_message
from muniment.respond.notice import Notice, new_notice, read_notice
from muniment.wire.syslog_header import parse_header

LETTERS = [
    *"ab |\\=\"'<>&]*[_`#;{}():,@%$~^!?/-+\0\r\n\t\x1b\x7f\x85",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ud800",
    "ß",
    "漢",
    "🔥",
    "\\n",
    "=?utf-8?q?",
    "$(x)",
]


def words(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randrange(40)))


def notices() -> Iterator[Notice]:
    rng = random.Random(5)
    for n in range(400):
        fields = {words(rng): words(rng) for _ in range(rng.randrange(5))}
        yield new_notice(
            f"n{n}",
            words(rng),
            "low",
            words(rng),
            n,
            lines=[words(rng) for _ in range(rng.randrange(4))],
            fields=fields,
        )


def test_any_notice_reads_back() -> None:
    for notice in notices():
        assert read_notice(notice.to_json()) == notice


def test_any_notice_is_strict_syslog_with_its_words_in_it() -> None:
    for notice in notices():
        head = parse_header(rfc5424(notice, "h", 0).decode())
        assert head.deviations == ()
        assert head.sd is not None
        assert head.sd["muniment@32473"]["rule"] == notice.source
        assert head.message.removeprefix("\ufeff") == " ".join((notice.title, *notice.lines))


def test_any_notice_is_one_line_of_cef_with_its_words_in_it() -> None:
    for notice in notices():
        text = cef(notice)
        assert text.isprintable()
        header = re.split(r"(?<!\\)(?:\\\\)*\|", text, maxsplit=7)
        assert len(header) == 8
        title = re.match(r"(?:(?:[^|\\]|\\.)*\|){5}((?:[^|\\]|\\.)*)\|", text)
        assert title is not None
        assert re.sub(r"\\(.)", r"\1", title.group(1)) == notice.title
        cat = re.search(r" cat=((?:[^=\\]|\\.)*?)(?: (?:cs1|msg)=|\Z)", text)
        assert cat is not None
        assert re.sub(r"\\(.)", r"\1", cat.group(1)) == notice.source


def test_any_notice_is_a_mail_with_its_own_headers_only() -> None:
    settings = MailSettings("h", 25, "log@example.com", ("a@example.com",), "none")
    for notice in notices():
        message = email.message_from_bytes(compose(notice, settings, 0).as_bytes(), policy=email.policy.default)
        # Folding may add or take a space beside an encoded word; nothing else.
        assert message["Subject"].replace(" ", "") == f"[low]{notice.title}".replace(" ", "")
        assert len(message.keys()) == 9
        body = message.get_body()
        assert body is not None
        assert body.get_content().splitlines()[: len(notice.lines)] == list(notice.lines)


def test_any_notice_is_json_for_slack_and_teams() -> None:
    for notice in notices():
        assert json.loads(slack_message(notice))["blocks"][0]["text"]["text"] == f"[low] {notice.title}"
        card = json.loads(teams_message(notice))["attachments"][0]["content"]
        assert card["body"][0]["inlines"][0]["text"] == notice.title
