"""What a secret looks like: one `Rule` a kind, with a cheap sign for the bulk pass and an exact pattern for the span.

Patterns run on JSON text, not on decoded strings, so that replacing keeps every other byte. Hence three habits:
a left border may be an escape (`\\nAKIA...`), a slash may be written `\\/`, and no pattern leaves its string (the value
classes exclude the bare quote and take a backslash only together with what it escapes).

`sign` is a Hyperscan expression that must match wherever `exact` does; it has a fixed or short length so that one
secret reports few ends. `exact` is RE2; group 1 is what gets replaced. `check` says yes or no to that group's bytes.
Identifiers are not secrets: UUIDs, hashes, trace ids, order numbers, and AWS access key ids under a key named so.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["RULES", "Rule", "is_card_number", "is_jwt"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret. `check(secret, record, start)` sees the group and where it stands."""

    kind: str
    sign: str
    exact: str
    check: Callable[[bytes, bytes, int], bool] | None = None


_LEFT = r"""(?:^|[^0-9A-Za-z_\\]|\\[nrtbf"/\\]|\\u[0-9A-Fa-f]{4})"""
_RIGHT = r"(?:$|[^0-9A-Za-z_])"
_IN_STRING = r"""(?:[^"\\]|\\.)"""

_NAMES = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|client[_-]?secret|secret[_-]?key|api[_-]?key|apikey|private[_-]?key"
    r"|(?:secret[_-]?)?access[_-]?key|account[_-]?key|shared[_-]?access[_-]?(?:key|signature)|signing[_-]?key|pre-?shared[_-]?key"
    r"|encryption[_-]?key|token|credentials?|cvv2?|cvc2?|otp|one[_-]?time[_-]?code|recovery[_-]?codes?"
)
_HEADERS = r"authorization|proxy-authorization|cookie|set-cookie|x-amz-security-token|x-vault-token"
_FULL_KEY = re.compile(rb"([A-Za-z0-9_.\-]{0,64})(?:\\*\"|'|\s)*\s*[:=]?\s*\\*\"?\[?\s*\\*\"?$")
_NOT_SECRET_KEY = re.compile(
    rb"(?i)(?:next|prev(?:ious)?|page|paging|continuation|sync|delta|skip|hashed|idempotency|client|client_?request|request|"
    rb"cancellation|resume|marker|start|design|sort)_?-?(?:page_?)?token$|hashed|hash$|_id$|token_?type$"
)
_MASKED = re.compile(
    rb"(?i)^(?:[*x\xe2\x80\xa2.\-_#]+|<[^>]*>|\[[^\]]*\]|[(_]*(?:redacted|masked|hidden|removed|filtered|null|none|nil|true|false"
    rb"|yes|no|undefined|unset|empty|changed|expired|invalid|missing|required|unknown|hidden_due_to_security_reasons)[)_]*"
    rb"|\$\{[^}]*\}?|%[sdv]|hmac-sha256:[0-9a-f]+|sha256:[0-9a-f]+|arn:[^ ]+)$"
)
_ID_KEY = re.compile(
    rb"(?i)\"[A-Za-z0-9_.\- ]{0,60}(?:id|ids|uid|uuid|guid|trace|span|order|invoice|sequence|seq|timestamp|time|ts|offset|"
    rb"version|serial|order_?(?:no|number)|ticket|cursor|hash)\"\s*:\s*\[?\s*\"?$"
)
_KEY_ID = re.compile(rb"(?i)(?:access_?-?key_?-?id|trace_ids?)\\?\"\s*:\s*\[?\s*\\?\"$")
_CARD_ISSUERS = re.compile(
    rb"(?:4\d{15}|5[1-5]\d{14}|222[1-9]\d{12}|22[3-9]\d{13}|2[3-6]\d{14}|27[01]\d{13}|2720\d{12}|3[47]\d{13}"
    rb"|6011\d{12}|64[4-9]\d{13}|65\d{14}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11})"
)


