"""Notices by mail (SMTP, RFC 5321), with STARTTLS or TLS from the start unless the operator says none.

- Nothing a notice holds can add a header or a recipient: texts are on one line, none begins an encoded word, and the
  recipients come from the settings alone.
- The Message-ID is made of notice and sender, the same at every attempt, so that mail systems can fold a repeat.
- Recipients the server refuses while it takes others are named in the remark; sending again would reach the others twice.

Where it stops: each step is bounded in time, the conversation as a whole only by their number. The relay is the
operator's own and may be inside: the rules of `egress` are not for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal

from muniment.errors import ConfigError
from muniment.limits import MAIL_RECIPIENTS_MAX, MAIL_TIMEOUT_S
from muniment.respond.block import one_line
from muniment.respond.notice import DeliveryError, Notice, told_of, went_wrong

__all__ = ["Mail", "MailSettings", "compose"]


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where mail goes. `user` empty: no login; a login is never sent without TLS."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.recipients) <= MAIL_RECIPIENTS_MAX:
            raise ConfigError(
                f"1 to {MAIL_RECIPIENTS_MAX} recipients; beyond it use a list's address", setting="recipients"
            )
        for setting, text in [("sender", self.sender), *(("recipients", one) for one in self.recipients)]:
            _address(text, setting)
        if self.tls not in ("starttls", "tls", "none"):
            raise ConfigError("expected starttls, tls or none", setting="tls")
        if self.user and self.tls == "none":
            raise ConfigError("a password is not sent without TLS", setting="tls")


class Mail:
    """A mailbox, a list, or a few people."""

    def __init__(
        self, settings: MailSettings, *, tls: ssl.SSLContext | None = None, timeout_s: float = MAIL_TIMEOUT_S
    ) -> None:
        self._settings = settings
        self._tls = tls or ssl.create_default_context()
        self._timeout_s = timeout_s

    def deliver(self, notice: Notice, now_ns: int) -> str:
        """Send it once; the remark names refused recipients."""
        message = compose(notice, self._settings, now_ns)
        try:
            server = self._connected()
            try:
                refused = server.send_message(
                    message, from_addr=self._settings.sender, to_addrs=list(self._settings.recipients)
                )
                # The mail is taken; whatever becomes of the goodbye, it must not be sent again.
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    server.quit()
            finally:
                server.close()
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise DeliveryError(
                _refused(error.recipients), is_permanent=all(500 <= code < 600 for code in codes)
            ) from error
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"{self._settings.host}: {error.smtp_code} {_words(error.smtp_error)}") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{self._settings.host}: {went_wrong(error)}") from error
        return _refused(refused) if refused else ""

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=self._timeout_s, context=self._tls
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=self._timeout_s)
        try:
            if settings.tls == "starttls":
                # Raises when the server does not offer it: a stripped STARTTLS must not mean mail in clear.
                server.starttls(context=self._tls)
            if settings.user:
                server.login(settings.user, settings.password)
        except BaseException:
            server.close()
            raise
        return server


def compose(notice: Notice, settings: MailSettings, now_ns: int) -> EmailMessage:
    """The mail: subject, facts and lines as plain text, and the link."""
    message = EmailMessage()
    message["From"] = _address(settings.sender, "sender")
    message["To"] = [_address(one, "recipients") for one in settings.recipients]
    # EmailMessage decodes encoded words (RFC 2047) in what it is given, line breaks within them too, and writes those out:
    # `=?utf-8?q?=0D=0ABcc:...?=` in a title would be a header of its own. So no text of people may begin one.
    message["Subject"] = f"[{notice.severity}] {notice.title}".replace("=?", "= ?")
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ns // 1_000_000_000, UTC))
    domain = settings.sender.rpartition("@")[2]
    told_apart = hashlib.sha256("\n".join(settings.recipients).encode()).hexdigest()[:8]
    message["Message-ID"] = f"<{notice.id}.{told_apart}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
    if notice.severity in ("high", "critical"):
        message["Importance"] = "high"
    happened = datetime.fromtimestamp(notice.occurred_at // 1_000_000_000, UTC)
    facts = [("severity", notice.severity), *told_of(notice), ("time", f"{happened:%Y-%m-%d %H:%M:%S} UTC")]
    text = [*notice.lines, ""] if notice.lines else []
    text += [f"{name}: {value}" for name, value in (*facts, *notice.fields)]
    text += ["", notice.link] if notice.link else []
    assert not any(set("\r\n") & set(str(value)) for value in message.values()), "a header would end early"
    message.set_content("\n".join(text) + "\n", cte="quoted-printable")
    return message


def _address(text: str, setting: str) -> Address:
    if not text.isascii() or not text.isprintable() or "=?" in text:
        raise ConfigError("a mail address has printable ASCII characters and no encoded words", setting=setting)
    try:
        address = Address(addr_spec=text)
    except (ValueError, IndexError, MessageError) as error:
        raise ConfigError(f"{text!r} is no mail address", setting=setting) from error
    if not address.username or not address.domain or len(text) > 254:
        raise ConfigError(f"{text!r} is no mail address", setting=setting)
    return address


def _refused(recipients: dict[str, tuple[int, bytes]]) -> str:
    said = "; ".join(f"{who}: {code} {_words(words)}" for who, (code, words) in sorted(recipients.items()))
    return f"refused: {said}"


def _words(said: Sequence[int] | bytes | str) -> str:
    return one_line(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said))
