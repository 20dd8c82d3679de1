"""Actions in the words of each system: what Okta, GitHub, CloudTrail, sshd, nginx or one's own service would send. Pure.

JSON shapes follow the vendors' published event formats; ids come from a random source given by the caller, so the
same seed makes the same bytes.
"""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime
from typing import Any

from muniment.drills.activity import Action

__all__ = ["to_bytes"]

_TENANT = "11223344-0000-4000-8000-5566778899aa"
_ACCOUNT = "123456789012"


def to_bytes(action: Action, rng: random.Random) -> bytes:
    """The event as its system sends it: a JSON text, or a syslog line for the syslog shapes."""
    return _SHAPES[action.system.shape](action, rng)


def _time(at_ns: int, digits: int = 3) -> str:
    moment = datetime.fromtimestamp(at_ns // 10**9, UTC)
    fraction = f"{at_ns % 10**9:09d}"[:digits]
    return f"{moment:%Y-%m-%dT%H:%M:%S}" + (f".{fraction}Z" if digits else "Z")


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _sdk(a: Action, rng: random.Random) -> bytes:
    person = a.person
    actor: dict[str, Any] = {"type": "service", "id": f"{a.system.id}-worker", "name": f"{a.system.title} worker"}
    context: dict[str, Any] = {"ip": a.ip, "request_id": f"req_{rng.getrandbits(64):016x}"}
    if person:
        actor = {"type": "user", "id": person.login, "name": person.name, "email": person.email, "team": person.team}
        context |= {"user_agent": person.user_agent, "device": person.device, "session": f"ses_{rng.getrandbits(40):010x}",
                    "country": person.office.country}  # fmt: skip
    event: dict[str, Any] = {
        "id": _uuid(rng),
        "action": a.verb,
        "occurred_at": _time(a.at_ns, 6),
        "actor": actor,
        "targets": [{"type": a.target_type, "id": a.target_id, "name": a.target_name}],
        "outcome": a.outcome,
        "context": context,
        "metadata": {"app": a.system.id, "version": "2026.11.3", "environment": "production"},
    }
    if "before" in a.detail:
        event |= {"before": a.detail["before"], "after": a.detail["after"]}
    event["metadata"] |= a.detail.get("metadata", {})
    if "reason" in a.detail:
        event["reason"] = a.detail["reason"]
    return _json(event)


def _okta(a: Action, rng: random.Random) -> bytes:
    person = a.person
    assert person is not None
    result = "FAILURE" if a.outcome == "failure" else "SUCCESS"
    reason = a.detail.get("reason", "INVALID_CREDENTIALS" if a.outcome == "failure" else None)
    return _json({
        "actor": {"id": f"00u{abs(hash_text(person.login)):017d}"[:20], "type": "User", "alternateId": person.email,
                  "displayName": person.name, "detailEntry": None},
        "client": {"userAgent": {"rawUserAgent": person.user_agent, "os": "Windows 10", "browser": "CHROME"},
                   "zone": "null", "device": "Computer", "id": None, "ipAddress": a.ip,
                   "geographicalContext": {"city": a.detail.get("city", person.office.name), "state": None,
                                           "country": a.detail.get("country", person.office.country), "postalCode": None,
                                           "geolocation": {"lat": 47.37, "lon": 8.54}}},
        "device": None,
        "authenticationContext": {"authenticationProvider": None, "credentialProvider": None, "credentialType": None,
                                  "issuer": None, "interface": None, "authenticationStep": 0,
                                  "rootSessionId": f"idx{rng.getrandbits(60):015x}",
                                  "externalSessionId": f"idx{rng.getrandbits(60):015x}"},
        "displayMessage": a.verb.replace(".", " ").replace("_", " ").capitalize(),
        "eventType": a.verb,
        "outcome": {"result": result, "reason": reason},
        "published": _time(a.at_ns),
        "securityContext": {"asNumber": 64500, "asOrg": "example network", "isp": "example network", "domain": ".",
                            "isProxy": False},
        "severity": "WARN" if a.outcome == "failure" else "INFO",
        "debugContext": {"debugData": {"requestId": f"Z{rng.getrandbits(70):018x}", "requestUri": "/api/v1/authn",
                                       "url": "/api/v1/authn?"}},
        "legacyEventType": "core.user_auth.login_success",
        "transaction": {"type": "WEB", "id": f"Z{rng.getrandbits(70):018x}", "detail": {}},
        "uuid": _uuid(rng),
        "version": "0",
        "request": {"ipChain": [{"ip": a.ip, "geographicalContext": None, "version": "V4", "source": None}]},
        "target": _okta_targets(a, rng),
    })  # fmt: skip


def _okta_targets(a: Action, rng: random.Random) -> list[dict[str, Any]]:
    """An application, or who is put into which group."""
    whom = a.detail.get("whom")
    kind, number = ("UserGroup", "00g") if whom else ("AppInstance", "0oa")
    target = {"id": f"{number}{rng.getrandbits(60):017d}"[:20], "type": kind, "alternateId": a.target_id,
              "displayName": a.target_name, "detailEntry": None}  # fmt: skip
    if whom is None:
        return [target]
    person = {"id": f"00u{abs(hash_text(whom.login)):017d}"[:20], "type": "User", "alternateId": whom.email,
              "displayName": whom.name, "detailEntry": None}  # fmt: skip
    return [person, target]


def _github(a: Action, rng: random.Random) -> bytes:
    person = a.person
    assert person is not None
    return _json({
        "@timestamp": a.at_ns // 1_000_000, "_document_id": f"{rng.getrandbits(96):024x}", "action": a.verb,
        "actor": person.login, "actor_id": 10_000 + hash_text(person.login) % 80_000, "actor_ip": a.ip,
        "actor_location": {"country_code": a.detail.get("country", person.office.country)},
        "business": "larkfield", "created_at": a.at_ns // 1_000_000, "operation_type": "modify", "org": "larkfield",
        "org_id": 4242, "repo": a.target_id, "repository": a.target_id, "user_agent": person.user_agent,
        **({"user": a.detail["whom"].login} if "whom" in a.detail else {}), "visibility": "private",
        "external_identity_nameid": person.email, **a.detail.get("extra", {}),
    })  # fmt: skip


def _cloudtrail(a: Action, rng: random.Random) -> bytes:
    person = a.person
    assert person is not None
    service = a.detail.get("service", a.target_type)
    event: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser", "principalId": f"AIDA{hash_text(person.login) % 10**16:016d}",
            "arn": f"arn:aws:iam::{_ACCOUNT}:user/{person.login}", "accountId": _ACCOUNT, "userName": person.login,
            "sessionContext": {"attributes": {"creationDate": _time(a.at_ns - 3_600 * 10**9, 0), "mfaAuthenticated": "true"}},
        },
        "eventTime": _time(a.at_ns, 0), "eventSource": f"{service}.amazonaws.com", "eventName": a.verb,
        "awsRegion": a.detail.get("region", "eu-central-1"), "sourceIPAddress": a.ip,
        "userAgent": "aws-cli/2.31.0 md/awscrt#0.27 ua/2.1 os/linux",
        "requestParameters": a.detail.get("parameters", {"name": a.target_id}),
        "responseElements": None, "requestID": _uuid(rng), "eventID": _uuid(rng),
        "readOnly": a.verb.startswith(("Get", "Describe", "List")), "eventType": "AwsApiCall", "managementEvent": True,
        "recipientAccountId": _ACCOUNT, "eventCategory": "Management",
        "tlsDetails": {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"},
    }  # fmt: skip
    if a.outcome == "failure":
        event |= {"errorCode": "AccessDenied", "errorMessage": "not authorized to perform this action"}
    return _json(event)


