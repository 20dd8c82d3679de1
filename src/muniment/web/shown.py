"""Log text made safe to look at: characters that hide, reorder or command are shown as what they are.

HTML escaping is the template engine's; this is about Unicode. A right-to-left override in a file name or an escape
sequence in a user agent must be seen by the reader, not obeyed by the screen. Text is never changed where it is
copied from as data (the API and the downloads); only pages show it so.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from markupsafe import Markup, escape

__all__ = ["plain", "shown"]

_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""C0 and C1 controls but tab and newline, bidi controls, zero-width and filler characters, surrogates, tag characters."""


def _code(character: str) -> str:
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def plain(text: str) -> str:
    """`text` with hidden characters written as escapes: for attributes and titles.

    >>> plain("invoice" + chr(0x202e) + "gpj.exe")
    'invoice\\\\u202egpj.exe'
    """
    return _HIDDEN.sub(lambda m: _code(m[0]), text)


def shown(value: object) -> Markup:
    """The same as marked-up text: every escape stands in an element that names the character."""
    text = value if isinstance(value, str) else str(value)
    if not _HIDDEN.search(text):
        return escape(text)
    pieces: list[Markup] = []
    at = 0
    for match in _HIDDEN.finditer(text):
        pieces.append(escape(text[at : match.start()]))
        name = unicodedata.name(match[0], "CONTROL CHARACTER")
        pieces.append(
            Markup('<span class="esc" title="{}">{}</span>').format(f"U+{ord(match[0]):04X} {name}", _code(match[0]))
        )
        at = match.end()
    pieces.append(escape(text[at:]))
    return Markup("").join(pieces)
