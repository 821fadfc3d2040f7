import pytest

from launch.settings_table import shown


class TestShown:
    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("postgresql://lab:s3cret%40x@db:5432/battery", "postgresql://lab:***@db:5432/battery"),
            ("https://:s3cret@mlflow.lab", "https://:***@mlflow.lab"),
            ("https://lab@mlflow.lab:5000/a@b", "https://lab@mlflow.lab:5000/a@b"),
            ("http://mlflow.lab:5000/a:b@c", "http://mlflow.lab:5000/a:b@c"),
            ("s3://bucket/a", "s3://bucket/a"),
            (["https://a.lab:8443"], "['https://a.lab:8443']"),
        ],
    )
    def test_of_an_address_the_password_alone_is_hidden(self, value, told):
        assert shown(value) == told