def _otlp(a: Action, rng: random.Random) -> bytes:
    """One OTLP LogRecord with its resource; the sender wraps many into an export request."""
    is_bad = a.outcome == "failure"
    attributes = {"event.name": a.verb, "client.address": a.ip, "customer.id": a.target_id, "event.outcome": a.outcome,
                  "http.response.status_code": "500" if is_bad else "200", "duration_ms": str(rng.randint(3, 900))}  # fmt: skip
    return _json({
        "service": a.system.id,
        "record": {
            "timeUnixNano": str(a.at_ns), "severityNumber": 17 if is_bad else 9, "severityText": "ERROR" if is_bad else "INFO",
            "body": {"stringValue": f"{a.verb} for {a.target_id} {'failed: upstream timeout' if is_bad else 'done'}"},
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()],
            "traceId": f"{rng.getrandbits(128):032x}", "spanId": f"{rng.getrandbits(64):016x}",
        },
    })  # fmt: skip


def _syslog(a: Action, app: str, pid: int, message: str, pri: int = 38) -> bytes:
    return f"<{pri}>1 {_time(a.at_ns)} {a.system.host} {app} {pid} - - {message}".encode()


def _ssh(a: Action, rng: random.Random) -> bytes:
    user = a.detail.get("user") or (a.person.login if a.person else "root")
    port, pid = rng.randint(30_000, 60_000), rng.randint(1_000, 30_000)
    if a.outcome == "failure":
        known = "" if a.person else "invalid user "
        return _syslog(a, "sshd", pid, f"Failed password for {known}{user} from {a.ip} port {port} ssh2", 86)
    how = a.detail.get("method", "publickey")
    key = f": ED25519 SHA256:{rng.getrandbits(160):040x}" if how == "publickey" else ""
    return _syslog(a, "sshd", pid, f"Accepted {how} for {user} from {a.ip} port {port} ssh2{key}", 86)


