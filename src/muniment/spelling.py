"""A key said by its words, and the ways in which systems spell it. Pure.

`user_id` stands for `user_id`, `userId`, `UserID`, `USER_ID`, `user-id`, `userid`, `"User ID"` and so on. A name is a few
small words with `_` between them; the first of its spellings is the name itself. The list is finite, so that places can
be told apart before any record is there, and two names never share a spelling unless they are the same words run together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

__all__ = ["is_name", "letters", "spellings"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

_SHORT: Final = {
    word: word.upper()
    for word in "api arn db dns fqdn guid http id ip ipv4 ipv6 mac mfa ms os sid sql ssh sso ts ua uid upn uri url utc uuid vpn".split()
} | {"ids": "IDs", "ips": "IPs", "urls": "URLs", "uids": "UIDs"}
"""What is written in capitals also where other words have one: `userID`."""

_ONE_WORD: Final = {
    pair.replace("_", ""): pair
    for pair in "date_time file_name host_name ip_address ip_addr time_stamp user_agent user_name".split()
}
"""Two words that are written as one also beside others: `target_username`."""
_PAIRS: Final = re.compile(rf"(?:^|(?<=_))(?:{'|'.join(_ONE_WORD.values())})(?=_|$)")


def is_name(text: str) -> bool:
    """Is it words in small letters with `_` between them?"""
    return _NAME.fullmatch(text) is not None


def letters(name: str) -> str:
    """What all spellings of a name have in common.

    >>> letters("user_id") == letters("userid")
    True
    """
    return name.replace("_", "")


@lru_cache(maxsize=16_384)
def spellings(name: str) -> tuple[str, ...]:
    """All usual spellings of a name, itself first.

    >>> spellings("ip")
    ('ip', 'Ip', 'IP')
    >>> [each for each in spellings("user_id") if each.startswith("u")]
    ['user_id', 'userId', 'userID', 'user-id', 'userid', 'user id']
    """
    two = "_".join(_ONE_WORD.get(word, word) for word in name.split("_"))
    one = _PAIRS.sub(lambda pair: pair[0].replace("_", ""), name)
    return tuple(dict.fromkeys(each for form in (name, two, one) for each in _styles(form.split("_"))))


def _styles(words: list[str]) -> Iterable[str]:
    plain = [word.capitalize() for word in words]
    short = [_SHORT.get(word, word.capitalize()) for word in words]
    upper = [word.upper() for word in words]
    yield "_".join(words)
    for each in (plain, short):
        yield words[0] + "".join(each[1:])
        yield "".join(each)
    yield "_".join(upper)
    yield "-".join(words)
    yield "".join(words)
    yield "".join(words).capitalize()
    yield "".join(upper)
    for each in (short, plain):
        yield from ("_".join(each), "-".join(each), " ".join(each))
    yield "-".join(upper)
    yield " ".join(upper)
    yield " ".join(words)
    for each in (short, plain):
        yield " ".join([each[0], *words[1:]])
