"""Registered models as they are read: through a cache of weights, and over MLflow's REST API, without its library."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from models.bundle import ModelBundle

TIMEOUT_S = 10.0
API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class NoSuchModel(Exception):
    """No such version."""


class DamagedModel(Exception):
    """The weights that arrived are not those that were registered."""


class Cache:
    """Weights in files named by their SHA-256, in a folder that only its owner can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str, fetch: Callable[[], bytes]) -> Path:
        """Give the file with this hash, fetched if it is not there; whole or not at all.

        Raises:
            DamagedModel: what was fetched has another hash.
        """
        path = self.folder / f"{sha256}.pth"
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:  # power loss may tear it
            return path
        content = fetch()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DamagedModel(f"the weights of {sha256} arrived damaged")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            return Path(partial).replace(path)
        finally:
            Path(partial).unlink(missing_ok=True)


class RegisteredModels:
    """What MLflow's server at `base_url` has registered. One connection pool; safe to share between threads."""

    def __init__(self, base_url: str, cache: Path) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=TIMEOUT_S, trust_env=False)
        self.cache = Cache(cache)

    def champion(self, algorithm: str) -> str | None:
        """Version that serves, None where there is none.

        Raises:
            httpx.HTTPError: MLflow cannot be reached, or fails.
        """
        answer = self.http.get(f"{API}/registered-models/get", params={"name": algorithm})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        aliases = answer.raise_for_status().json()["registered_model"].get("aliases", [])
        return next((str(alias["version"]) for alias in aliases if alias["alias"] == "champion"), None)

    def load(self, algorithm: str, version: str) -> ModelBundle:
        """Read a version's bundle, through the cache.

        Raises:
            NoSuchModel: there is no such version.
            DamagedModel: its weights are not those that were registered.
            httpx.HTTPError: MLflow cannot be reached, or fails.
        """
        answer = self.http.get(f"{API}/model-versions/get", params={"name": algorithm, "version": version})
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NoSuchModel(f"{algorithm} has no version {version}")
        tags = {tag["key"]: tag["value"] for tag in answer.raise_for_status().json()["model_version"]["tags"]}

        def fetch() -> bytes:
            return self.http.get(f"{ARTIFACTS}/{tags['battery.artifact_path']}").raise_for_status().content

        return ModelBundle.load(self.cache.path(tags["battery.sha256"], fetch))

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
