"""Blocks as STIX 2.1 indicators (OASIS, section 4.7). Pure.

A block is one indicator all its life: the same id, `created` when it came into force. Undone it is revoked and `modified`
then, so that who has taken it takes it back; a block whose time is over has only reached its `valid_until`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from muniment.respond.block import Block, network_of

__all__ = ["bundle", "changed_at", "indicator", "indicator_id", "microseconds"]

_NAMESPACE: Final = uuid.UUID("9a8f51d4-30f4-5a4e-9f6a-5f8d6f7b5c11")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = 1_000_000


def bundle(blocks: Sequence[Block]) -> str:
    """A bundle of them; the same blocks have the same bytes."""
    objects = [indicator(block) for block in blocks]
    id = f"bundle--{uuid.uuid5(_NAMESPACE, json.dumps(objects))}"
    return json.dumps({"type": "bundle", "id": id, "objects": objects}, indent=1) + "\n"


def indicator(block: Block) -> dict[str, Any]:
    """One block that is or was in force."""
    made: dict[str, Any] = {
        "type": "indicator", "spec_version": "2.1", "id": indicator_id(block), "created": _stamp(block.active_at),
        "modified": _stamp(changed_at(block)), "name": f"Blocked {block.kind} {block.value}",
        "description": block.reason, "indicator_types": ["malicious-activity"], "pattern": _pattern(block),
        "pattern_type": "stix", "pattern_version": "2.1", "valid_from": _stamp(block.active_at),
        "valid_until": _stamp(block.expires_at),
    }  # fmt: skip
    return made | ({"revoked": True} if block.state == "undone" else {})


def indicator_id(block: Block) -> str:
    """The id of its indicator, which never changes."""
    return f"indicator--{block.id}"


def changed_at(block: Block) -> int:
    """When its indicator last changed (ns): made, or undone. A version is told from the one before by a millisecond."""
    if block.changed_at:
        return block.changed_at
    # Changed by a version that did not keep it.
    if block.state != "undone":
        return block.active_at
    return max(block.ended_at, block.active_at + _MS)


def microseconds(ns: int) -> str:
    """A time as TAXII wants it.

    >>> microseconds(1_795_000_000_000_001_000)
    '2026-11-18T11:06:40.000001Z'
    """
    return (_EPOCH + timedelta(microseconds=ns // 1_000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _stamp(ns: int) -> str:
    moment = _EPOCH + timedelta(microseconds=ns // 1_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pattern(block: Block) -> str:
    value = block.value.replace("\\", "\\\\").replace("'", "\\'")
    network = network_of(block.kind, block.value)
    if network is not None:
        relation = "=" if block.kind == "address" else "ISSUBSET"
        return f"[ipv{network.version}-addr:value {relation} '{value}']"
    if block.kind == "account":
        return f"[user-account:user_id = '{value}']"
    return f"[x-api-key:value = '{value}']"
