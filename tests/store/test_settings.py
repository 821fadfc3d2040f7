from pathlib import Path

from store.settings import CHECKOUT, get_settings


class TestGetSettings:
    def test_the_home_is_the_checkout_unless_told_otherwise(self, bare_home, monkeypatch):
        monkeypatch.delenv("BATTERY_HOME")
        get_settings.cache_clear()
        assert get_settings().home == CHECKOUT
        assert bare_home.home != CHECKOUT

    def test_a_relative_home_is_meant_from_here(self, bare_home, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("BATTERY_HOME", "elsewhere")
        get_settings.cache_clear()
        assert get_settings().home == tmp_path / "elsewhere"
        assert get_settings().database == f"sqlite:///{tmp_path / 'elsewhere' / 'var' / 'battery.db'}"
        assert bare_home.home.is_absolute()

    def test_the_environment_counts_before_the_file_of_the_home(self, bare_home, monkeypatch):
        bare_home.home.mkdir()
        (bare_home.home / ".env").write_text("BATTERY_API_PORT=8123\nBATTERY_END_OF_LIFE=0.7\n")
        monkeypatch.setenv("BATTERY_END_OF_LIFE", "0.75")
        get_settings.cache_clear()
        assert (get_settings().api_port, get_settings().end_of_life) == (8123, 0.75)

    def test_an_url_of_a_database_replaces_the_file(self, bare_home, monkeypatch):
        monkeypatch.setenv("BATTERY_DATABASE_URL", "postgresql://somewhere/x")
        get_settings.cache_clear()
        assert get_settings().database == "postgresql://somewhere/x"
        assert bare_home.database.startswith("sqlite:///")
        assert Path(bare_home.database.removeprefix("sqlite:///")).parent == bare_home.var
