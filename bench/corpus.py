"""Believable audit events of about 800 bytes, made from a fixed seed, as native JSON texts. One shape, many values.

Users follow a Zipf-like law, one login in nine fails, times run forward over a month, every event has its own id,
request id, session and trace; messages are sentences with a rare word now and then.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from muniment.drills.company import make_company

__all__ = ["RARE_WORD", "START_NS", "Corpus", "batches"]

START_NS: Final = 1_793_491_200 * 10**9  # 2026-11-01T00:00:00Z
RARE_WORD: Final = "quarterly"
_ACTIONS: Final = (
    ("user.login", 18), ("customer.read", 22), ("customer.update", 9), ("document.read", 14), ("document.delete", 2),
    ("report.export", 3), ("role.grant", 1), ("ticket.reply", 10), ("invoice.create", 6), ("user.logout", 9), ("file.share", 6),
)  # fmt: skip
_WORDS: Final = (
    "opened changed reviewed record account customer invoice after before during the in of with request from office "
    "portal approved policy standard routine follow-up call ticket contract details address payment batch nightly"
).split()


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the queries look for: values that occur in the corpus of `size` events."""

    size: int
    seed: int = 7

    @property
    def span_ns(self) -> int:
        """The month the events are spread over."""
        return 30 * 86_400 * 10**9

    def time_of(self, number: int) -> int:
        """When event `number` happened, UTC nanoseconds."""
        return START_NS + self.span_ns * number // self.size

    def request_id_of(self, number: int) -> str:
        """The request id of event `number`."""
        return f"req_{number * 2654435761 % 2**32:08x}{number:08x}"


def batches(corpus: Corpus, batch: int) -> Iterator[bytes]:
    """NDJSON bodies of `batch` events."""
    rng = random.Random(corpus.seed)
    users = _users(rng)
    user_weights = [1 / (rank + 8) for rank in range(len(users))]
    actions = [name for name, _ in _ACTIONS]
    action_weights = [weight for _, weight in _ACTIONS]
    for start in range(0, corpus.size, batch):
        count = min(batch, corpus.size - start)
        chosen_users = rng.choices(users, user_weights, k=count)
        chosen_actions = rng.choices(actions, action_weights, k=count)
        yield b"\n".join(_event(corpus, rng, start + k, chosen_users[k], chosen_actions[k]) for k in range(count))


def _users(rng: random.Random) -> list[tuple[str, str]]:
    """Each user's constant fragments: the actor object and the context's fixed half."""
    people = make_company(11).people
    found = []
    for number in range(5_000):
        p = people[number % len(people)]
        login = p.login if number < len(people) else f"{p.login}.{number}"
        actor = (
            f'{{"type":"user","id":"{login}","name":"{p.name}","email":"{login}@larkfield.example","team":"{p.team}"}}'
        )
        context = (
            f'"ip":"10.{number >> 8}.{number & 255}.{rng.randint(2, 250)}","user_agent":"{p.user_agent}",'
            f'"device":"{p.device}","country":"{p.office.country}"'
        )
        found.append((actor, context))
    return found


def _event(corpus: Corpus, rng: random.Random, number: int, user: tuple[str, str], action: str) -> bytes:
    time_ns = corpus.time_of(number)
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    bits = rng.getrandbits(254)
    is_failure = action == "user.login" and bits & 7 == 0
    words = " ".join(rng.choices(_WORDS, k=14))
    rare = f" {RARE_WORD}" if bits >> 3 & 1023 == 0 else ""
    kind = action.partition(".")[0]
    return (
        f'{{"id":"0193{bits & 0xFFFF:04x}-{bits >> 16 & 0xFFFF:04x}-7{bits >> 32 & 0xFFF:03x}-8def-{number:012x}","action":"{action}",'
        f'"occurred_at":"{moment}.{time_ns % 10**9 // 1000:06d}Z","actor":{user[0]},'
        f'"targets":[{{"type":"{kind}","id":"{kind}-{bits >> 16 & 0xFFFFF}","name":"{kind} {bits >> 16 & 0xFFFFF}"}}],'
        f'"outcome":"{"failure" if is_failure else "success"}",'
        f'"context":{{{user[1]},"request_id":"{corpus.request_id_of(number)}","session":"ses_{bits >> 40 & 0xFFFFFFFFFF:010x}",'
        f'"trace_id":"{bits >> 100 & (2**128 - 1):032x}"}},'
        f'"message":"{words}{rare}","metadata":{{"app":"portal-{bits >> 90 & 7}","environment":"production","version":"2026.11.{bits >> 93 & 15}"}}}}'
    ).encode()
