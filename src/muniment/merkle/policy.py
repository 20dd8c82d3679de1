"""C2SP tlog-policy: which logs are believed, which witnesses are known, and how many of them must have cosigned. Pure.

Implements c2sp.org/tlog-policy. Lines of `log`, `witness`, `group` and one `quorum`; names are opaque bytes, each a
member of at most one group, defined before they are used. Refused beyond the document: a log whose key is also a
witness of the same policy, for nobody is their own witness.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from muniment.errors import ConfigError, VerificationError
from muniment.limits import POLICY_BYTES_MAX
from muniment.merkle.note import (
    COSIGNATURE_V1,
    ED25519,
    ML_DSA_44,
    Checkpoint,
    VerifierKey,
    open_note,
    parse_checkpoint_body,
)

__all__ = ["Group", "Policy", "parse_policy", "verify_checkpoint"]

_NONE = b"none"
_OTHER_CONTROL = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses a checkpoint when at least `threshold` of its members do."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. `groups` stand in an order in which every member is defined before its group."""

    logs: tuple[VerifierKey, ...]
    witnesses: dict[bytes, VerifierKey]
    groups: tuple[Group, ...]
    quorum: bytes

    @property
    def keys(self) -> list[VerifierKey]:
        """Every key a note may be opened with."""
        return [*self.logs, *self.witnesses.values()]

    def has_quorum(self, signed: Sequence[VerifierKey]) -> bool:
        """Have enough of the witnesses cosigned?"""
        reached = {_NONE} | {name for name, key in self.witnesses.items() if key in signed}
        for group in self.groups:
            if sum(member in reached for member in group.members) >= group.threshold:
                reached.add(group.name)
        return self.quorum in reached


class _Parser:
    """One pass over the lines; what is defined so far."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: dict[bytes, VerifierKey] = {}
        self.groups: list[Group] = []
        self.quorum: bytes | None = None
        self._names: set[bytes] = set()
        self._members: set[bytes] = set()

    def take(self, words: list[bytes]) -> None:
        """One line that is neither empty nor a comment."""
        match words:
            case [b"log", vkey, *url] if len(url) <= 1:
                self._add_log(_key(vkey, {ED25519, ML_DSA_44}, "log"))
            case [b"witness", name, vkey, *url] if len(url) <= 1:
                key = _key(vkey, {COSIGNATURE_V1, ML_DSA_44}, "witness")
                if any(key.public == other.public for other in self.witnesses.values()):
                    raise ConfigError("two witnesses with one key")
                self._define(name)
                self.witnesses[name] = key
            case [b"group", name, threshold, _, *_]:
                self._add_group(name, threshold, words[3:])
            case [b"quorum", name]:
                if self.quorum is not None:
                    raise ConfigError("a second quorum line")
                if name != _NONE and name not in self._names:
                    raise ConfigError(f"{_shown(name)} is not defined above")
                self.quorum = name
            case _:
                raise ConfigError(f"no such line: {_shown(b' '.join(words))}")

    def finished(self) -> Policy:
        """The policy; a quorum there must be."""
        if self.quorum is None:
            raise ConfigError("there is no quorum line")
        if {key.public for key in self.logs} & {key.public for key in self.witnesses.values()}:
            raise ConfigError("a log is listed as a witness with the same key")
        return Policy(tuple(self.logs), self.witnesses, tuple(self.groups), self.quorum)

    def _add_log(self, key: VerifierKey) -> None:
        if any(key.public == other.public for other in self.logs):
            raise ConfigError("two logs with one key")
        self.logs.append(key)

    def _add_group(self, name: bytes, threshold: bytes, members: list[bytes]) -> None:
        for member in members:
            if member not in self._names:
                raise ConfigError(f"{_shown(member)} is not defined above")
            if member in self._members:
                raise ConfigError(f"{_shown(member)} is a member twice")
            self._members.add(member)
        if threshold in {b"all", b"any"}:
            k = len(members) if threshold == b"all" else 1
        elif re.fullmatch(rb"[1-9][0-9]{0,8}", threshold) and int(threshold) <= len(members):
            k = int(threshold)
        else:
            raise ConfigError(f"{_shown(threshold)} of {len(members)} members is no threshold")
        self._define(name)
        self.groups.append(Group(name, k, tuple(members)))

    def _define(self, name: bytes) -> None:
        if name == _NONE or name in self._names:
            raise ConfigError(f"the name {_shown(name)} is taken")
        self._names.add(name)


def _key(vkey: bytes, kinds: set[int], role: str) -> VerifierKey:
    try:
        key = VerifierKey.parse(vkey.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{_shown(vkey)} is no vkey") from None
    if key.kind not in kinds:
        raise ConfigError(f"a key of type {key.kind:#04x} cannot be a {role}'s")
    return key


def _shown(name: bytes) -> str:
    return repr(name[:80].decode("utf-8", "backslashreplace"))


def parse_policy(data: bytes) -> Policy:
    """Read a policy file.

    Raises:
        ConfigError: anything the document does not allow; names the line.
    """
    if len(data) > POLICY_BYTES_MAX:
        raise ConfigError(f"longer than {POLICY_BYTES_MAX} bytes", setting="policy")
    if _OTHER_CONTROL.search(data):
        raise ConfigError("holds control characters", setting="policy")
    parser = _Parser()
    for number, line in enumerate(data.split(b"\n"), 1):
        words = [word for word in re.split(rb"[ \t]+", line) if word]
        if not words or words[0].startswith(b"#"):
            continue
        try:
            parser.take(words)
        except ConfigError as error:
            raise ConfigError(str(error), setting=f"policy line {number}") from None
    try:
        return parser.finished()
    except ConfigError as error:
        raise ConfigError(str(error), setting="policy") from None


def verify_checkpoint(note: bytes, policy: Policy) -> Checkpoint:
    """The checkpoint of a note that one of the policy's logs signed and its quorum cosigned.

    Raises:
        VerificationError: no log of the policy signed under its own origin, the quorum is missing, or a signature of a
            known key does not hold.
    """
    body, signed = open_note(note, policy.keys)
    origin, size, root = parse_checkpoint_body(body)
    if not any(key in signed and key.name == origin for key in policy.logs):
        raise VerificationError(f"no log of the policy signed the checkpoint of {origin!r}", evidence=note)
    if not policy.has_quorum(signed):
        names = [key.name for key in signed if key not in policy.logs]
        raise VerificationError(
            f"the quorum is missing: cosigned by {', '.join(names) or 'nobody'}",
            expected=policy.quorum, computed=names, evidence=note,
        )  # fmt: skip
    return Checkpoint(origin, size, root)
