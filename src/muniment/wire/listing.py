"""Events that one JSON object holds as a list: a file of CloudTrail, a page of a vendor's audit API, a batch of Azure's. Pure.

Such an object is a delivery and no event: its other members say only where the page stands among others. Where any of
them says more, the object is taken as one event, so that nothing a sender said is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

__all__ = ["listed"]

_MEMBERS_MAX: Final = 16
_LISTS: Final = frozenset(
    ("Records", "records", "value", "items", "entries", "events", "logs", "results", "data", "activities", "resources",
     "audit_events", "auditEvents", "audit_logs", "auditLogs", "audit_entries", "log_events", "objects", "content")
)  # fmt: skip
_OF_A_PAGE: Final = frozenset(
    ("@odata.context", "@odata.count", "@odata.nextlink", "_links", "continuationtoken", "count", "cursor",
     "etag", "first", "firstid", "hasmore", "hasnext", "hasnextpage", "isend", "islastpage", "kind", "last", "lastid", "lastpage", "limit",
     "link", "links", "maxresults", "meta", "more", "next", "nextcontinuationtoken", "nextcursor", "nextlink", "nextpage",
     "nextpagetoken", "nexttoken", "numberofelements", "object", "offset", "ok", "page", "pageinfo", "pagenumber", "pages", "pagesize",
     "pagination", "paging", "perpage", "prev", "prevcursor", "prevlink", "previous", "previouscursor", "previouspage", "requestid",
     "responsemetadata", "resultsize", "self", "size", "start", "startindex", "status", "statuscode", "success", "syncpoint", "took",
     "total", "totalcount", "totalelements", "totalpages", "totalrecords", "totalresults", "totalsize", "url")
)  # fmt: skip
"""What else is in such an object, small and without `_` and `-`; words about the page, and none about an event."""
_OUTER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])


def listed(document: Mapping[str, Any], text: bytes) -> list[bytes]:
    """The texts of the objects that a delivery holds, as they stand in `text`; none for an event. `document` is what `text` says.

    >>> listed({"records": [{"a": 1}], "next": None}, b'{"records":[{"a": 1}],"next":null}')
    [b'{"a": 1}']
    >>> listed({"records": [{"a": 1}], "user": "anna"}, b'{"records":[{"a": 1}],"user":"anna"}')
    []
    """
    if len(document) > _MEMBERS_MAX or _LISTS.isdisjoint(document):
        return []
    lists = [key for key, value in document.items() if key in _LISTS and _is_of_objects(value)]
    if len(lists) != 1:
        return []
    others = [_plain(key) for key in document if key != lists[0]]
    if not _OF_A_PAGE.issuperset(others):
        return []
    return [bytes(each).strip() for each in _ARRAY.decode(_OUTER.decode(text)[lists[0]])]


def _is_of_objects(value: object) -> bool:
    return type(value) is list and bool(value) and all(type(each) is dict for each in value)


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "") if key[:1] not in "@_" else key.lower()
