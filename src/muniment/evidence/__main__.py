"""`python -m muniment.evidence FILE --vkey KEY`: verify an evidence file offline, with one dependency installed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from muniment.errors import EXIT_CODE, AuditError, ConfigError
from muniment.evidence.bundle import verify_evidence
from muniment.merkle.note import VerifierKey


def main(arguments: list[str] | None = None) -> int:
    """0 when everything holds, else the exit code of the error."""
    parser = argparse.ArgumentParser(prog="python -m muniment.evidence", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--vkey", action="append", default=[], help="a public key you pinned (repeatable)")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args(arguments)
    try:
        found = verify_evidence(options.file.read_bytes(), [VerifierKey.parse(text) for text in options.vkey])
    except AuditError as error:
        # Without a good key nothing was looked at: that says nothing about the file.
        is_unverified = not options.vkey or isinstance(error, ConfigError)
        reason = str(error) + ("" if options.vkey else "; give --vkey KEY, which 'muniment keys log' prints")
        verdict, words = ("unverified", "NOT VERIFIED") if is_unverified else ("tampered", "NOT VALID")
        print(json.dumps({"verdict": verdict, "reason": reason}) if options.as_json else f"{words}: {reason}")
        return next(EXIT_CODE[kind] for kind in type(error).__mro__ if kind in EXIT_CODE)
    except OSError as error:
        print(f"cannot read {options.file}: {error.strerror}", file=sys.stderr)
        return 6
    if options.as_json:
        rows = [
            {"log": f.origin, "index": f.index, "verdict": f.verdict, "received_at": f.time, "source": f.source}
            for f in found.findings
        ]
        print(json.dumps({"logs": [{"origin": origin, "size": size} for origin, size in found.logs], "records": rows}))
    else:
        for origin, size in found.logs:
            print(f"{origin}: signed over {size} entries")
        for f in found.findings:
            held = f" (parts {', '.join(map(str, f.withheld))} withheld)" if f.withheld else ""
            print(f"  record {f.index}: {f.verdict}{held}, received {f.time} from {f.source!a}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
