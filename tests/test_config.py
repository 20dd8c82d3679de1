"""Settings: defaults, file, environment, flags, and mistakes that are named."""

from pathlib import Path

import pytest

from muniment.config import load_settings, setting_origins, unknown_variables
from muniment.errors import ConfigError


def test_later_origins_win_and_say_where_they_came_from(tmp_path: Path) -> None:
    file = tmp_path / "muniment.toml"
    file.write_text('port = 9000\nhost = "127.0.0.2"\n')
    environ = {"MUNIMENT_PORT": "9001", "HOME": "/nowhere"}
    settings = load_settings(file, environ, {"static_bundles": True})
    assert (settings.port, settings.host, settings.static_bundles) == (9001, "127.0.0.2", True)
    assert setting_origins(file, environ)["port"] == (9001, "MUNIMENT_PORT")


WHOLE = """\
# Our audit log
origin = "audit.example.com/main"
port = 9000
static_bundles = true
trusted_proxies = "10.0.0.0/8, 192.0.2.7"
syslog_networks = "10.1.0.0/16=web,10.2.0.0/16=db"
own_domains = "example.com,example.org"
public_url = "https://audit.example.com"
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("port = 9000", "prot = 9000", "3:1: prot: there is no 'prot' here; did you mean port? `muniment doctor` lists all settings"),
        ("port = 9000", "qqq = 9000", "3:1: qqq: there is no 'qqq' here; `muniment doctor` lists all settings"),
        ("port = 9000", 'port = "many"', "3:1: port: got 'many'; write it as in: port = 8480"),
        ("port = 9000", "port = 90000", "3:1: port: got 90000; give a number from 0 to 65535"),
        ("port = 9000", "port = ", "3:8: Invalid value; put texts in quotes, as in: host = "),
        ("port = 9000", "[server]\nport = 9000", "3:1: server: there is no 'server' here; "),
        ("= true", "= 1", "4:1: static_bundles: got 1; write it as in: static_bundles = true"),
        ('"audit.example.com/main"', '"our log"', "2:1: origin: got 'our log'; write a name without space and +, as in audit.example"),
        ("192.0.2.7", "192.0.2", "5:1: trusted_proxies: '192.0.2' does not appear to be an IPv4 or IPv6 network; write networks as in"),
        ("10.2.0.0/16=db", "10.2.0.0/16", "6:1: syslog_networks: got '10.2.0.0/16'; write a network and the name of a source, as in"),
        ("10.2.0.0/16=db", "10.2.0.1/16=db", "6:1: syslog_networks: 10.2.0.1/16 has host bits set; write networks as in"),
        ("example.org", "https://example.org", "7:1: own_domains: got 'https://example.org'; write domains as in example.com,"),
        ("https://audit", "audit", "8:1: public_url: got 'audit.example.com'; write the address people type, as in https://"),
        ("public_url", 'privacy_default = "open"\npublic_url', "8:1: privacy_default: got 'open'; there are sealed, clear"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_told_with_its_place_and_how_to_mend_it(
    tmp_path: Path, right: str, wrong: str, told: str
) -> None:
    file = tmp_path / "muniment.toml"
    file.write_text(WHOLE)
    assert load_settings(file, {}).trusted_proxies == "10.0.0.0/8, 192.0.2.7"
    assert WHOLE.count(right) == 1
    file.write_text(WHOLE.replace(right, wrong))
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {})
    assert str(caught.value).startswith(f"config: {file}:{told}")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"MUNIMENT_PORT": "many"}, "port: MUNIMENT_PORT: got 'many'; write a whole number"),
        ({"MUNIMENT_PORT": "tcp://10.0.0.1:8480"}, "set enableServiceLinks: false in the pod"),
        ({"MUNIMENT_SESSION_HOURS": "0"}, "session_hours: MUNIMENT_SESSION_HOURS: got 0; give a number from 1 to 8760"),
        ({"MUNIMENT_SEAL_WORKER": "maybe"}, "seal_worker: MUNIMENT_SEAL_WORKER: got 'maybe'; write true or false"),
        ({"MUNIMENT_TLS_KEY": "key.pem"}, "tls_key: is set but tls_cert is not, so nothing would be encrypted; set tls_cert"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_names_the_variable(environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, environ)
    assert told in str(caught.value)


def test_variables_that_nobody_reads_are_known() -> None:
    environ = {"MUNIMENT_PROT": "1", "MUNIMENT_PORT": "1", "MUNIMENT_URL": "x", "MUNIMENT_OF_OTHERS": "1", "HOME": "/"}
    assert unknown_variables(environ) == [("MUNIMENT_OF_OTHERS", ""), ("MUNIMENT_PROT", "MUNIMENT_PORT")]


def test_derived_places_live_in_the_data_folder(tmp_path: Path) -> None:
    settings = load_settings(None, {"MUNIMENT_DATA": str(tmp_path)})
    assert settings.store_url == f"chdb://{tmp_path / 'store'}"
    assert settings.head_url == str(tmp_path / "head")