def _sudo(a: Action, rng: random.Random) -> bytes:
    assert a.person is not None
    command = a.detail.get("command") or rng.choice(
        [
            "/usr/bin/systemctl restart nginx",
            "/usr/bin/journalctl -u app",
            "/usr/bin/apt-get update",
            "/usr/bin/less /var/log/syslog",
        ]
    )
    message = (
        f"{a.person.login} : TTY=pts/{rng.randint(0, 9)} ; PWD=/home/{a.person.login} ; USER=root ; COMMAND={command}"
    )
    return _syslog(a, "sudo", rng.randint(1_000, 30_000), message, 85)


def _nginx(a: Action, rng: random.Random) -> bytes:
    moment = datetime.fromtimestamp(a.at_ns / 1e9, UTC)
    path = rng.choice(["/", "/cart", "/login", "/api/orders", "/product/4711", "/search?q=lamp", "/static/app.js"])
    status = rng.choices([200, 302, 404, 500], [90, 6, 3, 1])[0]
    message = (
        f'{a.ip} - - [{moment:%d/%b/%Y:%H:%M:%S} +0000] "GET {path} HTTP/1.1" {status} {rng.randint(200, 90_000)} '
        f'"-" "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"'
    )
    return _syslog(a, "nginx", 812, message, 190)


def _firewall(a: Action, rng: random.Random) -> bytes:
    verdict = "DROP" if rng.random() < 0.8 else "ACCEPT"
    message = (
        f"[UFW {verdict}] IN=eth0 OUT= SRC={a.ip} DST=198.51.100.17 LEN=60 TTL=51 PROTO=TCP "
        f"SPT={rng.randint(1024, 65_000)} DPT={rng.choice([22, 23, 80, 443, 445, 3389, 8080])} SYN"
    )
    return _syslog(a, "kernel", 0, message, 4)


def hash_text(text: str) -> int:
    """A small stable number for a text (FNV-1a), where vendors show numeric ids."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


_SHAPES = {
    "sdk": _sdk, "okta": _okta, "github": _github, "cloudtrail": _cloudtrail, "otlp": _otlp, "ssh": _ssh, "sudo": _sudo,
    "nginx": _nginx, "firewall": _firewall,
}  # fmt: skip
