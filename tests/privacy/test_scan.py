"""Secrets do not pass; everything else passes untouched. Tokens are put together here, so no scanner finds one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.privacy.scan import Scrubber

SCRUBBER = Scrubber()
SLOW = Scrubber(use_hyperscan=False)
MIX = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6"
HEX = "0123456789abcdef" * 4
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE" + MIX + "\n" + MIX + "\n-----END RSA " + "PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhbm5hIn0." + MIX[:43]
TOKENS = {
    "private_key": PEM,
    "aws_access_key": "AKIA" + "IOSFODNN7ABCDEFG",
    "muniment_key": "mk_" + HEX[:12] + "_" + MIX[:20] + "-" + MIX[:22],
    "github_token": "ghp_" + MIX[:36],
    "gitlab_token": "glpat-" + MIX[:20],
    "slack_token": "xoxb-" + "123456789012-" + MIX[:24],
    "stripe_key": "sk_" + "live_" + MIX[:24],
    "openai_key": "sk-" + "proj-" + MIX[:48],
    "npm_token": "npm_" + MIX[:36],
    "pypi_token": "pypi-" + "AgEIcHlwaS5vcmc" + MIX,
    "sendgrid_key": "SG." + MIX[:22] + "." + MIX[:43],
    "twilio_key": "SK" + HEX[:32],
    "google_api_key": "AIza" + MIX[:35],
    "google_oauth": "GOCSPX-" + MIX[:28],
    "digitalocean_token": "dop_v1_" + HEX[:64],
    "vault_token": "hvs." + MIX[:24],
    "jwt": JWT,
    "card_number": "4111 1111 1111 1111",
}
POSITIONS = {
    "alone": lambda t: {"note": t},
    "in a sentence": lambda t: {"message": f"it was {t}, he said"},
    "after a line break": lambda t: {"message": f"log:\n{t}\nend"},
    "in a list": lambda t: {"args": ["run", t, "now"]},
    "in json in a string": lambda t: {"body": json.dumps({"a": {"b": t}})},
}
NAMED = {
    "password field": {"user": "anna", "password": "hunter2"},
    "prefixed field": {"db_password": "hunter2"},
    "camel case field": {"newPassword": "hunter2"},
    "value with escapes": {"password": 'hun"ter2\\x\n'},
    "number": {"otp": 7364521},
    "list": {"password": ["hunter2"]},
    "embedded json": {"body": '{"password": "hunter2", "x": 1}'},
    "query": {"url": "https://a.example/x?password=hunter2&x=1"},
    "url": {"dsn": "postgres://app:hunter2@db.example/app"},
    "sql": {"statement": "ALTER ROLE app PASSWORD 'hunter2'"},
    "flag": {"cmd": "backup --password hunter2 --now"},
    "client": {"cmd": "mysql -u root -phunter2 shop"},
    "curl": {"cmd": "curl -s -u anna:hunter2 https://a.example"},
    "connection string": {"c": "Server=db;User Id=sa;Password=hunter2;"},
    "basic": {"message": "Authorization: Basic YW5uYTpodW50ZXIy"},
    "header": {"headers": {"Authorization": "hunter2", "Cookie": "sid=hunter2"}},
}
INNOCENT = [
    {"id": "0192f0c4-7e2a-7abc-9d8e-000000000000", "trace_id": HEX[:32], "sha": HEX[:40], "sha256": HEX},
    {"order_id": "4111111111111111", "orderNumber": 1763880000000000000, "ts": 1763880000123, "n": 4111111111111112},
    {"message": "Failed password for invalid user admin from 10.1.2.3 port 4321 ssh2"},
    {"message": "token: expired", "action": "user.password.reset", "fields": ["password", "secret"]},
    {"nextToken": "AbCd1234EfGh5678", "hashed_token": "Zm9vYmFy", "clientRequestToken": MIX},
    {"userIdentity": {"accessKeyId": "ASIA" + "IOSFODNN7ABCDEFG"}},
    {"password": "********", "secret": None, "token": "", "otp": True},
    {"message": "basic authentication is off; the bearer of this letter may pass", "api_key_id": "k_12"},
]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_replaced_wherever_it_stands(kind: str, position: str) -> None:
    record = json.dumps(POSITIONS[position](TOKENS[kind])).encode()
    done = SCRUBBER.scrub([b'{"a":1}', record, b'{"b":2}'])
    assert done.counts == {kind: 1}
    assert done.records[0] == b'{"a":1}'
    assert done.records[2] == b'{"b":2}'
    assert f"[secret:{kind}]" in json.dumps(json.loads(done.records[1]))
    for line in TOKENS[kind].split("\n"):
        assert line.encode() not in done.records[1]
    assert SLOW.scrub([record]).records == [done.records[1]]


@pytest.mark.parametrize("case", NAMED)
def test_a_named_secret_is_replaced(case: str) -> None:
    record = json.dumps(NAMED[case]).encode()
    (clean,) = SCRUBBER.scrub([record]).records
    json.loads(clean)
    assert b"[secret:" in clean
    for canary in (b"hunter2", b"ter2", b"7364521", b"YW5uYT"):
        assert canary not in clean


@pytest.mark.parametrize("event", INNOCENT)
def test_ordinary_identifiers_and_words_stay(event: dict[str, object]) -> None:
    record = json.dumps(event).encode()
    done = SCRUBBER.scrub([record])
    assert done.records == [record]
    assert not done.found


def test_a_secret_does_not_reach_into_the_next_record() -> None:
    first, second = b'{"m":"-----BEGIN RSA PRIVATE ' + b'KEY-----abc"}', b'{"m":"innocent"}'
    done = SCRUBBER.scrub([first, second])
    assert done.records == [b'{"m":"[secret:private_key]"}', second]


def test_escaped_slashes_do_not_hide_a_password_in_a_url() -> None:
    (clean,) = SCRUBBER.scrub([rb'{"dsn":"postgres:\/\/app:hunter2@db\/x"}']).records
    assert clean == rb'{"dsn":"postgres:\/\/app:[secret:url_password]@db\/x"}'


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_come_back_as_many_records(records: list[bytes]) -> None:
    assert len(SCRUBBER.scrub(records).records) == len(records)


@given(st.text(max_size=30), st.sampled_from(sorted(TOKENS)), st.text(max_size=30))
def test_json_stays_json(before: str, kind: str, after: str) -> None:
    record = json.dumps({"a": before + " " + TOKENS[kind] + " " + after, "password": before + after}).encode()
    (clean,) = SCRUBBER.scrub([record]).records
    assert json.loads(clean).keys() == {"a", "password"}
