"""How a system is connected: text to paste, with the addresses of the doors that are open. Pure.

One row a way. `muniment sources add --for`, `muniment sources connect` and the pages print them; the tests run them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["KEY_PLACEHOLDER", "WAYS", "WEBHOOKS", "Snippet", "Way", "WebhookSender", "snippets"]

KEY_PLACEHOLDER: Final = "mk_YOUR_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One way to connect, ready to paste. `language` names the kind of text."""

    id: str
    title: str
    words: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Way:
    """A kind of sender: which doors it can use (the first that is open), and whether it shows a source's key."""

    id: str
    title: str
    words: str
    language: str
    doors: tuple[str, ...]
    has_key: bool
    text: Callable[[str, str, str], str]  # door, its address, key


def snippets(doors: Mapping[str, str], key: str = KEY_PLACEHOLDER) -> tuple[Snippet, ...]:
    """What to paste, for each way whose door is open; `doors` maps open doors to their addresses."""
    found = []
    for way in WAYS:
        door = next((each for each in way.doors if doors.get(each)), "")
        if door:
            found.append(Snippet(way.id, way.title, way.words, way.language, way.text(door, doors[door], key)))
    return tuple(found)


def _curl(_: str, at: str, key: str) -> str:
    return (
        f"curl {at}/v1/events \\\n  -H 'Authorization: Bearer {key}' \\\n  -H 'Content-Type: application/json' \\\n"
        '  -d \'{"action":"document.delete","actor":{"id":"u-17","name":"Ann"},\n'
        '       "targets":[{"type":"document","id":"d-9"}],"outcome":"success"}\''
    )


def _rsyslog(door: str, at: str, _: str) -> str:
    host, _, port = at.rpartition(":")
    secure = '\n       StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/name"'
    return (
        f"# /etc/rsyslog.d/60-muniment.conf, then: systemctl restart rsyslog\n"
        f'action(type="omfwd" target="{host}" port="{port}" protocol="tcp"{secure if door == "syslog-tls" else ""}\n'
        '       template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted"\n'
        '       queue.type="LinkedList" queue.filename="muniment" queue.maxDiskSpace="1g"\n'
        '       queue.saveOnShutdown="on" action.resumeRetryCount="-1" action.resumeInterval="5")'
    )


def _syslog_ng(door: str, at: str, _: str) -> str:
    host, _, port = at.rpartition(":")
    transport = "tls" if door == "syslog-tls" else "tcp"
    return (
        "# /etc/syslog-ng/conf.d/muniment.conf; s_src is Debian's name for what this host logs\n"
        f'destination muniment {{\n  syslog("{host}" port({port}) transport("{transport}")\n'
        "    disk-buffer(reliable(yes) disk-buf-size(1073741824) mem-buf-size(16777216)));\n};\n"
        "log { source(s_src); destination(muniment); flags(flow-control); };"
    )


def _otel(_: str, at: str, key: str) -> str:
    return (
        "export OTEL_LOGS_EXPORTER=otlp\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"
        f"export OTEL_EXPORTER_OTLP_LOGS_ENDPOINT={at}/v1/logs\n"
        f"export OTEL_EXPORTER_OTLP_HEADERS='Authorization=Bearer%20{key}'"
    )


def _otel_python(_: str, at: str, key: str) -> str:
    return (
        "# pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http\n"
        "import logging\n\n"
        "from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter\n"
        "from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler\n"
        "from opentelemetry.sdk._logs.export import BatchLogRecordProcessor\n\n"
        "provider = LoggerProvider()\n"
        f'exporter = OTLPLogExporter("{at}/v1/logs", headers={{"Authorization": "Bearer {key}"}}, timeout=120)\n'
        "provider.add_log_record_processor(BatchLogRecordProcessor(exporter))\n"
        "logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))\n"
        'logging.getLogger("shop").warning("document deleted by anna")\n'
        "provider.shutdown()"
    )


