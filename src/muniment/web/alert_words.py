"""An alert in words: what happened how often, whose, how long, and did any succeed. Pure.

`203.0.113.7: 214 failed logins, 31 accounts, 6 minutes; 1 success (m.ruiz)`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muniment.web.security import Admitted, Alert
from muniment.web.times import span_text

__all__ = ["acts", "admitted_words", "control_words", "facts", "paragraphs"]

_VALUES_MAX: Final = 50
"""An alert names no more of each; more are written with a plus."""

_LOGINS: Final = frozenset({"login", "logon", "signin", "sso"})
_NOUNS: Final = {
    "delete": "deletion", "create": "creation", "approve": "approval", "impersonate": "impersonation", "remove": "removal",
    "add": "addition", "assume": "assumption", "enable": "activation", "disable": "deactivation", "refund": "refund",
    "start": "start", "stop": "stop", "put": "write", "authorize": "authorisation", "verify": "verification",
}  # fmt: skip
_COUNTED: Final = (("actors", "accounts"), ("addresses", "addresses"), ("hosts", "hosts"), ("targets", "targets"))
_CONTROLS: Final = {
    "5.3": "segregation of duties", "5.14": "information transfer", "5.16": "identity management",
    "5.17": "authentication information", "5.18": "access rights", "5.25": "assessment of events", "5.28": "collection of evidence",
    "8.2": "privileged access rights", "8.3": "information access restriction", "8.5": "secure authentication",
    "8.8": "technical vulnerabilities", "8.9": "configuration management", "8.12": "data leakage prevention",
    "8.13": "information backup", "8.15": "logging", "8.16": "monitoring activities", "8.20": "networks security",
    "8.32": "change management",
}  # fmt: skip


def acts(count: int, actions: Sequence[str], outcomes: Sequence[str]) -> str:
    """What happened, counted.

    >>> acts(214, ["user.login"], ["failure"])
    '214 failed logins'
    >>> acts(48, ["customer.export"], ["success"])
    '48 customer exports'
    >>> acts(2, ["bank_account.update", "payrun.approve"], ["success"])
    '2 events (bank account update, payrun approval)'
    """
    refused = list(outcomes) == ["failure"]
    if len(actions) == 1:
        noun = _noun(actions[0])
        return f"{count:,} {'failed ' if refused else ''}{noun}{'' if count == 1 or noun.endswith('s') else 's'}"
    events = f"{count:,} {'refused ' if refused else ''}{'event' if count == 1 else 'events'}"
    return f"{events} ({', '.join(map(_noun, actions))})" if 1 < len(actions) <= 3 else events


def _noun(action: str) -> str:
    thing, _, verb = action.rpartition(".")
    verb = verb.replace("_", " ")
    if verb in _LOGINS or not thing:
        return "login" if verb in _LOGINS else verb
    return f"{thing.rpartition('.')[2].replace('_', ' ')} {_NOUNS.get(verb, verb)}"


def facts(alert: Alert) -> tuple[str, ...]:
    """How much, of how many, how long."""
    if alert.kind == "risk":
        n = alert.count
        found = ["1 alert adds up" if n == 1 else f"{n:,} alerts add up"]
    else:
        found = [acts(alert.count, alert.values.get("actions", []), alert.values.get("outcomes", []))]
        for name, words in _COUNTED:
            n = len(alert.values.get(name, []))
            if n > 1:
                found.append(f"{n}{'+' if n >= _VALUES_MAX else ''} {words}")
    if alert.last_us > alert.first_us:
        found.append(span_text((alert.last_us - alert.first_us) * 1_000))
    return tuple(found)


def admitted_words(found: Admitted | None) -> str:
    """Did any succeed? Empty where that is no question."""
    if found is None:
        return ""
    if not found.count:
        return "none succeeded"
    who = ", ".join(found.who[:3]) + (" and more" if len(found.who) > 3 else "")
    return f"{found.count:,} {'success' if found.count == 1 else 'successes'}{f' ({who})' if who else ''}"


def paragraphs(text: str) -> tuple[str, ...]:
    """A description in paragraphs; its lines that begin "What to do" are one of their own."""
    return tuple(filter(None, (each.strip() for each in text.replace("What to do:", "\n\nWhat to do:").split("\n\n"))))


def control_words(tag: str) -> str:
    """A control by its name, a tag otherwise as it stands.

    >>> control_words("iso27001.a.8.16")
    'ISO 27001 A.8.16 monitoring activities'
    """
    if not tag.startswith("iso27001.a."):
        return tag
    number = tag.removeprefix("iso27001.a.")
    return f"ISO 27001 A.{number} {_CONTROLS.get(number, '')}".strip()
