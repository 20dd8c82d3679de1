"""How a system is connected: text to paste, made from the doors that are open. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.web.backend import Door

__all__ = ["Snippet", "snippets"]


@dataclass(frozen=True, slots=True)
class Snippet:
    """One way to connect. `language` names the kind of text."""

    id: str
    title: str
    words: str
    language: str
    text: str


def snippets(doors: Sequence[Door]) -> tuple[Snippet, ...]:
    """What to paste, for each door that is open. The key is a source's own: `muniment sources add NAME`."""
    at = {door.kind: door.address for door in doors if door.is_open}
    found: list[Snippet] = []
    http = at.get("http", "")
    if http:
        found.append(
            Snippet(
                "curl", "curl", "One event, or many: a JSON array, or one JSON object a line. Answered when it is on disk and in the tree.", "sh",
                f"curl {http}/v1/events \\\n  -H 'Authorization: Bearer mk_YOUR_KEY' \\\n  -H 'Content-Type: application/json' \\\n"
                "  -d '{\"action\":\"document.delete\",\"actor\":{\"id\":\"u-17\",\"name\":\"Ann\"},\n"
                '       "targets":[{"type":"document","id":"d-9"}],"outcome":"success"}\'',
            )
        )  # fmt: skip
    tls, tcp = at.get("syslog-tls", ""), at.get("syslog-tcp", "")
    if tls or tcp:
        host, _, port = (tls or tcp).rpartition(":")
        secure = '\n       StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/name"' if tls else ""
        found.append(
            Snippet(
                "rsyslog", "rsyslog", "With a disk-assisted queue: nothing is lost while this server is away.", "conf",
                f'# /etc/rsyslog.d/60-muniment.conf\naction(type="omfwd" target="{host}" port="{port}" protocol="tcp"{secure}\n'
                '       template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted"\n'
                '       queue.type="LinkedList" queue.filename="muniment" queue.maxDiskSpace="1g"\n'
                '       queue.saveOnShutdown="on" action.resumeRetryCount="-1")',
            )
        )  # fmt: skip
    if "otlp-http" in at:
        found.append(
            Snippet(
                "otel", "OpenTelemetry", "Any SDK or Collector; only these variables.", "sh",
                f"export OTEL_LOGS_EXPORTER=otlp\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nexport OTEL_EXPORTER_OTLP_LOGS_ENDPOINT={at['otlp-http']}/v1/logs\n"
                "export OTEL_EXPORTER_OTLP_HEADERS='Authorization=Bearer%20mk_YOUR_KEY'",
            )
        )  # fmt: skip
    elastic = at.get("elastic", http)
    if elastic:
        found.append(
            Snippet(
                "filebeat", "Filebeat", "Also Logstash and Fluent Bit: the Elasticsearch output as it is.", "yaml",
                f'output.elasticsearch:\n  hosts: ["{elastic}"]\n  username: "muniment"\n  password: "mk_YOUR_KEY"\nsetup.ilm.enabled: false\nsetup.template.enabled: false',
            )
        )  # fmt: skip
        found.append(
            Snippet(
                "vector", "Vector", "Acknowledged end to end.", "toml",
                f'[sinks.muniment]\ntype = "elasticsearch"\ninputs = ["your_source"]\nendpoints = ["{elastic}"]\nmode = "bulk"\n'
                'auth.strategy = "basic"\nauth.user = "muniment"\nauth.password = "mk_YOUR_KEY"\nacknowledgements.enabled = true',
            )
        )  # fmt: skip
    if http:
        found.append(
            Snippet(
                "python", "Python", "Standard library only; the record is durable when the call returns.", "py",
                "import json, urllib.request\n\n\ndef record(action: str, actor: str, target: str, outcome: str = \"success\") -> None:\n"
                '    event = {"action": action, "actor": {"id": actor}, "targets": [{"id": target}], "outcome": outcome}\n'
                "    request = urllib.request.Request(\n"
                f'        "{http}/v1/events", json.dumps(event).encode(),\n'
                '        {"Authorization": "Bearer mk_YOUR_KEY", "Content-Type": "application/json"},\n    )\n'
                "    urllib.request.urlopen(request, timeout=5).close()",
            )
        )  # fmt: skip
    return tuple(found)
