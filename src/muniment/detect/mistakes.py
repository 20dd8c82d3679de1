"""Where a rule that cannot be run is wrong, and how to mend it: line, column, and one sentence. Pure.

The parsers of Sigma say what is wrong but not where. What they quote (`'selektion'`) is looked for in the text of the
document, which is found by its title; where nothing is quoted that stands there, the document's first line is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_network
from typing import Any, Final

import yaml
from sigma.correlations import SigmaCorrelationType
from sigma.modifiers import modifier_mapping
from sigma.rule import SigmaLevel

from muniment.detect.derived import MADE
from muniment.errors import RejectedError
from muniment.search.columns import COLUMNS
from muniment.sources.nesting import FAST_LOADER, check_nesting

__all__ = ["LEVELS", "YAML_FIX", "document_of", "fix_of", "place_of", "plain"]

LEVELS: Final = tuple(each.name.lower() for each in SigmaLevel)
"""How severe a rule's alerts are, the least first."""
YAML_FIX: Final = "indent this line as its neighbours are, with spaces; quote texts that hold : # { [ * or %"
_SEPARATOR: Final = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_QUOTED: Final = re.compile(
    r"'([^'\n]{1,200})'|\"([^\"\n]{1,200})\"|\b([a-z][a-z_-]*\.[a-z][a-z_-]*)(?=:)|(%[\w.-]{1,100}%)"
    r"|\b([0-9A-Fa-f:.]{2,45}/[0-9]{1,3})\b"
)
_AT: Final = re.compile(r" \(at char \d+\), \(line:(\d+), col:(\d+)\)$")
"""Where in a condition its parser stopped."""

_SPANS: Final = "write a number and s, m, h, d, w, M or y, such as 5m"
_COUNTS: Final = "write gt, gte, lt, lte, eq or neq and a number, or two of them for a range, such as {gte: 10}"
_SELECTIONS: Final = "a condition names the selections of its rule with and, or, not, 1 of, all of"
_PATTERNS: Final = (
    "patterns are RE2's: without look-around and back-references; use a filter for what must not be there"
)
_KEYS: Final = (
    ("pipe syntax", "detection.condition"),
    ("at least one condition", "detection"),
    ("at least one detection", "detection"),
    ("log source", "logsource"),
    ("identifier must be an uuid", "id"),
    ("a keyword of the kind", "detection"),
    ("exactly one condition item", "correlation.condition"),
    ("without field reference", "correlation.condition"),
    ("without timespan", "correlation"),
    ("without condition", "correlation"),
    ("about itself", "correlation.rules"),
    ("rule it is about cannot be run", "correlation.rules"),
    ("names no rule", "correlation"),
    ("rule without type", "correlation"),
)
"""What the parser says without quoting anything, and the key in whose line it is; what it quotes is looked for first."""

