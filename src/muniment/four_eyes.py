"""Two people for what nobody does alone: is who agrees somebody else than who asked? Pure, and the only place that tells.

People are told apart by their accounts: of a session it is whose session it is, of an API key who owns it. "" is nobody in
particular: a key made before keys had owners, or the command line of the server's own machine. Nobody is not a second
person; and where nobody in particular asked, the first somebody who agrees counts as the first of two, since the one
behind the key may be the same.
"""

from __future__ import annotations

from muniment.errors import DeniedError

__all__ = ["check_second", "is_enough"]


def check_second(first: str, second: str, permission: str) -> None:
    """May the person `second` agree to what the person `first` asked for?

    Raises:
        DeniedError: `second` is nobody in particular, or `first`.
    """
    if not second:
        raise DeniedError(
            "this key belongs to nobody, so it cannot tell that a second person agrees; sign in, or make a new key: it "
            "belongs to who makes it",
            permission=permission,
        )
    if first == second:
        raise DeniedError(
            f"a second person has to agree; {first} asked for this, signed in or with a key of their own",
            permission=permission,
        )


def is_enough(first: str) -> bool:
    """Are there two people, once somebody has agreed? Not where nobody in particular had asked.

    >>> is_enough("ana"), is_enough("")
    (True, False)
    """
    return bool(first)
