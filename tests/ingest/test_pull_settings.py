"""The file of what is pulled: what is wrong in it is told with file, line, column, key and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.errors import ConfigError
from muniment.ingest.pull.settings import S3Settings, read_pull_settings

WHOLE = """\
[[s3]]
source = "aws"
bucket = "our-trail"
since = "2026-11-01"
role_arn = "arn:aws:iam::111122223333:role/audit"
external_id_file = "ID"

[[s3]]
source = "app"
bucket = "our-logs"
prefix = "audit/"
format = "jsonl"
every_s = 300
endpoint = "https://s3.example.com"
"""


def _written(folder: Path, text: str) -> Path:
    (folder / "id").write_text("0815\n")
    path = folder / "pull.toml"
    path.write_text(text.replace('"ID"', f'"{folder}/id"'))
    return path


def test_a_file_that_is_right_is_read_whole(tmp_path: Path) -> None:
    assert read_pull_settings(_written(tmp_path, WHOLE)) == (
        S3Settings("aws", "our-trail", since="2026-11-01", role_arn="arn:aws:iam::111122223333:role/audit", external_id="0815"),
        S3Settings("app", "our-logs", "audit/", format="jsonl", every_s=300, endpoint="https://s3.example.com"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('bucket = "our-trail"\n', "", "1:1: s3 1: bucket is missing; add a line such as: bucket = "),
        ('bucket = "our-trail"', 'bucket = ""', '3:1: s3 1.bucket: is empty; write it as in: bucket = "our-trail"'),
        ('bucket = "our-trail"', 'bukket = "our-trail"\nbucket = "b"', "3:1: s3 1.bukket: there is no 'bukket' here; did you mean bucket?"),
        ('format = "jsonl"', 'format = "json"', "12:1: s3 2.format: got 'json'; did you mean jsonl? there are cloudtrail, jsonl"),
        ('"2026-11-01"', '"soon"', "4:1: s3 1.since: got 'soon'; write a day as in: since = \"2026-11-01\""),
        ('"2026-11-01"', "2026-11-01", '4:1: s3 1.since: got 2026-11-01; write it as in: since = "2026-11-01"'),
        ("every_s = 300", "every_s = 0", "13:1: s3 2.every_s: got 0; give a number from 1 to 86400"),
        ("every_s = 300", 'every_s = "300"', "13:1: s3 2.every_s: got '300'; write it as in: every_s = "),
        ("https://s3", "http://s3", "14:1: s3 2.endpoint: got 'http://s3.example.com'; give an https URL; http is for this machine"),
        ('"ID"', '"/nowhere/id"', "6:1: s3 1.external_id_file: cannot read /nowhere/id: No such file or directory; let the server's"),
        ("[[s3]]\nsource = \"app\"", "[[gcs]]\nsource = \"app\"", "8:1: gcs: there is no 'gcs' here; there are s3"),
        ('"app"\nbucket = "our-logs"\nprefix = "audit/"', '"aws"\nbucket = "our-trail"', "8:1: s3 2: the same source, bucket and prefix as s3 1; take one of the two out"),
        ("[[s3]]\nsource = \"app\"", "[s3]\nsource = \"app\"", "8:4: Cannot declare ('s3',) twice; take one"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_how_to_mend_it(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    assert WHOLE.count(right) == 1
    with pytest.raises(ConfigError) as caught:
        read_pull_settings(_written(tmp_path, WHOLE.replace(right, wrong)))
    assert caught.value.setting == "pull"
    assert str(caught.value).startswith(f"pull: {tmp_path}/pull.toml:{told}")
