"""Real log daemons that speak HTTP, unmodified, against the real doors: every numbered message arrives, unchanged.

rsyslog's omelasticsearch writes `_bulk`; syslog-ng's http() writes HEC and `_bulk`, form-urlencoded as it is by default.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.ingest.door_harness import TOKEN, make_harness, served
from tests.ingest.syslog_harness import until
from tests.system.test_shippers_syslog import (
    RSYSLOG_MODULES,
    SYSLOG_NG,
    free_port,
    needs_rsyslog,
    needs_syslog_ng,
    run_rsyslog,
    run_syslog_ng,
    write_lines,
)  # fmt: skip

from muniment.errors import BusyError, StorageError

needs_omelasticsearch = pytest.mark.skipif(
    not (RSYSLOG_MODULES / "omelasticsearch.so").exists(), reason="no module: apt-get install rsyslog-elasticsearch"
)
needs_http = pytest.mark.skipif(
    not (SYSLOG_NG / "usr/lib/syslog-ng/3.38/libhttp.so").exists(),
    reason="no syslog-ng http(): sh tests/system/get_syslog_ng.sh",
)


def numbered(documents: list[dict[str, object]], field: str) -> Counter[int]:
    """How often each numbered message has arrived."""
    return Counter(int(str(document[field]).rpartition("n=")[2]) for document in documents)


def omelasticsearch_config(folder: Path, port: int) -> Path:
    (folder / "work").mkdir()
    (folder / "input.log").touch()
    path = folder / "rsyslog.conf"
    path.write_text(f"""
global(workDirectory="{folder}/work")
module(load="imfile" mode="polling" pollingInterval="1")
module(load="omelasticsearch")
template(name="event" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
template(name="id" type="string" string="%uuid%")
input(type="imfile" file="{folder}/input.log" tag="shop:" severity="info" facility="local3")
action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" uid="rsyslog" pwd="{TOKEN}" template="event"
       searchIndex="audit" searchType="" bulkmode="on" writeoperation="create" bulkid="id" dynbulkid="on"
       errorFile="{folder}/errors" queue.type="LinkedList" queue.filename="out" queue.saveOnShutdown="on"
       action.resumeRetryCount="-1" action.resumeInterval="1")
""")
    return path


@needs_rsyslog
@needs_omelasticsearch
async def test_rsyslog_writes_bulk_through_refusals_and_a_restart(tmp_path: Path) -> None:
    """Refused for a while (429, then 503), then the server is away: each message arrives once."""
    first, second = make_harness(), make_harness()
    first.port = second.port = free_port()
    log = first.log
    config = omelasticsearch_config(tmp_path, first.port)
    async with run_rsyslog(tmp_path, config):
        with served(first):
            write_lines(tmp_path / "input.log", 0, 500)
            await until(lambda: len(log.records) == 500, 20)
            for error in (BusyError("full", retry_after_ms=1_000), StorageError("no space", is_full=True)):
                start, log.failed, log.fail_append = len(log.records), 0, error
                write_lines(tmp_path / "input.log", start, start + 500)
                await until(lambda: log.failed > 0, 20)
                log.fail_append = None
                await until(lambda start=start: len(log.records) == start + 500, 30)  # type: ignore[misc]
        write_lines(tmp_path / "input.log", 1_500, 2_000)
        with served(second):
            await until(lambda: len(second.log.records) == 500, 30)
    documents = [*log.documents(), *second.log.documents()]
    assert numbered(documents, "message") == Counter(range(2_000))
    assert set(documents[0]) == {"@timestamp", "host", "message"}
    assert set(log.sources) == {"app"}
    assert not any(log.quarantined)
    assert not (tmp_path / "errors").exists() or not (tmp_path / "errors").read_text()


HEC = """http(url("http://127.0.0.1:{port}/services/collector/event") headers("Authorization: Splunk {token}")
    body("$(format-json time=$S_UNIXTIME host=$HOST event=$MSG)") delimiter("\\n")
    batch-lines(100) batch-timeout(200) retries(20));"""
BULK = """http(url("http://127.0.0.1:{port}/_bulk") user("syslog-ng") password("{token}")
    body('{{"index":{{"_index":"audit"}}}}\n$(format-json --pair @timestamp=$S_ISODATE --pair event=$MSG)\n')
    delimiter("") batch-lines(100) batch-timeout(200) retries(20));"""


@needs_syslog_ng
@needs_http
@pytest.mark.parametrize(("destination", "door"), [(HEC, "hec"), (BULK, "elastic")], ids=["hec", "bulk"])
async def test_syslog_ng_writes_hec_and_bulk(tmp_path: Path, destination: str, door: str) -> None:
    """In batches, form-urlencoded by name; refused for a while in between."""
    harness = make_harness()
    log = harness.log
    with served(harness):
        async with run_syslog_ng(tmp_path, destination.format(port=harness.port, token=TOKEN)):
            write_lines(tmp_path / "input.log", 0, 500)
            await until(lambda: len(log.records) == 500, 20)
            log.fail_append = StorageError("no space", is_full=True)
            write_lines(tmp_path / "input.log", 500, 1_000)
            await until(lambda: log.failed > 0, 20)
            log.fail_append = None
            await until(lambda: len(log.records) == 1_000, 30)
    assert numbered(log.documents(), "event") == Counter(range(1_000))
    assert not any(log.quarantined)
    assert len(log.batches) < 1_000
    assert set(log.doors) == {door}
