"""Every setting of the platform, in one place.

Each is an environment variable with the prefix ``BATTERY_`` (``BATTERY_API_PORT``), or a line of
``$BATTERY_HOME/.env``.
The table in README.md lists all of them; a test compares the two.
"""

import os
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Settings with their defaults: the embedded stack of one machine."""

    model_config = SettingsConfigDict(env_prefix="BATTERY_", extra="ignore", frozen=True)

    home: Path = Field(CHECKOUT, description="Where data/, data.dvc, .dvc/ and var/ live.")
    database_url: str | None = Field(None, description="SQLAlchemy URL; default is SQLite in var/battery.db.")
    host: str = Field("127.0.0.1", description="Address the API binds to. The other parts always bind to loopback.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port of the API.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow server.")
    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of the Prefect server.")
    serving_port: int = Field(3000, ge=1, le=65535, description="Port of the BentoML service.")
    mlflow_url: str | None = Field(None, description="MLflow elsewhere; default is the embedded one.")
    prefect_url: str | None = Field(None, description="Prefect API elsewhere (…/api); default is the embedded one.")
    serving_url: str | None = Field(None, description="BentoML elsewhere; default is the embedded one.")
    admin_email: str | None = Field(None, description="Account made at start when it does not exist.")
    admin_password: SecretStr | None = Field(None, description="Its password.")
    secret_key: SecretStr | None = Field(
        None, description="Signs the tokens; at least 32 bytes. Default: made on first start, kept in var/secret_key."
    )
    token_lifetime_s: int = Field(3600, ge=1, description="Seconds that an access token is valid.")
    allowed_origins: list[str] = Field([], description="Further web origins that may call the API (JSON list).")
    max_upload_bytes: int = Field(100 * 1024 * 1024, ge=1, description="Largest file that an upload may hold.")
    parser_memory_bytes: int = Field(2 * 1024**3, ge=1, description="Memory that parsing one upload may take.")
    parser_cpu_s: int = Field(120, ge=1, description="CPU seconds that parsing one upload may take.")
    end_of_life: float = Field(0.8, gt=0, lt=1, description="SoH below which a cell is at its end of life.")
    max_training_jobs: int = Field(3, ge=1, description="Training jobs that run at once; the others wait.")
    max_sockets_per_job: int = Field(10, ge=1, description="WebSocket clients that may follow one job.")
    socket_idle_s: float = Field(300, gt=0, description="Seconds without traffic after which a socket is closed.")
    job_history_days: int = Field(30, ge=1, description="Days that finished jobs are kept.")
    login_limit: str = Field("10/minute", description="Login tries per account and address; empty for none.")
    upload_limit: str = Field("", description="Uploads per user, such as 5/minute; empty for none.")
    call_limit: str = Field("", description="Other calls per user, such as 100/minute; empty for none.")
    serving_timeout_s: float = Field(10, gt=0, description="Seconds to wait for a prediction before answering 503.")
    serving_memory_bytes: int = Field(512 * 1024**2, ge=1, description="Memory that models for predictions may take.")
    prediction_cache_s: int = Field(3600, ge=0, description="Seconds that an answer is kept; 0 for not at all.")
    dvc_remote: str | None = Field(None, description="DVC remote URL (s3://…); default is the folder var/dvc-remote.")
    mlflow_artifacts: str | None = Field(None, description="MLflow artifact URL (s3://…); default is var/mlflow.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()  # the platform's processes run in different folders

    @property
    def var(self) -> Path:
        """Folder of everything the embedded stack writes beside the data set: databases, logs, secrets."""
        return self.home / "var"

    @property
    def data(self) -> Path:
        """Folder that DVC versions."""
        return self.home / "data"

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.var / 'battery.db'}"

    @property
    def mlflow(self) -> str:
        """Base URL of MLflow."""
        return self.mlflow_url or f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def prefect(self) -> str:
        """Base URL of Prefect's REST API, ending in ``/api``."""
        return self.prefect_url or f"http://127.0.0.1:{self.prefect_port}/api"

    @property
    def serving(self) -> str:
        """Base URL of the BentoML service."""
        return self.serving_url or f"http://127.0.0.1:{self.serving_port}"


@lru_cache
def get_settings() -> Settings:
    """Settings of this process, read once from the environment and ``$BATTERY_HOME/.env``."""
    home = Path(os.environ.get("BATTERY_HOME", CHECKOUT))
    return Settings(_env_file=home / ".env")
