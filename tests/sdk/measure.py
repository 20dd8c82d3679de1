"""What a call of `log` costs, with a ledger that never answers: run it by hand."""

from __future__ import annotations

import tempfile
import threading
import time
from typing import Any

from muniment.sdk import Audit, context
from muniment.sdk.transport import Answer


class _Silent:
    def send(self, body: bytes, *, is_full: bool) -> Answer:
        time.sleep(1)
        return Answer(0, "silent")

    def close(self) -> None:
        pass


def measure(words: str, n_events: int, n_threads: int, *, on_disk: bool = True, **settings: Any) -> None:
    """Print how long a call takes."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        spool = folder if on_disk else None
        audit = Audit(transport=_Silent, spool=spool, on_problem=lambda problem: None, **settings)
        took: list[float] = []

        def work() -> None:
            with context(request_id="r-1", ip="203.0.113.7", user_agent="Mozilla/5.0"):
                for _ in range(n_events // n_threads):
                    began = time.perf_counter()
                    audit.log(
                        action="invoice.approve", actor={"id": "u-17", "type": "user"},
                        target={"type": "invoice", "id": "9"}, before={"state": "open"}, after={"state": "approved"},
                        reason="checked",
                    )  # fmt: skip
                    took.append(time.perf_counter() - began)

        audit.log("warm.up")
        threads = [threading.Thread(target=work) for _ in range(n_threads)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        each = (time.perf_counter() - began) / n_events
        took.sort()
        middle, late = took[len(took) // 2], took[int(len(took) * 0.99)]
        print(f"{words}: {1 / each:.0f} events/s; a call {middle * 1e6:.0f} us, p99 {late * 1e6:.0f} us")
        audit.close(0)


if __name__ == "__main__":
    measure("in memory", 9_000, 1, on_disk=False)
    measure("on disk, not synced", 20_000, 1, fsync=False)
    for n_threads in (1, 8, 32):
        measure(f"on disk, synced, {n_threads} threads", 2_000 * (1 + n_threads // 8), n_threads)
