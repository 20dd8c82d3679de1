"""A system that carries orders out: an identity provider that ends sessions, a firewall that is told of blocks.

Signed as Standard Webhooks say, sent through the same way out as every webhook, and the answer's status is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from muniment.errors import ConfigError
from muniment.respond.channels.egress import Egress
from muniment.respond.channels.webhook import Webhook
from muniment.respond.order import ORDER_TYPES, Order, is_for

__all__ = ["Action"]


class Action:
    """Orders of some types to one URL."""

    def __init__(self, egress: Egress, url: str, secrets: Sequence[str], types: Sequence[str]) -> None:
        """`types` may hold `*`. Raises ConfigError when one names no order there is."""
        self._webhook = Webhook(egress, url, secrets)
        self.types = tuple(types)
        for pattern in self.types:
            if not any(is_for(known, [pattern]) for known in ORDER_TYPES):
                raise ConfigError(f"there are {', '.join(ORDER_TYPES)}, got {pattern!r}", setting="for")
        if not self.types:
            raise ConfigError(f"say what it is for: {', '.join(ORDER_TYPES)}", setting="for")

    def perform(self, order: Order, now_ns: int) -> str:
        """Post it once; `answered 200`."""
        return self._webhook.post(order.id, order.body(), now_ns)