def is_card_number(text: bytes) -> bool:
    """Digits with an issuer's prefix and length whose Luhn sum holds.

    >>> is_card_number(b"4111 1111 1111 1111"), is_card_number(b"4111111111111112")
    (True, False)
    """
    digits = text.replace(b" ", b"").replace(b"-", b"")
    if not _CARD_ISSUERS.fullmatch(digits) or len(set(digits)) < 2:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_jwt(text: bytes) -> bool:
    """Three dotted parts of which the first is base64url of a JSON object with `alg` or `enc`."""
    head = text.split(b".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and ("alg" in header or "enc" in header)


def _card(text: bytes, record: bytes, start: int) -> bool:
    return is_card_number(text) and not _ID_KEY.search(record[max(0, start - 90) : start])


def _jwt(text: bytes, _record: bytes, _start: int) -> bool:
    return is_jwt(text)


def _named(text: bytes, record: bytes, start: int) -> bool:
    """A value under a secret's name: not masked already, and the name is no cursor or idempotency token."""
    if not text or _MASKED.match(text):
        return False
    name = _FULL_KEY.search(record[max(0, start - 90) : start])
    return not (name and _NOT_SECRET_KEY.search(name.group(1)))


def _named_in_text(text: bytes, record: bytes, start: int) -> bool:
    """`name: value` in prose: only what cannot be a word of a sentence ("token: expired")."""
    if not _named(text, record, start):
        return False
    if record[start - 1 : start] == b"=":
        return True
    return len(text) >= 6 and any(not 97 <= byte <= 122 for byte in text[1:])


def _mixed(text: bytes, _record: bytes, _start: int) -> bool:
    """Digits and letters both: not a word, not a plain number."""
    return any(48 <= b <= 57 for b in text) and any(b > 57 for b in text)


def _basic(text: bytes, _record: bytes, _start: int) -> bool:
    try:
        return b":" in base64.b64decode(text + b"=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        return False


def _pem_base64(text: bytes, _record: bytes, _start: int) -> bool:
    text = text.replace(b"\\/", b"/")[:120]
    try:
        return b"PRIVATE KEY" in base64.b64decode(text[: len(text) // 4 * 4])
    except (ValueError, binascii.Error):
        return False


def _aws_id(_text: bytes, record: bytes, start: int) -> bool:
    return not _KEY_ID.search(record[max(0, start - 40) : start])


def _password_url(text: bytes, _record: bytes, _start: int) -> bool:
    return not _MASKED.match(text)


def _token(kind: str, sign: str, exact: str, check: Callable[[bytes, bytes, int], bool] | None = None) -> Rule:
    """A token with a telling prefix: bordered on both sides."""
    return Rule(kind, sign, f"{_LEFT}({exact}){_RIGHT}", check)


_PEM = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PAN = r"(?:[2-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|3\d{3}[ -]?\d{6}[ -]?\d{4,5})"
_PAN_LEFT = r"""(?:^|[^0-9A-Za-z_.\-\\]|\\[nrtbf"/\\]|\\u[0-9A-Fa-f]{4})"""
_TEXT_VALUE = r"""(?:[^\s"'\\&,;<>(){}\[\]]|\\/|\\\\)"""

RULES: tuple[Rule, ...] = (
    Rule(
        "private_key", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY", f"({_PEM}{_IN_STRING}*?{_PEM_END}|{_PEM}{_IN_STRING}*)"
    ),
    Rule("private_key", r"LS0tLS1CRUdJTi", r"(LS0tLS1CRUdJTi(?:[A-Za-z0-9+/=]|\\/)*)", _pem_base64),
    _token("muniment_key", r"mk_[0-9a-f]{12}_", r"mk_[0-9a-f]{12}_[A-Za-z0-9_\-]{43}"),
    _token("age_key", r"AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _token(
        "aws_access_key",
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7][A-Z0-9]{15}",
        _aws_id,
    ),
    Rule(
        "aws_signature",
        r"X-(?:Amz|Goog)-(?:Signature|Security-Token)=",
        rf"X-(?:Amz|Goog)-(?:Signature|Security-Token)=({_TEXT_VALUE}+)",
    ),
    _token(
        "github_token",
        r"(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{22}",
        r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{22,255}",
    ),
    _token(
        "gitlab_token",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt|ffct)-[A-Za-z0-9_.-]{20}",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt|ffct)-[A-Za-z0-9_.\-]{20,320}",
    ),
    _token(
        "slack_token",
        r"xox[abeoprs]-[A-Za-z0-9]",
        r"xox[abeoprs](?:\.xox[bp])?-(?:[A-Za-z0-9]{1,}-){0,4}[A-Za-z0-9%]{10,}",
        _mixed,
    ),
    _token("slack_token", r"xapp-[0-9A-Za-z]", r"xapp-[0-9A-Za-z\-/+]{20,}", _mixed),
    Rule(
        "slack_webhook",
        r"hooks\.slack\.com",
        r"hooks\.slack\.com(?:\\?/)(?:services|workflows|triggers)((?:\\?/[A-Za-z0-9_]{6,})+)",
    ),
    Rule(
        "discord_webhook",
        r"discord(?:app)?\.com\\?/api\\?/webhooks",
        r"discord(?:app)?\.com\\?/api\\?/webhooks\\?/[0-9]{15,20}\\?/([A-Za-z0-9_\-]{50,})",
    ),
    _token(
        "stripe_key",
        r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10}|whsec_[A-Za-z0-9]{10}",
        r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,255}|whsec_[A-Za-z0-9+/=]{20,255}",
    ),
    _token(
        "openai_key",
        r"sk-[A-Za-z0-9_-]{20}",
        r"sk-(?:proj-|svcacct-|admin-|ant-[a-z0-9]{3,8}-|or-v1-)?[A-Za-z0-9_\-]{20,255}",
        _mixed,
    ),
    _token("groq_key", r"gsk_[A-Za-z0-9]{20}", r"gsk_[A-Za-z0-9]{48,56}"),
    _token("huggingface_token", r"hf_[A-Za-z]{30}", r"hf_[A-Za-z]{30,40}"),
    _token("npm_token", r"npm_[A-Za-z0-9]{36}", r"npm_[A-Za-z0-9]{36}"),
    _token("pypi_token", r"pypi-AgE[A-Za-z0-9_-]{40}", r"pypi-AgE[A-Za-z0-9_\-]{40,}"),
    _token("rubygems_key", r"rubygems_[0-9a-f]{48}", r"rubygems_[0-9a-f]{48}"),
    _token("nuget_key", r"oy2[a-z0-9]{43}", r"oy2[a-z0-9]{43}"),
    _token("docker_token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20}", r"dckr_(?:pat|oat)_[A-Za-z0-9_\-]{20,}"),
    _token("sendgrid_key", r"SG\.[A-Za-z0-9_-]{16}", r"SG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{16,64}"),
    _token("twilio_key", r"SK[0-9a-f]{32}", r"SK[0-9a-f]{32}"),
    _token("mailchimp_key", r"[0-9a-f]{32}-us[0-9]", r"[0-9a-f]{32}-us[0-9]{1,2}"),
    _token("mailgun_key", r"key-[0-9a-f]{32}", r"key-[0-9a-f]{32}"),
    _token("google_api_key", r"AIza[0-9A-Za-z_-]{35}", r"AIza[0-9A-Za-z_\-]{35}"),
    _token(
        "google_oauth",
        r"GOCSPX-[A-Za-z0-9_-]{20}|ya29\.[A-Za-z0-9_-]{20}",
        r"GOCSPX-[A-Za-z0-9_\-]{20,40}|ya29\.[A-Za-z0-9_\-.]{20,}",
    ),
    _token("digitalocean_token", r"do[opr]_v1_[0-9a-f]{64}", r"do[opr]_v1_[0-9a-f]{64}"),
    _token("databricks_token", r"dapi[0-9a-f]{32}", r"dapi[0-9a-f]{32}(?:-[0-9])?"),
    _token("dynatrace_token", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _token(
        "grafana_token", r"gl(?:c|sa)_[A-Za-z0-9+/=_]{20}", r"glc_[A-Za-z0-9+/=]{32,}|glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"
    ),
    _token("vault_token", r"hv[sbr]\.[A-Za-z0-9_-]{24}", r"hv[sbr]\.[A-Za-z0-9_\-]{24,}"),
    _token("vault_token", r"[sbr]\.[A-Za-z0-9]{24}", r"[sbr]\.[A-Za-z0-9]{24,26}", _mixed),
    _token(
        "newrelic_key",
        r"NR(?:AK|AA|II|IQ|RA)-[A-Za-z0-9_-]{20}|[0-9a-f]{36}NRAL",
        r"NR(?:AK|AA|II|IQ|RA)-[A-Za-z0-9_\-]{20,46}|[0-9a-f]{36}NRAL",
    ),
    _token("shopify_token", r"shp(?:at|ca|pa|ss)_[0-9a-f]{32}", r"shp(?:at|ca|pa|ss)_[0-9a-f]{32}"),
    _token("sourcegraph_token", r"sgp_[0-9a-f_]{40}", r"sgp_(?:[0-9a-f]{16}_)?[0-9a-f]{40}"),
    _token("telegram_token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{32}", r"[0-9]{8,10}:AA[A-Za-z0-9_\-]{32,33}"),
    _token("atlassian_token", r"ATATT3[A-Za-z0-9_=-]{20}", r"ATATT3[A-Za-z0-9_\-=]{20,}"),
    _token("adafruit_key", r"aio_[A-Za-z0-9]{28}", r"aio_[A-Za-z0-9]{28}"),
    _token("artifactory_key", r"AKCp[0-9A-Za-z]{60}", r"AKCp[0-9A-Za-z]{60,80}"),
    _token("twitch_key", r"live_[0-9]{6,12}_[A-Za-z0-9]{20}", r"live_[0-9]{6,12}_[A-Za-z0-9]{20,}"),
    _token("salesforce_token", r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{60}", r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{60,}"),
    _token("azure_secret", r"[0-9]Q~[A-Za-z0-9_~.-]{31}", r"[A-Za-z0-9_~.\-]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}"),
    _token(
        "azure_key",
        r"[A-Za-z0-9]AZDO[A-Za-z0-9]{4}|JQQJ99[A-Za-z0-9]{10}",
        r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}|[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}",
    ),
    Rule(
        "azure_key",
        r"(?i)(?:AccountKey|SharedAccessKey|sig)=[A-Za-z0-9+/%\\]{20}",
        r"(?i)(?:AccountKey|SharedAccessKey|[?&;6]sig)=((?:[A-Za-z0-9+/=%]|\\/){20,})",
    ),
    _token(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{10,600}\.[A-Za-z0-9_-]{5}",
        r"eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{4,}\.[A-Za-z0-9_\-]*(?:\.[A-Za-z0-9_\-]+){0,2}",
        _jwt,
    ),
    Rule(
        "authorization", r"(?i)bearer:?\s+[A-Za-z0-9._~+/=-]{12}", r"(?i)bearer:?\s+([A-Za-z0-9._~+/=\-]{12,})", _mixed
    ),
    Rule(
        "authorization",
        r"(?i)authorization\\?\"?\s{0,2}[:=]\s{0,2}\\?\"?\[?\\?\"?(?:basic|token|apikey|splunk|digest|negotiate|aws4-)",
        r"(?i)authorization\\?\"?\s{0,2}[:=]\s{0,2}\\?\"?\[?\\?\"?(?:basic|token|apikey|splunk|digest|negotiate)\s+([^\"\\]+)",
    ),
    Rule("authorization", r"(?i)basic\s+[A-Za-z0-9+/\\]{6}", r"(?i)basic\s+([A-Za-z0-9+/]{6,}={0,2})", _basic),
    Rule(
        "url_password",
        r"[A-Za-z]:\\?/\\?/[^\s\"/:@\\]{0,100}:[^\s\"/@\\]{1,200}@",
        r"[A-Za-z]:\\?/\\?/[^\s\"/:@\\]{0,100}:([^\s\"/@\\]{1,200})@",
        _password_url,
    ),
    Rule(
        "password",
        rf"(?i)(?:{_NAMES}|{_HEADERS})\"\s*:\s*\[?\s*\"",
        rf"(?i)(?:{_NAMES})\"\s*:\s*\[?\s*\"({_IN_STRING}+)\"",
        _named,
    ),
    Rule(
        "authorization",
        rf"(?i)\"(?:{_HEADERS})\"\s*:\s*\[?\s*\"",
        rf"(?i)\"(?:{_HEADERS})\"\s*:\s*\[?\s*\"({_IN_STRING}+)\"",
        _named,
    ),
    Rule(
        "password",
        rf"(?i)(?:{_NAMES})\"\s*:\s*-?[0-9]",
        r"(?i)(?:pass(?:word|wd|code)|pwd|secret|cvv2?|cvc2?|otp|one[_-]?time[_-]?code)\"\s*:\s*(-?[0-9][0-9.eE+\-]*)",
        _named,
    ),
    Rule(
        "password",
        rf"(?i)(?:{_NAMES}|{_HEADERS})\\\"\s*:\s*\[?\s*\\\"",
        rf"(?i)(?:{_NAMES}|{_HEADERS})\\\"\s*:\s*\[?\s*\\\"((?:[^\"\\]|\\\\\\\\|\\\\(?:\\[^\\]|[^\"\\])|\\[^\"\\])+)\\\"",
        _named,
    ),
    Rule(
        "password",
        rf"(?i)(?:{_NAMES})(?:\s{{0,2}}=|\s?:\s)",
        rf"(?i)(?:{_NAMES})(?:\s{{0,2}}=\s?|\s?:\s)(?:'|\\\")?({_TEXT_VALUE}+)",
        _named_in_text,
    ),
    Rule(
        "password",
        rf"(?i)--(?:[a-z-]{{0,20}}-)?(?:{_NAMES})[ =]",
        rf"(?i)--(?:[a-z\-]{{0,20}}-)?(?:{_NAMES})[ =](?:'|\\\")?({_TEXT_VALUE}+)",
        _named,
    ),
    Rule(
        "password", r"(?i)(?:password|identified\s+by)\s+'", r"(?i)(?:password|identified\s+by)\s+'([^'\"\\]+)'", _named
    ),
    Rule(
        "password",
        r"(?:sshpass|mysql|mysqldump|mariadb)[^\"\\]{0,120}?\s-p",
        rf"(?:sshpass|mysql|mysqldump|mariadb)[^\"\\]{{0,120}}?\s-p\s?({_TEXT_VALUE}+)",
    ),
    Rule(
        "password",
        r"curl[^\"]{0,200}?\s(?:-u|--user)[ =]",
        r"curl[^\"]{0,200}?\s(?:-u|--user)[ =](?:'|\\\")?[^\s\"':\\]{1,64}:([^\s\"'\\]+)",
    ),
    Rule(
        "password",
        r"(?i)machine\s{1,4}\S{1,128}\s{1,4}login\s{1,4}\S{1,64}\s{1,4}password\s",
        rf"(?i)machine\s{{1,4}}\S{{1,128}}\s{{1,4}}login\s{{1,4}}\S{{1,64}}\s{{1,4}}password\s{{1,4}}({_TEXT_VALUE}+)",
    ),
    Rule(
        "password",
        rf"(?i)[\s\"'`]-(?:{_NAMES})\s",
        rf"(?i)[\s\"'`]-(?:{_NAMES})\s{{1,3}}(?:'|\\\")?({_TEXT_VALUE}{{4,}})",
        _mixed,
    ),
    Rule("card_number", _PAN_LEFT + _PAN, rf"{_PAN_LEFT}({_PAN})(?:$|[^0-9A-Za-z_.\-]|\.(?:[^0-9]|$))", _card),
)
