"""``/predictions``: how healthy, how long still, how sure; and what was answered before."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, AwareDatetime
from starlette.requests import Request

from api.authentication import Caller, caller_of
from api.documentation import bearer_scheme, errors
from api.errors import ApiError, ServiceUnavailable, trace_id_of
from api.pagination import Page, Paging, paging
from api.predictions import audit
from api.predictions.schemas import (
    BatchAnswer,
    BatchRequest,
    FailedPrediction,
    PredictionAnswer,
    PredictionRequest,
)
from api.quick_json import QuickRoute
from api.responses import LARGEST_ID, Identifier
from api.state import State, state_of
from store.session import reading

router = APIRouter(
    prefix="/predictions", tags=["predictions"], route_class=QuickRoute, dependencies=[Depends(bearer_scheme)]
)


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError where the calendar ends."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("No time that can be told in UTC") from None


Wanted = Annotated[int | None, Query(ge=1, le=LARGEST_ID)]
Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
Since = Annotated[Moment | None, Query(description="Made at this time or later, with its time zone.")]
Until = Annotated[Moment | None, Query(description="Made before this time, with its time zone.")]


async def wanted(
    battery_id: Wanted = None, model_id: Wanted = None, since: Since = None, until: Until = None
) -> audit.Filter:
    """Dependency: which predictions are asked for."""
    return audit.Filter(battery_id, model_id, since, until)


@router.get("", responses=errors())
def list_predictions(
    pages: Annotated[Paging, Depends(paging)], only: Annotated[audit.Filter, Depends(wanted)]
) -> Page[PredictionAnswer]:
    """The audit trail: every prediction that was answered, newest first."""
    with reading() as session:
        items, meta = audit.page(session, pages, only)
        return Page(items=items, meta=meta)


@router.get("/{prediction_id}", responses=errors(404))
def read_prediction(prediction_id: Identifier) -> PredictionAnswer:
    """One prediction of the audit trail, with its forecast and explanation where there were any."""
    with reading() as session:
        return audit.get(session, prediction_id)


@router.post("", responses=errors(400, 404, 503))
async def create_prediction(
    asked: PredictionRequest, caller: Annotated[Caller, Depends(caller_of)], state: Annotated[State, Depends(state_of)]
) -> PredictionAnswer:
    """Predict SoH and RUL of a battery, or of one cycle's samples.

    Without `model_id` the serving model of the algorithm answers: the best one so far on held-out cells.
    """
    (outcome,) = await state.predictor.predict([asked], caller.id)
    if isinstance(outcome, ApiError):
        raise outcome
    return outcome


@router.post("/batch", responses=errors(503))
async def create_predictions(
    request: Request,
    asked: BatchRequest,
    caller: Annotated[Caller, Depends(caller_of)],
    state: Annotated[State, Depends(state_of)],
) -> BatchAnswer:
    """Predict for up to 50 requests, answered in the order asked. A failed item has `{"error": …}` in its place."""
    outcomes = await state.predictor.predict(asked.requests, caller.id)
    away = [outcome for outcome in outcomes if isinstance(outcome, ServiceUnavailable)]
    if len(away) == len(outcomes):
        raise away[0]
    trace_id = trace_id_of(request.scope)
    return BatchAnswer(
        results=[
            FailedPrediction(error=outcome.body(trace_id)) if isinstance(outcome, ApiError) else outcome
            for outcome in outcomes
        ]
    )
