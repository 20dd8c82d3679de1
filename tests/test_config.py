"""Settings: defaults, file, environment, flags, and mistakes that are named."""

from pathlib import Path

import pytest

from muniment.config import load_settings, setting_origins
from muniment.errors import ConfigError


def test_later_origins_win_and_say_where_they_came_from(tmp_path: Path) -> None:
    file = tmp_path / "muniment.toml"
    file.write_text('port = 9000\nhost = "127.0.0.2"\n')
    environ = {"MUNIMENT_PORT": "9001", "HOME": "/nowhere"}
    settings = load_settings(file, environ, {"static_bundles": True})
    assert (settings.port, settings.host, settings.static_bundles) == (9001, "127.0.0.2", True)
    assert setting_origins(file, environ)["port"] == (9001, "MUNIMENT_PORT")


@pytest.mark.parametrize(
    ("text", "setting"), [("prot = 1", "prot"), ('port = "many"', "port"), ("host = 5", "host"), ("port = ", "config")]
)
def test_a_mistake_names_its_setting(tmp_path: Path, text: str, setting: str) -> None:
    file = tmp_path / "muniment.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {})
    assert caught.value.setting == setting


def test_derived_places_live_in_the_data_folder(tmp_path: Path) -> None:
    settings = load_settings(None, {"MUNIMENT_DATA": str(tmp_path)})
    assert settings.store_url == f"chdb://{tmp_path / 'store'}"
    assert settings.head_url == str(tmp_path / "head")
