"""What was refused of a form: told at the field it is about, beside what was typed, so that it is mended where it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muniment.errors import RejectedError

__all__ = ["Refused", "refused"]

_NAMES = {
    "v": "Address, range, account or key", "reason": "Reason", "accounts": "Number of accounts", "hours": "How long",
    "days": "For how many days", "network": "Network", "title": "Whose it is", "query": "Events", "source": "Alerts of",
    "severity_max": "Up to level", "account": "Account", "text": "Text", "alert": "Alert", "identifier": "Whom",
    "secret": "Secret",
}  # fmt: skip
"""Fields of forms, as their labels call them."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The form and its field, the words, and everything that was typed. `field`: empty when it is about none of them."""

    form: str
    field: str
    words: str
    typed: Mapping[str, str]

    def was(self, form: str, field: str, otherwise: str = "") -> str:
        """What stood in a field of this form; of another one what stands there anyhow."""
        return self.typed.get(field, otherwise) if form == self.form else otherwise


def refused(form: str, error: RejectedError, typed: Mapping[str, str], field: str = "") -> Refused:
    """What an error says of a form; `field`: the form's own word for what the error names otherwise.

    >>> refused("silence", RejectedError("fill it in", field="reason"), {"reason": ""}).words
    'Reason: fill it in'
    """
    field = field or error.field
    name = _NAMES.get(field, "") if field in typed else ""
    place = f" (at letter {error.column + 1})" if error.column is not None else ""
    return Refused(form, field, f"{name}: {error.reason}{place}" if name else f"{error.reason}{place}", typed)
