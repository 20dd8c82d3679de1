"""Mail and syslog against real receivers: nothing a notice says changes the conversation."""

import email
import email.policy
import queue
import socket
import ssl
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.ingest.syslog_harness import Authority
from tests.respond.servers import mailbox, resetting, stream_sink

from muniment.errors import ConfigError
from muniment.limits import SYSLOG_OUT_UDP_BYTES_MAX
from muniment.respond.channels.mail import Mail, MailSettings, compose
from muniment.respond.channels.syslog import Syslog, cef, rfc5424
from muniment.respond.notice import DeliveryError, Notice, new_notice
from muniment.wire.syslog_header import parse_header

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
INJECTION = "x\r\nBcc: evil@example.com\r\n\r\n.\r\nMAIL FROM:<evil@example.com>"


def notice(**changed: Any) -> Notice:
    values: dict[str, Any] = {
        "id": "n1", "title": "Zu viele Anmeldungen: Zoë", "severity": "high", "source": "Zu viele Anmeldungen", "origins": ["okta"], "occurred_at": NOW,
        "lines": ["ten in a minute", "."], "link": "https://muniment.example/a/1", "fields": {"actor": "anna"},
    }  # fmt: skip
    return new_notice(**{**values, **changed})


def settings(port: int, **changed: Any) -> MailSettings:
    return replace(
        MailSettings("localhost", port, "log@example.com", ("a@example.com", "b@example.com"), "none"), **changed
    )


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_arrives_with_subject_facts_lines_and_link() -> None:
    with mailbox() as box:
        assert Mail(settings(box.port)).deliver(notice(), NOW) == ""
    message = parsed(box.messages[0])
    assert message["Subject"] == "[high] Zu viele Anmeldungen: Zoë"
    assert (message["Auto-Submitted"], message["Importance"]) == ("auto-generated", "high")
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    text = message.get_content()
    for part in ("ten in a minute", "actor: anna", "time: 2023-11-14 22:13:20 UTC", "https://muniment.example/a/1"):
        assert part in text
    assert [line for line in box.commands if line.startswith("rcpt")] == [
        "rcpt TO:<a@example.com>",
        "rcpt TO:<b@example.com>",
    ]


def test_a_repeat_has_the_same_message_id_and_another_list_another() -> None:
    ids = [compose(notice(), settings(25, **changed), now)["Message-ID"] for changed, now in (({}, 0), ({}, NOW))]
    assert ids[0] == ids[1] != compose(notice(), settings(25, recipients=("c@example.com",)), 0)["Message-ID"]


@pytest.mark.parametrize(
    "title", ["=?utf-8?q?a=0D=0ABcc:_evil@example.com?=", "=?utf-8?b?YQ0KQmNjOiBldmlsQGV4YW1wbGUuY29t?= é"]
)
def test_an_encoded_word_in_a_title_is_not_decoded_into_a_header(title: str) -> None:
    """The standard library decodes it and writes the line break out."""
    raw = compose(notice(title=title), settings(25), NOW).as_bytes()
    assert b"\nBcc" not in raw
    assert parsed(raw)["Bcc"] is None
    assert parsed(raw)["Subject"] == f"[high] {title}".replace("=?", "= ?")


def test_nothing_in_a_notice_adds_a_header_a_recipient_or_a_command() -> None:
    with mailbox() as box:
        nasty = notice(
            title=INJECTION, source=INJECTION, lines=[INJECTION, "."], fields={INJECTION: INJECTION}, link=""
        )
        Mail(settings(box.port)).deliver(nasty, NOW)
    (message,) = map(parsed, box.messages)
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Importance", "MIME-Version", "Content-Type",
        "Content-Transfer-Encoding",
    }  # fmt: skip
    assert not [line for line in box.commands if "evil" in line]
    assert [line.split(" ")[0].lower() for line in box.commands] == ["ehlo", "mail", "rcpt", "rcpt", "data", "quit"]