_FIXES: Final = (
    (
        "found 'of'",
        "Sigma counts with 1 of, all of and no other number: for two of three write (a and b) or (a and c) or (b and c)",
    ),
    (
        "expected end of text",
        "a condition has and, or, not, 1 of, all of in lower case between the names of selections",
    ),
    ("unbalanced parentheses", f"close each parenthesis that is opened; {_SELECTIONS}"),
    ("expected {", _SELECTIONS),
    ("modifier only applicable to", "write re right behind the field, and only i, m and s behind it"),
    (
        "pattern too large",
        "make it shorter, or several patterns in a list; texts without special characters go into |contains",
    ),
    (
        "invalid repetition",
        "RE2 repeats at most 1,000 times, a repetition in another counted in: ask for less, or write + or *",
    ),
    ("regular expression", _PATTERNS),
    ("none of re2's", _PATTERNS),
    ("no text: quote it", "write quotes around it; YAML reads yes, no, on, off, true and null without them as values"),
    ("is empty", "write what to look for; what has no such field is found by null, or |exists: false"),
    ("is a mapping", "write its fields so, each with its value, in the selection"),
    (
        "rule without type",
        f"add a line such as: type: event_count; there are {', '.join(each.name.lower() for each in SigmaCorrelationType)}",
    ),
    ("stands twice", "take one out; two tests of one field go into one key, as a list, or into two selections"),
    ("exactly one condition item", _COUNTS),
    ("correlation condition count", "write a number behind the operator"),
    ("is no number", "write a number behind the operator"),
    ("without field reference", "say whose values count, such as condition: {field: src_ip, gte: 10}"),
    ("correlation rule without condition", "add a line such as: condition: {gte: 10}"),
    ("correlation rule without timespan", "add a line such as: timespan: 5m"),
    ("timespan", _SPANS),
    ("must have a title", "add a line such as: title: Many failed logins"),
    ("must be an uuid", "write a UUID, such as uuidgen prints, and another one for each rule"),
    ("log source can't be empty", "name one at least of product, category and service, such as {product: muniment}"),
    ("must have a log source", "add a line such as: logsource: {product: muniment}"),
    ("log source", "product, category and service are one text each"),
    ("must have at least one detection", "give detection a selection and a condition"),
    ("detection definitions", "add detection: with a selection and a condition"),
    (
        "pipe syntax",
        "make it a rule without the pipe, and a correlation (event_count, value_count, ...) over that rule",
    ),
    ("at least one condition", f"add a line such as condition: selection; {_SELECTIONS}"),
    ("doesn't match any detection", "name selections that the rule has"),
    ("a keyword of the kind", "write texts or numbers to look for, or fields with their values"),
    ("about itself", "take it, or the rule that leads back to it, out of its rules"),
    ("condition", _SELECTIONS),
    ("rule it is about cannot be run", "mend or switch on that rule first"),
    ("names no rule", "add a line such as: rules: [failed_login]"),
    ("larger than", "split the file"),
    ("its id", "give one of the two another id, or take its folder out"),
    ("not utf-8", "save the file as UTF-8"),
    ("cannot read it", "let the server's user read the file"),
    ("no such folder", "make the folder, or correct the setting rules"),
    ("more than", "take folders out of the setting rules"),
    ("placeholder", "name its values in a file placeholders.yml among the rules, such as admins: [anna, root]"),
    ("there is no rule in it", "write one, or take the file away"),
    ("a rule has title", "begin with title:, and put a line --- between two rules"),
    ("billion laughs", "write the values where the aliases stand"),
    ("nested too deep", "no rule needs so many levels: write lists and parentheses flat"),
    ("not allowed in yaml", "take the character out, or save the file as UTF-8"),
    ("another kind", "compare it with a rule that runs: a text, a list or a mapping stands in the wrong place"),
    ("filter", "a filter has title, logsource, and under filter: its rules, a selection and a condition"),
    ("", "see how Sigma's specification has it: https://sigmahq.io/sigma-specification"),
)
_WANTED: Final = (
    ("ignorecase|multiline|dotall", "it stands behind re, such as |re|i; without re all texts are alike in any case"),
    ("exists", "write true or false"),
    ("cidr", "write networks as texts, such as 10.0.0.0/8"),
    ("greater|lesser|less", "write a number"),
    ("minute|hour|day|week|month|year", "write a whole number"),
    ("", "this modifier goes with another kind of value"),
)
"""What a modifier that is incompatible to a value wants, by a part of its name."""


_CALLED: Final[Mapping[str, str]] = (
    dict.fromkeys(("ip", "sourceip", "ipaddress", "clientip", "sourceaddress", "remoteip", "srcaddr"), "src_ip")
    | dict.fromkeys(("user", "username", "account", "accountname", "subjectusername", "principal"), "actor")
    | dict.fromkeys(("host", "hostname", "computer", "computername"), "dst_host")
    | dict.fromkeys(("eventname", "eventtype", "operation", "operationname", "event"), "action")
    | dict.fromkeys(("country", "sourcecountry"), "src_country")
    | dict.fromkeys(("result", "status", "success"), "outcome")
    | dict.fromkeys(("useragentoriginal", "agent"), "user_agent")
    | dict.fromkeys(("targetuser", "targetusername", "object", "resource"), "target_id")
)
"""What other products call our columns, in lower case without dots and lines below."""


