"""``/predictions``: how healthy, how long still, how sure; and what was answered before."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from api.authentication import Caller, caller_of
from api.documentation import bearer_scheme, errors
from api.errors import ApiError, trace_id_of
from api.pagination import Page, Paging, paging
from api.predictions import service
from api.predictions.schemas import (
    BatchAnswer,
    BatchRequest,
    FailedPrediction,
    PredictionAnswer,
    PredictionRequest,
)
from api.quick_json import QuickRoute
from api.state import State, state_of
from store.session import reading

router = APIRouter(
    prefix="/predictions", tags=["predictions"], route_class=QuickRoute, dependencies=[Depends(bearer_scheme)]
)


@router.get("", responses=errors())
def list_predictions(pages: Annotated[Paging, Depends(paging)]) -> Page[PredictionAnswer]:
    """The audit trail: every prediction that was answered, newest first."""
    with reading() as session:
        items, meta = service.page(session, pages)
        return Page(items=items, meta=meta)


@router.post("", responses=errors(400, 404, 503))
async def create_prediction(
    asked: PredictionRequest, caller: Annotated[Caller, Depends(caller_of)], state: Annotated[State, Depends(state_of)]
) -> PredictionAnswer:
    """Predict SoH and RUL of a battery, or of one cycle's samples.

    Without `model_id` the serving model of the algorithm answers: the best one so far on held-out cells.
    """
    (outcome,) = await service.predict(
        [asked], user_id=caller.id, data=state.settings.data, serving=state.serving, in_flight=state.in_flight
    )
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
    outcomes = await service.predict(
        asked.requests, user_id=caller.id, data=state.settings.data, serving=state.serving, in_flight=state.in_flight
    )
    trace_id = trace_id_of(request.scope)
    return BatchAnswer(
        results=[
            FailedPrediction(error=outcome.body(trace_id)) if isinstance(outcome, ApiError) else outcome
            for outcome in outcomes
        ]
    )
