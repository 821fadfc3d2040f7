"""The rows of the platform (SQLAlchemy 2). Arrays live in files, see ``store/recordings.py``."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def utc_now() -> datetime:
    """Now, in UTC, aware."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC timestamp on every database (SQLite keeps no time zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse naive values, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("timestamps must be aware")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of all tables; constraints have names, so that migrations can change them on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, float: Double, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class User(Table):
    """An account."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class RevokedToken(Table):
    """A token that was logged out; kept until it would have expired."""

    __tablename__ = "revoked_tokens"
    jti: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class DataVersion(Table):
    """One state of ``data/`` as DVC knows it."""

    __tablename__ = "data_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    dvc_hash: Mapped[str] = mapped_column(String(64), unique=True)  # md5 of the directory, '….dir'
    battery_count: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)  # when data/ was last found in this state
    pushed_at: Mapped[datetime | None]  # null: on this machine alone


class Battery(Table):
    """An uploaded cell. Files: ``data/raw/{id}.mat``, ``data/cycles/{id}.parquet``, ``data/batteries/{id}.json``."""

    __tablename__ = "batteries"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - ids name files, so they are never used again
    id: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int]
    total_cycles: Mapped[int]
    nominal_capacity: Mapped[float | None]  # Ah
    manufacturer: Mapped[str | None] = mapped_column(String(255), index=True)
    chemistry: Mapped[str | None] = mapped_column(String(255))
    import_report: Mapped[dict[str, Any]]
    feature_version: Mapped[int]
    data_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("data_versions.id")
    )  # null: not versioned as it is now
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class CycleRow(Table):
    """The scalars of one cycle, null where unknown. ``soh`` here is not clipped; what is shown is.

    ``batteries.cycles`` defines all between ``capacity_ah`` and ``complete``; rows that a release before them made have
    null there until their features are computed again.
    """

    __tablename__ = "cycles"
    __table_args__ = (
        UniqueConstraint("battery_id", "position"),  # its index is the one that pages are read by
        Index("ix_cycles_battery_id_cycle_index", "battery_id", "cycle_index"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    battery_id: Mapped[int] = mapped_column(ForeignKey("batteries.id", ondelete="CASCADE"))
    position: Mapped[int]  # 0-based place in the file, row of the Parquet file
    cycle_index: Mapped[int]  # as recorded
    capacity_ah: Mapped[float | None]
    charge_capacity_ah: Mapped[float | None]
    energy_wh: Mapped[float | None]
    charge_energy_wh: Mapped[float | None]
    coulombic_efficiency: Mapped[float | None]
    duration_s: Mapped[float | None]
    mean_temperature_c: Mapped[float | None]
    max_temperature_c: Mapped[float | None]
    internal_resistance_ohm: Mapped[float | None]
    c_rate: Mapped[float | None]  # 1/h
    complete: Mapped[bool | None]
    soh: Mapped[float | None]
    rul: Mapped[float | None]  # cycles


class Job(Table):
    """A training job: the projection of its events."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_status_id", "status", "id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    algorithm: Mapped[str] = mapped_column(String(32))
    battery_ids: Mapped[list[Any]]
    hyperparams: Mapped[dict[str, Any]]  # complete: defaults filled in
    model_name: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(16), default="queued")
    progress: Mapped[float] = mapped_column(default=0.0)
    current_epoch: Mapped[int] = mapped_column(default=0)
    total_epochs: Mapped[int]
    current_loss: Mapped[float | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    last_seq: Mapped[int] = mapped_column(default=0)  # newest event
    flow_run_id: Mapped[str | None] = mapped_column(String(36))  # null: not yet given to Prefect (outbox)
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    model_id: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEvent(Table):
    """One line of a job's history. ``type`` is the WebSocket's: progress, log, complete, error."""

    __tablename__ = "job_events"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)  # 1, 2, 3, … within the job
    type: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Model(Table):
    """A registered model version. The weights are MLflow's; this row is what the API says of them."""

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("algorithm", "mlflow_version"),
        Index("uq_models_algorithm_name_version", "algorithm", "name", "version", unique=True),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    algorithm: Mapped[str] = mapped_column(String(32), index=True)  # also the name of MLflow's registered model
    mlflow_version: Mapped[str] = mapped_column(String(16))
    mlflow_run_id: Mapped[str] = mapped_column(String(64))
    artifact_path: Mapped[str] = mapped_column(String(512))  # of model.pth, below MLflow's artifact root
    name: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(32))  # MAJOR.MINOR.PATCH
    hyperparams: Mapped[dict[str, Any]]  # complete; what the next version's number is decided by
    metrics: Mapped[dict[str, Any]]
    sha256: Mapped[str] = mapped_column(String(64))  # of model.pth
    file_size: Mapped[int]  # bytes of model.pth
    data_version: Mapped[str | None] = mapped_column(String(64))  # DVC hash
    battery_ids: Mapped[list[Any] | None]  # those that it learned from; jobs are forgotten, this is not
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    deleted_at: Mapped[datetime | None]


class Prediction(Table):
    """What was answered, to whom, from which weights."""

    __tablename__ = "predictions"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    model_id: Mapped[int] = mapped_column(index=True)
    battery_id: Mapped[int | None] = mapped_column(index=True)
    algorithm: Mapped[str] = mapped_column(String(32))
    result: Mapped[dict[str, Any]]
    input_hash: Mapped[str] = mapped_column(String(64))
    latency_ms: Mapped[float]
    position: Mapped[int | None]  # of the battery's cycle that it speaks of, with the number that was recorded
    cycle_index: Mapped[int | None]
    inputs: Mapped[list[Any] | None]  # features of that cycle, null where unknown
    feature_version: Mapped[int | None]
    cached: Mapped[bool] = mapped_column(default=False, server_default=false())
    forecast: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    explanation: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
