"""Operations of proof: a record's proof, evidence files, consistency, checkpoint and keys, verification, rebuild."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from muniment.api.evidence_file import evidence_bytes
from muniment.api.jobs import Job, JobState
from muniment.api.operations import Call, Empty, Operation, Raw
from muniment.api.services import Services
from muniment.errors import BusyError, RejectedError

__all__ = ["Proving", "ledger_operations"]

T = TypeVar("T")


class ProofParams(msgspec.Struct, frozen=True):
    format: Literal["tlog-proof", "json"] = "tlog-proof"


class ProofAnswer(msgspec.Struct, frozen=True):
    """Everything needed to check one record; hashes and leaf in base64. `record` is what commitment 0 covers."""

    index: int  # in the whole ledger
    leaf_index: int  # in the tree of the log `origin`, which begins anew with each shard
    size: int
    origin: str
    leaf: str
    leaf_hash: str
    inclusion_proof: list[str]
    root_hash: str
    checkpoint: str
    record: str
    record_salt: str
    vkeys: list[str]


class ConsistencyParams(msgspec.Struct, frozen=True):
    size1: Annotated[int, Meta(ge=1, le=2**53, description="The smaller size", examples=[1])]
    size2: Annotated[int, Meta(ge=1, le=2**53, description="The larger size", examples=[1])]


class ConsistencyAnswer(msgspec.Struct, frozen=True):
    size1: int
    size2: int
    consistency_proof: list[str]


class EvidenceParams(msgspec.Struct, frozen=True):
    indexes: Annotated[
        list[Annotated[int, Meta(ge=0, le=2**53)]],
        Meta(min_length=1, max_length=1000, description="Index numbers, separated by commas", examples=[[0]]),
    ]


class KeysAnswer(msgspec.Struct, frozen=True):
    origin: str
    vkeys: list[str]


class VerifyBody(msgspec.Struct, frozen=True):
    since: Annotated[
        str, Meta(max_length=8192, description="An older checkpoint of yours; the ledger must have grown out of it")
    ] = ""


def ledger_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    proving = Proving(services)
    return [
        Operation("GET", "/api/v1/events/{index}/proof", "proof", "A record's proof (C2SP tlog-proof, or JSON)", "search",
                  proving.proof, params=ProofParams, tag="proof", also=ProofAnswer,
                  media_types=("text/plain; charset=utf-8",)),
        Operation("GET", "/api/v1/evidence", "evidence", "An evidence file that verifies offline", "export",
                  proving.evidence, params=EvidenceParams, media_types=("application/zip",), tag="proof",
                  list_params=frozenset({"indexes"}), refusals=frozenset({404})),
        Operation("GET", "/api/v1/checkpoint", "checkpoint", "The newest signed checkpoint", None, proving.checkpoint,
                  media_types=("text/plain; charset=utf-8",), tag="proof"),
        Operation("GET", "/api/v1/log-keys", "log_keys", "The origin and the public keys to pin", None, proving.keys,
                  answer=KeysAnswer, tag="proof"),
        Operation("GET", "/api/v1/consistency", "consistency", "A consistency proof between two sizes", "search",
                  proving.consistency, params=ConsistencyParams, answer=ConsistencyAnswer, tag="proof"),
        Operation("POST", "/api/v1/verify", "verify_start", "Re-derive the whole ledger", "verify", proving.verify,
                  body=VerifyBody, answer=JobState, status=202, tag="proof", refusals=frozenset({409})),
        Operation("GET", "/api/v1/verify", "verify_state", "How the verification stands", "verify",
                  proving.verify_state, answer=JobState, tag="proof", refusals=frozenset({404})),
        Operation("POST", "/api/v1/rebuild", "rebuild_start", "Throw the search store away and make it anew", "admin",
                  proving.rebuild, answer=JobState, status=202, tag="operation", refusals=frozenset({409})),
        Operation("GET", "/api/v1/rebuild", "rebuild_state", "How the rebuild stands", "admin",
                  proving.rebuild_state, answer=JobState, tag="operation", refusals=frozenset({404})),
    ]  # fmt: skip


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Proving:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def _record(self, call: Call[Any, Any], action: str, outcome: str = "success", /, **metadata: object) -> None:
        await self._s.recorder.record(
            action,
            call.identity,
            targets=[{"type": "ledger", "id": self._s.ledger.origin}],
            outcome=outcome,
            client_ip=call.client_ip,
            user_agent=call.user_agent,
            metadata=metadata,
        )

    def _visible(self, call: Call[Any, Any], index: int) -> None:
        """A row scope also covers proofs: what cannot be searched cannot be fetched by number."""
        if index >= self._s.ledger.size:
            raise RejectedError(f"the ledger has {self._s.ledger.size} entries", field="index", status=404)
        if call.identity.scope and self._s.search.event(index, scope=call.identity.scope) is None:
            raise RejectedError(f"no record with index {index} is visible to you", field="index", status=404)

    async def _look(self, call: Call[Any, Any], action: str, indexes: Sequence[int], /, **metadata: object) -> None:
        """Record that `indexes` are read; also when one of them is refused, which shows who tries numbers."""

        def check() -> None:
            for index in indexes:
                self._visible(call, index)

        try:
            await self._s.blocking(check)
        except RejectedError:
            await self._record(call, action, "failure", **metadata, results=0)
            raise
        await self._record(call, action, **metadata, results=len(indexes))

    async def proof(self, call: Call[ProofParams, Empty]) -> Any:
        if call.params.format == "json":
            return await self.pieces(call)
        index = call.path["index"]
        await self._look(call, "log.prove", [index], index=index)
        text = await self._s.blocking(lambda: self._s.ledger.tlog_proof(index))
        return Raw(text, "text/plain; charset=utf-8", f"muniment-{index}.tlog-proof")

    async def pieces(self, call: Call[Any, Empty]) -> ProofAnswer:
        """The proof taken apart, for the pages and for programs."""
        index = call.path["index"]
        await self._look(call, "log.prove", [index], index=index)
        return await self._s.blocking(lambda: self._proof_pieces(index))

    def _proof_pieces(self, index: int) -> ProofAnswer:
        proof = self._s.ledger.proof(index)
        entry = self._s.ledger.entry(index)
        return ProofAnswer(
            index=index,
            leaf_index=proof.index,
            size=proof.size,
            origin=self._s.ledger.origin_of(index),
            leaf=_b64(entry.leaf),
            leaf_hash=_b64(proof.leaf_hash),
            inclusion_proof=[_b64(step) for step in proof.hashes],
            root_hash=_b64(proof.root_hash),
            checkpoint=proof.checkpoint.decode(),
            record=_b64(entry.record),
            record_salt=_b64(entry.salt),
            vkeys=list(self._s.ledger.vkeys),
        )

    async def evidence(self, call: Call[EvidenceParams, Empty]) -> Raw:
        indexes = sorted(set(call.params.indexes))
        await self._look(call, "log.export", indexes, format="evidence", indexes=indexes[:100])
        body = await self._s.blocking(lambda: evidence_bytes(self._s, indexes))
        name = f"muniment-evidence-{indexes[0]}" + (f"-and-{len(indexes) - 1}-more" if len(indexes) > 1 else "")
        return Raw(body, "application/zip", f"{name}.zip")

    async def checkpoint(self, _: Call[Empty, Empty]) -> Raw:
        return Raw(self._s.ledger.checkpoint, "text/plain; charset=utf-8")

    async def keys(self, _: Call[Empty, Empty]) -> KeysAnswer:
        return KeysAnswer(self._s.ledger.origin, list(self._s.ledger.vkeys))

    async def consistency(self, call: Call[ConsistencyParams, Empty]) -> ConsistencyAnswer:
        size1, size2 = call.params.size1, call.params.size2
        if not size1 <= size2 <= self._s.ledger.size:
            raise RejectedError(f"sizes must satisfy 1 <= size1 <= size2 <= {self._s.ledger.size}", field="size1")
        hashes = await self._s.blocking(lambda: self._s.ledger.consistency_proof(size1, size2))
        return ConsistencyAnswer(size1, size2, [_b64(step) for step in hashes])

    async def verify(self, call: Call[Empty, VerifyBody]) -> JobState:
        await self._record(call, "ledger.verify", since=call.body.since)
        job = self._s.verify(call.body.since.encode())
        return _for(call, self._start("verify", job, self._s.note_verify))

    def _start(self, name: str, job: Job, when_done: Callable[[JobState], None] | None = None) -> JobState:
        try:
            return self._s.jobs.start(name, job, when_done)
        except BusyError as error:
            raise RejectedError(str(error), field="job", status=409) from None

    async def verify_state(self, call: Call[Empty, Empty]) -> JobState:
        return _for(call, self._s.jobs.state("verify"))

    async def rebuild(self, call: Call[Empty, Empty]) -> JobState:
        await self._record(call, "store.rebuild")
        return self._start("rebuild", self._s.rebuild())

    async def rebuild_state(self, _: Call[Empty, Empty]) -> JobState:
        return self._s.jobs.state("rebuild")


def _for(call: Call[Any, Any], state: JobState) -> JobState:
    """A verification as this reader may see it: gaps in the numbers of sources name the sources."""
    if not call.identity.scope:
        return state
    result = {name: value for name, value in state.result.items() if name != "sequence_gaps"}
    return msgspec.structs.replace(state, result=result)
