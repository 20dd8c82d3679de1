"""The decision: may this identity do that? Pure; the caller performs or refuses.

A permission is a plain word. A role is a set of them. Sources hold one permission only: to append under their own
source id. The full set of nine roles stands on the same three types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from muniment.errors import DeniedError

__all__ = ["MACHINE", "PERMISSIONS", "ROLES", "Identity", "require"]

MACHINE: Final = "@machine"
"""Who owns the key of the command line on the server's own machine: no account's name can be that."""

PERMISSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ingest": "append events under one's own source id",
        "search": "search, view records and their proofs",
        "export": "download search results and evidence",
        "verify": "run a verification of the whole ledger",
        "alerts": "see alerts, rules, blocks; take alerts up and be done with them",
        "rules": "switch rules on and off, make exceptions",
        "block": "block addresses, accounts and keys after a preview, agree to others' blocks, undo them",
        "feeds": "fetch the blocklist and ask whether something is blocked",
        "sources": "add, change and retire sources and their keys",
        "admin": "people, roles, settings, rebuild",
    }
)

ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "administrator": frozenset(PERMISSIONS) - {"ingest"},
        "analyst": frozenset({"search", "export", "verify", "alerts", "rules", "block", "feeds"}),
        "reader": frozenset({"search", "export", "verify"}),
        "enforcer": frozenset({"feeds"}),
        "source": frozenset({"ingest"}),
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a person in a session, or a machine with an API key.

    `scope` is a query that is ANDed into every search of this identity; empty means all rows. `source` is set for
    ingest keys only. `owner` is whose key it is, for keys only; empty: nobody knows.
    """

    id: str
    name: str
    role: str
    source: str = ""
    scope: str = ""
    via: str = "session"
    owner: str = ""

    @property
    def person(self) -> str:
        """Whose act it is: the account of a session, the owner of a key; "" when it is nobody in particular's."""
        if self.via == "session":
            return self.id
        return "" if self.owner == MACHINE else self.owner

    @property
    def permissions(self) -> frozenset[str]:
        """What this identity's role allows; an unknown role allows nothing."""
        return ROLES.get(self.role, frozenset())


def require(identity: Identity | None, permission: str) -> Identity:
    """The identity, if it holds `permission`.

    Raises:
        DeniedError: nobody is signed in, or the permission is missing; the text says who can grant it.
    """
    if identity is None:
        raise DeniedError("sign in first", permission=permission, is_authenticated=False)
    if permission not in identity.permissions:
        raise DeniedError(
            f"this needs the permission '{permission}' ({PERMISSIONS[permission]}); an administrator can grant it",
            permission=permission,
            who=identity.id,
        )
    return identity