def _journald(_: str, at: str, key: str) -> str:
    scheme, _, host = at.partition("://")
    return f"systemd-journal-upload --save-state --url={scheme}://muniment:{key}@{host}"


def _filebeat(_: str, at: str, key: str) -> str:
    return (
        f'output.elasticsearch:\n  hosts: ["{at}"]\n  username: "muniment"\n  password: "{key}"\n'
        "setup.ilm.enabled: false\nsetup.template.enabled: false"
    )


def _vector(_: str, at: str, key: str) -> str:
    return (
        f'[sinks.muniment]\ntype = "elasticsearch"\ninputs = ["your_source"]\nendpoints = ["{at}"]\nmode = "bulk"\n'
        f'auth.strategy = "basic"\nauth.user = "muniment"\nauth.password = "{key}"\nacknowledgements.enabled = true'
    )


def _python(_: str, at: str, key: str) -> str:
    return (
        'import json, urllib.request\n\n\ndef record(action: str, actor: str, target: str, outcome: str = "success") -> None:\n'
        '    event = {"action": action, "actor": {"id": actor}, "targets": [{"id": target}], "outcome": outcome}\n'
        "    request = urllib.request.Request(\n"
        f'        "{at}/v1/events", json.dumps(event).encode(),\n'
        f'        {{"Authorization": "Bearer {key}", "Content-Type": "application/json"}},\n    )\n'
        "    urllib.request.urlopen(request, timeout=5).close()"
    )


_SYSLOG: Final = ("syslog-tls", "syslog-tcp")

WAYS: Final = (
    Way("curl", "curl", "One event, or many: a JSON array, or one JSON object a line. Answered when it is on disk and in the tree.",
        "sh", ("http",), True, _curl),
    Way("rsyslog", "rsyslog", "With a disk-assisted queue, which keeps what was not sent while this server is away.",
        "conf", _SYSLOG, False, _rsyslog),
    Way("syslog-ng", "syslog-ng", "With a reliable disk buffer.", "conf", _SYSLOG, False, _syslog_ng),
    Way("otel", "OpenTelemetry", "Any SDK or Collector; only these variables.", "sh", ("otlp-http",), True, _otel),
    Way("otel-python", "OpenTelemetry, Python", "A whole program; a batch is tried for two minutes, not the SDK's ten seconds.",
        "py", ("otlp-http",), True, _otel_python),
    Way("journald", "journald", "systemd-journal-upload, with its cursor kept.", "sh", ("journal", "http"), True, _journald),
    Way("filebeat", "Filebeat", "Also Logstash and Fluent Bit: the Elasticsearch output as it is.", "yaml",
        ("elastic", "http"), True, _filebeat),
    Way("vector", "Vector", "Acknowledged end to end.", "toml", ("elastic", "http"), True, _vector),
    Way("python", "Python", "Standard library only; the record is durable when the call returns.", "py", ("http",), True,
        _python),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """A kind of sender that signs its webhooks, and where in it the address and the secret are put."""

    title: str
    setup: str


WEBHOOKS: Final[Mapping[str, WebhookSender]] = {
    "github": WebhookSender(
        "GitHub",
        "GitHub, Settings, Webhooks, Add webhook: this as Payload URL and Secret; either content type",
    ),
    "okta": WebhookSender(
        "Okta",
        "Okta, Workflow, Event hooks: this as URL; authentication field Authorization, the secret as its value; then Verify",
    ),
    "auth0": WebhookSender(
        "Auth0",
        "Auth0, Monitoring, Streams, Custom Webhook: this as Payload URL, the secret as Authorization Token",
    ),
    "slack": WebhookSender(
        "Slack",
        "Slack, your app, Event Subscriptions: this as Request URL; the secret is the app's own Signing Secret",
    ),
    "standard": WebhookSender("Standard Webhooks", "Whatever signs as Standard Webhooks say: this URL and secret"),
}
"""By kind, as `access.webhooks` knows them."""
