"""The audit trail of predictions."""

from typing import Any

from sqlalchemy.orm import Session

from store.tables import Prediction


def record(
    session: Session,
    *,
    user_id: int,
    model_id: int,
    battery_id: int | None,
    algorithm: str,
    result: dict[str, Any],
    input_hash: str,
    latency_ms: float,
) -> Prediction:
    """Insert what was answered, to whom, from which weights."""
    prediction = Prediction(
        user_id=user_id,
        model_id=model_id,
        battery_id=battery_id,
        algorithm=algorithm,
        result=result,
        input_hash=input_hash,
        latency_ms=latency_ms,
    )
    session.add(prediction)
    session.flush()
    return prediction
