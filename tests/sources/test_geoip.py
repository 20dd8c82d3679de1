"""Places of addresses: every usual shape of file, replaced files, broken ones; and what user agents say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from geoip_files import COUNTRIES, country_record, write_countries, write_file

from muniment.errors import ConfigError
from muniment.event.place import Place
from muniment.sources import geoip
from muniment.sources.geoip import GeoIP
from muniment.sources.useragent import describe


def test_countries_of_both_families_and_nothing_for_ours(tmp_path: Path) -> None:
    found = GeoIP.open(str(write_countries(tmp_path / "country.mmdb")))
    assert found.locate("1.0.0.77") == Place("AU")
    assert found.locate("::ffff:1.0.16.1") == Place("JP")
    assert found.locate("2001:200::1") == Place("JP")
    for address in ("10.0.0.1", "127.0.0.1", "203.0.113.7", "fe80::1%eth0", "8.8.8.8", "", "nonsense", "1.0.0.300"):
        assert found.locate(address) is None, address
    (about,) = found.about()
    assert about.kind == "GeoLite2-Country"
    assert "MaxMind" in about.attribution
    assert about.built_at > 1_600_000_000


def test_several_files_add_up(tmp_path: Path) -> None:
    city = {
        **country_record("JP"), "city": {"names": {"en": "Tokyo"}},
        "location": {"latitude": 35.69, "longitude": 139.69, "accuracy_radius": 20},
    }  # fmt: skip
    files = (
        write_file(tmp_path / "city.mmdb", "GeoIP2-City", {"1.0.16.0/20": city}),
        write_file(
            tmp_path / "asn.mmdb", "GeoLite2-ASN",
            {"1.0.16.0/20": {"autonomous_system_number": 2519, "autonomous_system_organization": "ARTERIA"}},
        ),
        write_file(tmp_path / "anonymous.mmdb", "GeoIP2-Anonymous-IP", {"1.0.16.0/24": {"is_anonymous_vpn": True}}),
    )  # fmt: skip
    found = GeoIP.open(", ".join(map(str, files)))
    assert found.locate("1.0.16.9") == Place("JP", "Tokyo", 35.69, 139.69, 20.0, 2519, "ARTERIA", True)
    assert found.locate("1.0.17.9") == Place("JP", "Tokyo", 35.69, 139.69, 20.0, 2519, "ARTERIA", False)


def test_flat_records_as_ipinfo_has_them(tmp_path: Path) -> None:
    record = {
        "country": "Australia",
        "country_code": "au",
        "asn": "AS13335",
        "as_name": "Cloudflare",
        "lat": "-27.5",
        "lng": "153",
    }
    found = GeoIP.open(str(write_file(tmp_path / "lite.mmdb", "ipinfo generic_lite.mmdb", {"1.0.0.0/24": record})))
    assert found.locate("1.0.0.1") == Place("AU", "", -27.5, 153.0, None, 13335, "Cloudflare")
    assert "IPinfo" in found.about()[0].attribution


def test_a_replaced_file_is_read_and_a_broken_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoip, "GEOIP_LOOK_EVERY_S", -1)
    path = write_countries(tmp_path / "country.mmdb", ["1.0.0.0/24"])
    found = GeoIP.open(str(path))
    assert found.locate("1.0.16.1") is None
    os.replace(write_countries(tmp_path / "new.mmdb", list(COUNTRIES)), path)
    assert found.locate("1.0.16.1") == Place("JP")
    (tmp_path / "broken.mmdb").write_bytes(path.read_bytes()[:100])
    os.replace(tmp_path / "broken.mmdb", path)
    assert found.locate("1.0.16.1") == Place("JP")
    assert "no MaxMind-format file" in found.about()[0].problem
    path.unlink()
    assert found.locate("2001:200::1") == Place("JP")
    assert "No such file" in found.about()[0].problem
    os.replace(write_countries(tmp_path / "new.mmdb", ["1.0.0.0/24"]), path)
    assert found.locate("1.0.16.1") is None
    assert not found.about()[0].problem


def test_a_file_that_is_none_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "x.mmdb").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="no MaxMind-format file"):
        GeoIP.open(str(tmp_path / "x.mmdb"))
    with pytest.raises(ConfigError, match="cannot read"):
        GeoIP.open(str(tmp_path / "y.mmdb"))
    nothing = GeoIP.open("")
    assert not nothing
    assert nothing.locate("1.0.0.1") is None
    assert nothing.about() == []


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36",
            "Chrome 118 on Windows 10",
            "Chrome on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
            "Mobile Safari 17 on iOS 17 on iPhone",
            "Mobile Safari on iOS",
        ),
        ("curl/8.4.0", "curl 8", "curl"),
        ("", "", ""),
        ("x" * 100_000, "", ""),
    ],
)
def test_user_agents(text: str, words: str, kind: str) -> None:
    assert (describe(text).words, describe(text).kind) == (words, kind)
    assert describe("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)").is_bot