def test_starttls_and_login_come_before_the_mail(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("relay")
    trusting = ssl.create_default_context(cafile=str(authority.path))
    with mailbox(certificate) as box:
        Mail(settings(box.port, tls="starttls", user="u", password="p"), tls=trusting).deliver(notice(), NOW)
    assert box.is_tls == [True]
    assert [line.split(" ")[0].upper() for line in box.commands][:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


def test_a_stripped_starttls_or_a_wrong_certificate_sends_nothing(tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).issue("relay")
    for given in (None, certificate):
        with mailbox(given) as box, pytest.raises(DeliveryError, match=r"STARTTLS|CERTIFICATE_VERIFY_FAILED"):
            Mail(settings(box.port, tls="starttls")).deliver(notice(), NOW)
        assert box.messages == []


def test_some_refused_recipients_are_a_remark_and_all_of_them_a_failure() -> None:
    with mailbox() as box:
        box.refuse = {"rcpt TO:<b@": "550 unknown"}
        assert Mail(settings(box.port)).deliver(notice(), NOW) == "refused: b@example.com: 550 unknown"
        for answer, is_permanent in (("550 unknown", True), ("451 later", False)):
            box.refuse = {"rcpt": answer}
            with pytest.raises(DeliveryError, match=r"refused: a@example\.com") as caught:
                Mail(settings(box.port)).deliver(notice(), NOW)
            assert caught.value.is_permanent is is_permanent


@pytest.mark.parametrize("start", ["ehlo", "mail", "data"])
def test_a_relay_that_refuses_is_tried_again(start: str) -> None:
    with mailbox() as box:
        box.refuse = {start: "421 go away", "helo": "421 go away"}
        with pytest.raises(DeliveryError, match="421 go away") as caught:
            Mail(settings(box.port)).deliver(notice(), NOW)
    assert not caught.value.is_permanent


def test_a_mail_that_was_taken_is_not_sent_again_for_a_rude_goodbye() -> None:
    with mailbox() as box:
        box.refuse = {"quit": "500 no"}
        assert Mail(settings(box.port)).deliver(notice(), NOW) == ""
        box.refuse, box.hang_up_at = {}, "quit"
        assert Mail(settings(box.port)).deliver(notice(), NOW) == ""
    assert len(box.messages) == 2


def test_a_relay_that_hangs_up_is_a_failure() -> None:
    for verb in ("ehlo", "mail", "data"):
        with mailbox() as box:
            box.hang_up_at = verb
            with pytest.raises(DeliveryError, match="localhost: "):
                Mail(settings(box.port)).deliver(notice(), NOW)


def test_a_relay_that_is_silent_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(DeliveryError, match="timed out"):
        Mail(settings(listener.getsockname()[1]), timeout_s=0.1).deliver(notice(), NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"sender": "a@b\r\nBcc: c@d"}, {"sender": "nobody"}, {"sender": ""}, {"recipients": ()}, {"recipients": ("a@b, c@d",)},
        {"recipients": ("a@example.com",) * 51}, {"recipients": ("Zoë@example.com",)}, {"tls": "maybe"},
        {"user": "u", "tls": "none"}, {"recipients": ("<a@example.com>",)}, {"sender": "=?utf-8?q?a=0D=0Ab?=@example.com"}, {"recipients": ("a@example.com" + "m" * 250,)},
    ],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_at_configuration(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        settings(25, **changed)


def test_a_password_is_never_shown() -> None:
    assert "hush" not in repr(settings(25, tls="tls", user="u", password="hush"))


def test_a_message_of_rfc_5424_is_escaped() -> None:
    nasty = notice(title='a"b]c\\', lines=[], link="", fields={'na me=]"é': 'v"]\\'}, severity="critical")
    assert rfc5424(nasty, "our host", NOW + 123_456_789).decode() == (
        "<106>1 2023-11-14T22:13:20.123456Z our_host muniment - critical "
        '[muniment@32473 id="n1" severity="critical" rule="Zu viele Anmeldungen" source="okta" occurred="2023-11-14T22:13:20.000000Z" '
        'na_me____="v\\"\\]\\\\"] \ufeffa"b]c\\'
    )


def test_cef_is_escaped_and_maps_what_it_has_keys_for() -> None:
    nasty = notice(
        title="a|b\\c=d", lines=["one=1", "two\\"], fields={"actor": "a=b", "address": "192.0.2.1", "team": "x|y"}
    )
    assert cef(nasty) == (
        "CEF:0|Muniment|Muniment|1|Zu viele Anmeldungen|a\\|b\\\\c=d|8|externalId=n1 rt=1700000000000 cat=Zu viele Anmeldungen suser=a\\=b "
        "src=192.0.2.1 cs1=okta cs1Label=source cs2=x|y cs2Label=team msg=one\\=1\\ntwo\\\\ request=https://muniment.example/a/1"
    )


def test_cef_tells_ipv6_and_keeps_what_is_beyond_six_custom_strings() -> None:
    many = {"address": "2001:db8::1"} | {f"f{n}": str(n) for n in range(8)}
    text = cef(notice(fields=many, lines=[]))
    assert "c6a2=2001:db8::1 c6a2Label=Source IPv6 Address" in text
    assert "cs6=4 cs6Label=f4 msg=f5: 5\\nf6: 6\\nf7: 7" in text
    assert "cs2=office" in cef(notice(fields={"address": "office"}))


@pytest.mark.parametrize("format", ["rfc5424", "cef"])
def test_udp_sends_one_datagram_cut_on_a_character(format: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        channel = Syslog("127.0.0.1", listener.getsockname()[1], transport="udp", hostname="h", format=format)
        channel.deliver(notice(), NOW)
        assert listener.recv(65_536) == rfc5424(notice(), "h", NOW, is_cef=format == "cef")
        channel.deliver(notice(lines=["漢" * 500] * 5), NOW)
        cut = listener.recv(65_536)
    assert len(cut) <= SYSLOG_OUT_UDP_BYTES_MAX
    assert cut.decode().endswith("漢…")


def test_tcp_and_tls_send_one_counted_frame(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("siem")
    trusting = ssl.create_default_context(cafile=str(authority.path))
    expected = rfc5424(notice(), "h", NOW)
    for transport, given in (("tcp", None), ("tls", certificate)):
        with stream_sink(given) as (port, got):
            Syslog("localhost", port, transport=transport, hostname="h", tls=trusting if given else None).deliver(
                notice(), NOW
            )  # type: ignore[arg-type]
            frame = got.get(timeout=10)
        assert frame == b"%d %s" % (len(expected), expected)


def test_a_tls_receiver_with_another_certificate_gets_nothing(tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).issue("siem")
    with stream_sink(certificate) as (port, got):
        with pytest.raises(DeliveryError, match="the certificate is refused"):
            Syslog("localhost", port, transport="tls", hostname="h").deliver(notice(), NOW)
        with pytest.raises(queue.Empty):
            got.get_nowait()


def test_a_receiver_that_is_not_there_or_resets_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeliveryError, match="refused"):
        Syslog("127.0.0.1", port, transport="tcp", hostname="h").deliver(notice(), NOW)
    with resetting() as port, pytest.raises(DeliveryError, match=r"reset|not connected|Broken pipe"):
        Syslog("127.0.0.1", port, transport="tcp", hostname="h").deliver(notice(), NOW)


def test_what_we_send_is_strict_syslog_to_our_own_parser() -> None:
    nasty = notice(title='a"b]c\\', fields={'na me=]"é': 'v"]\\', "actor": "Zoë"})
    for is_cef in (False, True):
        head = parse_header(rfc5424(nasty, "h", NOW, is_cef=is_cef).decode())
        assert (head.version, head.deviations, head.app, head.msgid) == (1, (), "muniment", "high")


def test_a_tls_receiver_that_wants_our_certificate_is_a_failure(tmp_path: Path) -> None:
    """TLS 1.3: the client believes the handshake done before the server has looked for its certificate."""
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("siem")
    trusting = ssl.create_default_context(cafile=str(authority.path))
    with stream_sink(certificate, wants_certificate=authority.path) as (port, got):
        with pytest.raises(DeliveryError):
            Syslog("localhost", port, transport="tls", hostname="h", tls=trusting).deliver(notice(), NOW)
        with pytest.raises(queue.Empty):
            got.get_nowait()


@pytest.mark.parametrize("wrong", [{"transport": "smtp"}, {"transport": "udp", "format": "leef"}])
def test_an_unknown_transport_or_format_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        Syslog("h", 514, hostname="h", **wrong)
