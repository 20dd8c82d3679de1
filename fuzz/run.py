"""Throw mutated bytes at every parser and allow only what a parser may do: return, or raise our typed error.

    python fuzz/run.py --parser all --seconds 20

A target fails when anything else is raised, when one input takes more than a second, or when the process grows beyond
256 MiB above its start. The failing input is written to fuzz/failures/ and its name printed; `--input FILE` runs one
input again. Mutation is blind (no coverage): bit flips, cuts, repeats, splices of the corpus and of dictionary words.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muniment.errors import AuditError

HERE = Path(__file__).parent
CORPUS = HERE.parent / "tests" / "wire" / "syslog"
VECTORS = HERE.parent / "vectors" / "muniment"
SECONDS_PER_INPUT = 1.0
GROWTH_BYTES_MAX = 256 * 1024 * 1024
INPUT_BYTES_MAX = 64 * 1024

Run = Callable[[bytes], object]


def _function(module: str, name: str) -> Callable[..., Any]:
    """A parser of another room by name."""
    return getattr(importlib.import_module(f"muniment.{module}"), name)  # type: ignore[no-any-return]


def _syslog() -> Run:
    from muniment.wire.syslog import origin_suffix, syslog_record

    suffix = origin_suffix(transport="tcp")

    def run(data: bytes) -> None:
        record, reason = syslog_record(data, suffix)
        kept = json.loads(record)
        assert ("$quarantine" in kept) == (reason is not None)
        raw = kept.get("raw", kept.get("$raw"))
        exact = raw.encode() if raw is not None else base64.b64decode(kept.get("raw_b64") or kept["$raw_b64"])
        assert exact == data, "the raw bytes changed"

    return run


def _framing() -> Run:
    from muniment.wire.syslog_framing import Framer

    def run(data: bytes) -> None:
        framer = Framer(1_000)
        step = data[0] + 1 if data else 1
        for start in range(0, len(data), step):
            framer.feed(data[start : start + step])
            assert framer.n_bytes <= 1_016, "the remainder is not bounded"
        framer.close()

    return run


def _decoder(module: str, name: str) -> Callable[[], Run]:
    def make() -> Run:
        decode = _function(module, name)
        return lambda data: decode(data, door="fuzz")

    return make


def _bytes(module: str, name: str) -> Callable[[], Run]:
    def make() -> Run:
        return _function(module, name)

    return make


def _query() -> Run:
    parse = _function("search.query.parse", "parse_query")
    return lambda data: parse(data.decode("utf-8", "replace"), 1_795_000_000_000_000_000)


def _journal() -> Run:
    export = _function("wire.journal_export", "JournalExport")

    def run(data: bytes) -> None:
        reader = export(door="fuzz")
        for start in range(0, len(data), 1_000):
            reader.feed(data[start : start + 1_000])

    return run


def _text(module: str, name: str) -> Callable[[], Run]:
    def make() -> Run:
        parse = _function(module, name)
        return lambda data: parse(data.decode("utf-8", "replace"))

    return make


def _key() -> Run:
    parse = _function("merkle.note", "VerifierKey").parse
    return lambda data: parse(data.decode("utf-8", "replace"))


def _evidence() -> Run:
    verify, key = _function("evidence.bundle", "verify_evidence"), _function("merkle.note", "VerifierKey")
    keys = [key.parse(line) for line in (VECTORS / "ledger/2026h2/log.vkey").read_text("ascii").split()]
    return lambda data: verify(data, keys)


TARGETS: dict[str, tuple[Callable[[], Run], list[bytes]]] = {
    "syslog": (_syslog, [b'<34>1 2026-11-23T06:51:41Z h a 1 m [x@1 k="v\\"" z="]"] \xef\xbb\xbftext', b"<189>29: *Mar  1 18:46:11: %SYS-5-A: b"]),
    "framing": (_framing, [b"5 <1>ab<2>c\n9 <3>d", b"<1>a\0<2>b\0", b"1001 <1>" + b"x" * 1001]),
    "jsonl": (_decoder("wire.jsonl", "decode_body"), [b'{"a":1}\n{"b":[{"c":null}]}\n', b'[{"a":1.5e3},{"b":"\\u00e9"}]']),
    "hec": (_decoder("wire.hec", "decode_hec_events"), [b'{"event":"x","time":"1.5"}{"event":{"a":1}}']),
    "bulk": (_decoder("wire.bulk", "decode_bulk"), [b'{"index":{"_index":"a","_id":"1"}}\n{"m":1}\n{"delete":{"_id":"2"}}\n']),
    "loki": (_decoder("wire.loki", "decode_loki_json"), [b'{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}']),
    "loki-protobuf": (_decoder("wire.loki", "decode_loki_protobuf"), [b'\n\x16\n\x05{a=b}\x12\r\n\x02\x08\x01\x12\x01x']),
    "otlp": (_decoder("wire.otlp", "decode_otlp_protobuf"), [b"\n\x12\x12\x10\x12\x0e*\x0c\n\nhello you!"]),
    "otlp-json": (
        _decoder("wire.otlp", "decode_otlp_json"),
        [b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},"timeUnixNano":"1"}]}]}]}'],
    ),
    "note": (_bytes("merkle.note", "split_note"), [b"o\n1\nAAAA\n\n\xe2\x80\x94 k AAAAAAA=\n"]),
    "tile-path": (_text("merkle.tiles", "parse_tile_path"), [b"tile/0/x001/234.p/5", b"tile/entries/000"]),
    "tlog-proof": (_bytes("merkle.proof_file", "parse_proof"), [(VECTORS / "proof.tlog-proof").read_bytes()]),
    "checkpoint": (_bytes("merkle.note", "parse_checkpoint_body"), [b"a.example/log\n9\n" + b"A" * 43 + b"=\nmore\n"]),
    "vkey": (_key, [b"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]),
    "policy": (_bytes("merkle.policy", "parse_policy"), [b"log a+1+AAAA\nwitness w b+2+BBBB https://w.example\ngroup g 1 w\nquorum g\n"]),
    "bundle": (_bytes("merkle.tiles", "decode_bundle"), [b"\0\3abc\0\0\0\2hi"]),
    "evidence": (_evidence, [(VECTORS / "evidence.zip").read_bytes()]),
    "cloudevents": (_decoder("wire.cloudevents", "decode_cloudevents"), [b'{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{}}']),
    "journal": (_journal, [b"__CURSOR=a\nMESSAGE\n\x03\0\0\0\0\0\0\0abc\n_PID=1\n\n"]),
    "query": (_query, [b'actor:anna -outcome:success ip:10.0.0.0/8 ("a b" OR x*) n>=5 f:[a TO b]']),
}  # fmt: skip

WORDS = [b'"', b"\\", b"[", b"]", b"{", b"}", b"<", b">", b"\n", b"\0", b"\xff", b"\xf0\x9f\x98\x80", b"-", b"999999999 <",
         b'{"a":' * 40, b"[" * 80, b"1e999", b"\\ud800", b"(" * 60, b"%A-1-B", b" ", b":", b"=", b"\x80" * 9]  # fmt: skip


def mutated(random_: random.Random, corpus: list[bytes]) -> bytes:
    """One input: something known, a few times damaged."""
    data = bytearray(random_.choice(corpus))
    for _ in range(random_.randint(1, 6)):
        at, to = sorted((random_.randint(0, len(data)), random_.randint(0, len(data))))
        match random_.randint(0, 6):
            case 0 if data:
                data[at % len(data)] ^= 1 << random_.randint(0, 7)
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = data[at:to] * random_.choice((1, 2, 50))
            case 3:
                data[at:at] = random_.choice(WORDS)
            case 4:
                other = random_.choice(corpus)
                data[at:] = other[random_.randint(0, len(other)) :]
            case 5:
                data[at:at] = random_.randbytes(random_.randint(1, 16))
            case _:
                data[at:to] = random_.choice(WORDS) * random_.choice((1, 3, 200))
        del data[INPUT_BYTES_MAX:]
    return bytes(data)


def _too_slow(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"one input took more than {SECONDS_PER_INPUT} s")


def check(run: Run, data: bytes) -> str | None:
    """Run one input; what went wrong, or None."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_INPUT * 3)  # wall clock, on machines with other work
    start = time.process_time()
    try:
        run(data)
    except AuditError:
        pass
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if (took := time.process_time() - start) > SECONDS_PER_INPUT:
        return f"one input took {took:.2f} s"
    return None


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def campaign(name: str, seconds: float, seed: int, executions_max: int = sys.maxsize) -> int:
    """Fuzz one target for a while, or so many times if that is sooner; the exit code."""
    make, corpus = TARGETS[name]
    run = make()
    if name in {"syslog", "framing"}:
        for file in ("vendor-messages.jsonl", "appliance-headers.jsonl"):
            messages = (CORPUS / file).read_text("utf-8").splitlines()
            corpus = corpus + [json.loads(line)["message"].encode() for line in messages]
    random_ = random.Random(seed)
    signal.signal(signal.SIGALRM, _too_slow)
    check(run, corpus[0])  # imports and caches are not growth
    before, n, slowest = _resident(), 0, 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end and n < executions_max:
        data = mutated(random_, corpus)
        start = time.process_time()
        wrong = check(run, data)
        slowest = max(slowest, time.process_time() - start)
        n += 1
        if wrong is None and _resident() - before > GROWTH_BYTES_MAX:
            wrong = f"the process grew by {(_resident() - before) >> 20} MiB"
        if wrong is not None:
            folder = HERE / "failures"
            folder.mkdir(exist_ok=True)
            path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            print(f"{name}: FAILED after {n} executions: {wrong}\n  {path.relative_to(HERE.parent)}")
            return 1
    grown = (_resident() - before) >> 20
    print(f"{name}: {n} executions, slowest {slowest * 1000:.1f} ms, grew {grown} MiB")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parser", default="all", choices=["all", *TARGETS])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each parser")
    parser.add_argument("--executions", type=int, default=sys.maxsize, help="at most, for each parser")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--input", type=Path, help="run this one input instead")
    options = parser.parse_args()
    if options.parser != "all":
        if options.input is None:
            return campaign(options.parser, options.seconds, options.seed, options.executions)
        signal.signal(signal.SIGALRM, _too_slow)
        wrong = check(TARGETS[options.parser][0](), options.input.read_bytes())
        print(wrong or "fine")
        return int(wrong is not None)
    print(f"seed {options.seed}", flush=True)
    failed = 0
    for name in TARGETS:  # a process each: one target's memory is not another's
        each = ("--seconds", str(options.seconds), "--seed", str(options.seed), "--executions", str(options.executions))
        command = [sys.executable, __file__, "--parser", name, *each]
        failed |= subprocess.run(command, check=False).returncode
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
