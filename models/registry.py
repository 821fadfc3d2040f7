"""Runs and registered models: the only writer of MLflow.

A registered model per algorithm, a version per succeeded job, aliases `champion` and `challenger`. MLflow is imported
on first use: it takes seconds, and a job's first epoch need not wait for it.
"""

import hashlib
import importlib.metadata
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import models
from models.bundle import ModelBundle, UnreadableBundle
from models.observer import Epoch
from models.registered import Cache, DamagedModel
from models.runs import experiment, opened

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from models.training import Fitted

EXPERIMENT = "battery-life"
WEIGHTS = "artifacts/model.pth"  # within a logged model
REQUIREMENTS = ("lightning", "mlflow", "numpy", "pandas", "pydantic", "scipy", "torch")
MAX_METRICS = 999  # a call

Status = Literal["FINISHED", "FAILED", "KILLED"]
Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, and where its weights lie."""

    algorithm: str
    version: str  # MLflow's: 1, 2, 3, …
    run_id: str
    artifact_path: str  # of model.pth, below MLflow's artifact root
    sha256: str  # of model.pth
    file_size: int  # bytes


class Registry:
    """MLflow at `tracking_uri`; weights read back are kept in `cache`."""

    def __init__(self, tracking_uri: str, cache: Path) -> None:
        self.tracking_uri = tracking_uri
        self.cache = Cache(cache)

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client for the tracking server and the registry on it."""
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri, self.tracking_uri)

    @cached_property
    def experiment_id(self) -> str:
        """The experiment of all training runs, made on first use."""
        return experiment(self.client, EXPERIMENT)

    def start_run(
        self,
        algorithm: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, object],
        run_id: str | None = None,
    ) -> str:
        """Open a job's run and give its id; one already there (by `run_id`, or by tag `battery.job`) is resumed."""
        told = {key: str(value) for key, value in {"battery.algorithm": algorithm, **tags}.items()}
        return opened(self.client, self.experiment_id, name, params=params, tags=told, run_id=run_id)

    def log_epochs(self, run_id: str, epochs: Sequence[Epoch]) -> None:
        """Log the losses of the epochs that have gathered, in one call."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        names = ("train_loss", "val_loss", "seconds")
        metrics = [Metric(name, getattr(epoch, name), now, epoch.epoch) for epoch in epochs for name in names]
        for start in range(0, len(metrics), MAX_METRICS):
            self.client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])

    def end_run(self, run_id: str, status: Status) -> None:
        """Close a run."""
        self.client.set_terminated(run_id, status)

    def register(self, run_id: str, fitted: "Fitted", *, name: str, version: str) -> Registered:
        """Log scores, pictures, data set and model of a run, and make it a version of its algorithm's registered model.

        `version` is our MAJOR.MINOR.PATCH, `name` the one the user gave. Called again for the same run, it gives the
        version made the first time.
        """
        algorithm = fitted.bundle.algorithm
        made = self.client.search_model_versions(f"name = '{algorithm}' and run_id = '{run_id}'")
        if made:
            return _registered(made[0])
        metadata = fitted.bundle.metadata
        lineage = {
            "battery.name": name,
            "battery.version": version,
            "battery.data_version": metadata["data_version"] or "unversioned",
            "battery.feature_version": metadata["feature_version"],
            "battery.split": "time" if metadata["by_time"] else "cells",
        }
        self._log_metrics(run_id, {f"final_{key}": value for key, value in fitted.metrics.items()}, len(fitted.epochs))
        self._log_dataset(run_id, metadata)
        for file, picture in fitted.figures.items():
            self._log_bytes(run_id, f"figures/{file}", picture)
        weights = fitted.bundle.to_bytes()
        model = self._log_model(run_id, fitted.bundle, weights)
        lineage |= {
            "battery.model_id": model.model_id,
            "battery.artifact_path": _artifact_path(model),
            "battery.sha256": hashlib.sha256(weights).hexdigest(),
            "battery.file_size": len(weights),
        }
        return _registered(self._create_version(algorithm, model, run_id, {k: str(v) for k, v in lineage.items()}))

    def champion(self, algorithm: str) -> str | None:
        """Version that serves, None where there is none."""
        return self._aliases(algorithm).get("champion")

    def set_alias(self, algorithm: str, alias: Alias, version: str) -> None:
        """Move an alias; a version that becomes champion is no longer challenger."""
        self.client.set_registered_model_alias(algorithm, alias, version)
        if alias == "champion" and self._aliases(algorithm).get("challenger") == version:
            self.client.delete_registered_model_alias(algorithm, "challenger")

    def rename(self, algorithm: str, version: str, name: str, number: str) -> None:
        """Note another name and MAJOR.MINOR.PATCH on a registered version."""
        self.note(algorithm, version, {"battery.name": name, "battery.version": number})

    def note(self, algorithm: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a registered version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(algorithm, version, key, value)

    def load(self, algorithm: str, version: str) -> ModelBundle:
        """Read a version's bundle, through the cache.

        Raises:
            UnreadableBundle: it is no model of this product, or of a newer one.
            DamagedModel: its weights are gone, or not those that were registered.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        found = self.client.get_model_version(algorithm, version)
        if "battery.sha256" not in found.tags:
            raise UnreadableBundle(f"{algorithm} {version} was not registered by this product")
        location = self._location(found)

        def fetch() -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                uri = f"{location}/{WEIGHTS}"
                try:
                    path = download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self.tracking_uri)
                except MlflowException as error:  # its code does not say whether the file is gone
                    if self._has_weights(location):
                        raise
                    raise DamagedModel(f"the weights of {algorithm} {version} are gone") from error
                return Path(path).read_bytes()

        return ModelBundle.load(self.cache.path(found.tags["battery.sha256"], fetch))

    def remove(self, algorithm: str, version: str) -> None:
        """Delete a version with its weights; an alias that pointed to it points nowhere. Gone already is fine."""
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            found = self.client.get_model_version(algorithm, version)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return
            raise
        try:
            repository = get_artifact_repository(self._location(found), tracking_uri=self.tracking_uri)
            repository.delete_artifacts()  # type: ignore[no-untyped-call]
            self.client.delete_logged_model(found.tags["battery.model_id"])
        except MlflowException as error:  # an earlier call came this far
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        self.client.delete_model_version(algorithm, version)  # last: as long as it is there, a second call goes on

    def _has_weights(self, location: str) -> bool:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(location, tracking_uri=self.tracking_uri)
        return any(file.path == WEIGHTS for file in repository.list_artifacts(str(Path(WEIGHTS).parent)))

    def _location(self, version: "ModelVersion") -> str:
        return str(self.client.get_logged_model(version.tags["battery.model_id"]).artifact_location)

    def _aliases(self, algorithm: str) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self.client.get_registered_model(algorithm).aliases)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise

    def _create_version(
        self, algorithm: str, model: "LoggedModel", run_id: str, tags: Mapping[str, str]
    ) -> "ModelVersion":
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(algorithm)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self.client.create_model_version(
            algorithm,
            f"models:/{model.model_id}",
            run_id,
            tags=dict(tags),
            model_id=model.model_id,
            await_creation_for=0,
        )

    def _log_metrics(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value in values.items()])

    def _log_dataset(self, run_id: str, metadata: Mapping[str, object]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        version = str(metadata["data_version"] or "unversioned")
        cells = {role: metadata[f"{role}_cells"] for role in ("train", "validation", "test")}
        data = Dataset("batteries", version[:36], "dvc", json.dumps({"dvc_hash": version}), profile=json.dumps(cells))
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def _log_bytes(self, run_id: str, file: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(file).name)
            path.write_bytes(content)
            self.client.log_artifact(run_id, str(path), str(Path(file).parent))

    def _log_model(self, run_id: str, bundle: ModelBundle, weights: bytes) -> "LoggedModel":
        """Log a pyfunc model from code: this package and `batteries`, with `model.pth` as its only data."""
        import mlflow.pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        package = Path(models.__file__ or "").parent
        model = self.client.create_logged_model(
            self.experiment_id, bundle.algorithm, run_id, model_type=bundle.algorithm
        )
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.pth")
            path.write_bytes(weights)
            target = Path(folder, "model")
            mlflow.pyfunc.save_model(
                path=str(target),
                python_model=str(package / "pyfunc_model.py"),
                artifacts={"model": str(path)},
                pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
                code_paths=[str(package), str(package.parent / "batteries")],
                mlflow_model=Model(
                    artifact_path=model.artifact_location,
                    model_uuid=model.model_id,
                    run_id=run_id,
                    model_id=model.model_id,
                ),
            )
            self.client.log_model_artifacts(model.model_id, str(target))
        return self.client.finalize_logged_model(model.model_id, "READY")


def _artifact_path(model: "LoggedModel") -> str:
    """Path of the weights below the artifact root that MLflow's server hands out."""
    return f"{model.artifact_location.removeprefix('mlflow-artifacts:').lstrip('/')}/{WEIGHTS}"


def _registered(found: "ModelVersion") -> Registered:
    return Registered(
        algorithm=found.name,
        version=str(found.version),
        run_id=str(found.run_id),
        artifact_path=found.tags["battery.artifact_path"],
        sha256=found.tags["battery.sha256"],
        file_size=int(found.tags["battery.file_size"]),
    )
