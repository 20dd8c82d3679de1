"""What nobody blocks but by accident: who asks, everybody behind our own proxy, this server and who refuses for it; and a secret
written where its id belongs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

from muniment.access.policy import Identity
from muniment.api.services import Services
from muniment.errors import RejectedError
from muniment.privacy.scan import Scrubber
from muniment.respond.block import Kind, Network, is_address, is_in, network_of
from muniment.respond.surroundings import surroundings

__all__ = ["accident", "refuse_secret"]

_IDS: Final = {"aws_access_key"}
"""Kinds of secrets whose id is found as well, and which are therefore ids of keys here."""


def accident(services: Services, who: Identity, client_ip: str, kind: Kind, value: str) -> str:
    """Why a block would shut out who asks, or somebody all depend on; "" where it would not."""
    network = network_of(kind, value)
    if network is not None:
        return next(_hits(services, client_ip, network), "")
    if kind == "key":
        is_own = who.via != "session" and value.removeprefix("key:") == who.id.removeprefix("key:")
        return "it is the key you work with: ask with another one" if is_own else ""
    if kind == "account" and is_address(value):
        return f"{value} is an address, and no account: choose Address"
    names = {each.casefold() for each in (who.id, who.name, who.person) if each}
    return "it is your own account: ask somebody else to block it" if value.casefold() in names else ""


def _hits(services: Services, client_ip: str, network: Network) -> Iterator[str]:
    if is_in(client_ip, network):
        yield f"you are working from {client_ip}: the block would shut you out; ask somebody who works elsewhere"
    for proxy in services.trusted_networks():
        if proxy.overlaps(network):
            yield f"{proxy} is a trusted proxy: everybody comes through it (setting trusted_proxies)"
    for address, what in surroundings().items():
        if is_in(address, network):
            yield f"{address} is {what}: whoever refuses it could no longer hear of anything from here"
    fetchers = services.blocks.fetchers()
    for key in services.keys.all():
        address = fetchers.get(key.identity().id, "")
        if key.revoked_at is None and address and is_in(address, network):
            name = key.name or key.id
            yield f"{name} fetches the blocks from {address}, and could not hear that this one is undone; if it is not yours there, end its key first"


def refuse_secret(kind: Kind, value: str) -> None:
    """A key is called by its id: what is blocked stands in the ledger, in feeds and in messages. Raises RejectedError."""
    if kind == "key" and set(_scrubber().scrub([b'{"id":"' + value.encode() + b'"}']).counts) - _IDS:
        raise RejectedError("that is the key itself, which others would read; give its id", field="value")


@cache
def _scrubber() -> Scrubber:
    return Scrubber(use_hyperscan=False)