def _documents(text: str) -> list[tuple[str, int]]:
    """The documents of a file, each with its first line (from 1)."""
    found, start = [], 0
    for end in [*(match.start() for match in _SEPARATOR.finditer(text)), len(text)]:
        part = text[start:end]
        if part.strip("-# \t\n"):
            begun = start + len(part) - len(part.lstrip("\n"))
            found.append((text[begun:end].rstrip() + "\n", text.count("\n", 0, begun) + 1))
        start = text.find("\n", end) + 1 or len(text)
    return found


def document_of(text: str, named: Mapping[str, str]) -> tuple[str, int]:
    """The document of a file that has one of these values (`id`, `name`, `title`), and its first line.

    >>> document_of("title: A\\nid: 1\\n---\\ntitle: B\\nid: 2\\n", {"id": "2"})
    ('title: B\\nid: 2\\n', 4)
    """
    documents = _documents(text)
    for key, value in named.items():
        pattern = re.compile(rf"^{key}:[ \t]*[\"']?{re.escape(value)}[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
        for each, line in documents:
            if value and pattern.search(each):
                return each, line
    return documents[0] if len(documents) == 1 else (text, 1)


def place_of(text: str, title: str, reason: str) -> tuple[int, int]:
    """Line and column of a mistake, from 1; (0, 0) when there is no text.

    >>> place_of("title: A\\ndetection:\\n  s: {a: b}\\n  condition: t\\n", "A", "'t' is not defined")
    (4, 14)
    """
    if not text:
        return 0, 0
    document, first = document_of(text, {"title": title})
    if stopped := _AT.search(reason):
        line, column = _value_at(
            document, f"{'correlation' if 'correlation' in _keys(document) else 'detection'}.condition"
        )
        return first + line - 1, column + (int(stopped[2]) - 1 if stopped[1] == "1" else 0)
    if "rule level" in reason:
        line, column = _value_at(document, "level")
        return first + line - 1, column
    for match in _QUOTED.finditer(reason):
        wanted = _wanted(match)
        found = [each.start() for each in re.finditer(rf"(?<!\w){re.escape(wanted)}(?![\w-])", document)]
        found = found or ([document.index(wanted)] if wanted in document else [])
        if found:
            place = found[-1] if "not defined" in reason else found[0]  # a condition stands after what it names
            start = document.rfind("\n", 0, place) + 1
            return first + document.count("\n", 0, place), place - start + 1
    low = reason.lower()
    path = next((path for words, path in _KEYS if words in low), "")
    if "applicable to" in low and (behind := re.search(r"^.*\|re\b", document, re.MULTILINE)):
        return first + document.count("\n", 0, behind.start()), behind.end() - behind.start() - 1
    if "detection definitions" in low and (typo := _typo("detection", _keys(document))):
        path = typo
    line, column = _value_at(document, path) if path else (1, 1)
    return first + line - 1, column


def _wanted(match: re.Match[str]) -> str:
    """What a reason names, as it stands in a rule."""
    key = match.group(3)
    return key.rpartition(".")[2] + ":" if key else next(filter(None, match.groups()))


def _value_at(document: str, path: str) -> tuple[int, int]:
    """Line and column of the value below keys, or of the key itself where the value stands on other lines; (1, 1) without it."""
    try:
        check_nesting(document, "")
        node = yaml.compose(document, Loader=FAST_LOADER)
    except (yaml.YAMLError, RejectedError):
        return 1, 1
    mark, shift = None, 0
    for name in path.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        pair = next((pair for pair in pairs if pair[0].value == name), None)
        if pair is None:
            break
        key, node = pair
        is_text = isinstance(node, yaml.ScalarNode) and node.start_mark.line == key.start_mark.line
        mark = node.start_mark if is_text else key.start_mark
        shift = 1 if is_text and node.style in {"'", '"'} else 0
    return (mark.line + 1, mark.column + 1 + shift) if mark else (1, 1)


def plain(reason: str) -> str:
    """What a parser said, without what only its makers read.

    >>> plain("Expected end of text, found 'of' (at char 2), (line:1, col:3)")
    "Expected end of text, found 'of'"
    """
    reason = re.sub(r": b(['\"])(.*)\1$", r": \2", reason)
    if (stopped := _AT.search(reason)) is None:
        return reason
    said = reason[: stopped.start()]
    return "the condition does not begin with a selection" if said.startswith("Expected {") else said


def fix_of(text: str, title: str, reason: str, names: Collection[str]) -> str:
    """How to mend it, in a sentence. `names`: rules that a correlation may be about."""
    quoted = next((a or b for a, b, *_ in _QUOTED.findall(reason) if a or b), "")
    low = reason.lower()
    document = document_of(text, {"title": title})[0] if text else ""
    if "no column" in low:
        plain = quoted.lower().replace("_", "").replace(".", "")
        called = _CALLED.get(plain)
        near = (
            f"did you mean {called}? "
            if called
            else _near(plain, {name.replace("_", ""): name for name in (*COLUMNS, *MADE)})
        )
        return f"{near}fields that only the record has begin with record., such as record.metadata.city"
    if "not defined in detections" in low or "doesn't match any detection" in low:
        known = _selections(document)
        return f"{_near(quoted, dict.fromkeys(known))}this rule has {', '.join(known) or 'no selection'}"
    if "rule level" in low:
        return f"{_near(quoted.lower(), dict.fromkeys(LEVELS))}there are {', '.join(LEVELS)}"
    if "unknown modifier" in low:
        return f"{_near(quoted, dict.fromkeys(modifier_mapping))}Sigma's modifiers are contains, startswith, endswith, re, cidr, ..."
    if "no rule with the id or name" in low or "not found in rule collection" in low:
        return f"{_near(quoted, dict.fromkeys(names))}a correlation or filter names its rules by id or name, in whatever file they stand"
    if "must be one of" in low:
        return (
            _near(
                quoted, dict.fromkeys(re.findall(r"[a-z_]+", low.partition("one of")[2].rpartition("got")[0]))
            ).rstrip("; ")
            or "write one of them"
        )
    if "not known for" in low:
        known = re.findall(r"[a-z-]+", low.partition("there is ")[2])
        wrong = low.partition(":")[0].rpartition(".")[2]
        return _near(wrong, dict.fromkeys(known)).rstrip() or "take it out"
    if "correlation type" in low:
        kinds = [each.name.lower() for each in SigmaCorrelationType]
        return f"{_near(quoted, dict.fromkeys(kinds))}there are {', '.join(kinds)}"
    if "incompatible to value type" in low:
        modifier = low.partition("modifier ")[2].partition(" ")[0]
        return next(fix for words, fix in _WANTED if re.search(words, modifier))
    if "cidr" in low and (network := re.search(r"([0-9A-Fa-f:.]+/[0-9]+) has host bits", reason)):
        return f"write {ip_network(network[1], strict=False)}"
    if "cidr" in low:
        return "write a network such as 10.0.0.0/8 or 2001:db8::/32"
    if "detection definitions" in low and (typo := _typo("detection", _keys(document))):
        return f"did you mean detection? there is {typo}"
    return next(fix for words, fix in _FIXES if words in low)


def _typo(wanted: str, keys: Sequence[str]) -> str:
    """The key that somebody wrote for another."""
    return next(iter(get_close_matches(wanted, [key for key in keys if key != wanted], 1, 0.7)), "")


def _keys(document: str) -> list[str]:
    return re.findall(r"^([A-Za-z_-]+):", document, re.MULTILINE)


def _near(wrong: str, known: Mapping[str, str | None]) -> str:
    found = get_close_matches(wrong, list(known), 1, 0.7)
    return f"did you mean {known[found[0]] or found[0]}? " if found else ""


def _selections(document: str) -> list[str]:
    try:
        parsed: Any = yaml.safe_load(document)
        found = parsed["filter" if "filter" in parsed else "detection"]
        return [name for name in found if name not in {"condition", "timeframe", "rules"}]
    except (yaml.YAMLError, KeyError, TypeError):
        return []
