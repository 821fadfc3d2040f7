"""What every process of the stack is told."""

import urllib.request
from pathlib import Path

from launch.environment import stack_environment
from store.settings import Settings

SETTINGS = Settings(home=Path("/srv/battery"))


class TestProxies:
    def test_the_parts_never_speak_to_each_other_through_one(self):
        given = stack_environment(SETTINGS, {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "intranet.example"})
        for name in ("NO_PROXY", "no_proxy"):
            for host in ("127.0.0.1", "localhost", "intranet.example"):
                assert urllib.request.proxy_bypass_environment(host, {"no": given[name]})
            assert not urllib.request.proxy_bypass_environment("elsewhere.example", {"no": given[name]})
        assert given["HTTP_PROXY"] == "http://proxy:3128"


class TestHome:
    def test_what_the_parts_keep_lies_below_it(self):
        given = stack_environment(SETTINGS, {})
        for name in ("BATTERY_HOME", "PREFECT_HOME", "BENTOML_HOME"):
            assert Path(given[name]).is_relative_to("/srv/battery")
