"""``/models``: what was registered, its file, and letting go of it."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from api.documentation import bearer_scheme, errors
from api.models import monitoring, service
from api.models.schemas import Monitoring, RegisteredModel
from api.pagination import Page, Paging, paging
from api.responses import Identifier
from api.state import State, state_of
from api.training_jobs.schemas import Algorithm
from store.session import reading, transaction
from store.tables import Model

router = APIRouter(prefix="/models", tags=["models"], dependencies=[Depends(bearer_scheme)])
BINARY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.get("", responses=errors())
def list_models(
    pages: Annotated[Paging, Depends(paging)],
    algorithm: Annotated[Algorithm | None, Query(description="Only models of this kind.")] = None,
) -> Page[RegisteredModel]:
    """Registered models, newest first."""
    with reading() as session:
        rows, meta = service.page(session, pages, algorithm)
        return Page(items=[RegisteredModel.model_validate(row) for row in rows], meta=meta)


@router.get("/{model_id}", responses=errors(404))
def read_model(model_id: Identifier) -> RegisteredModel:
    """One model."""
    with reading() as session:
        return RegisteredModel.model_validate(service.get(session, model_id))


@router.get("/{model_id}/download", response_class=StreamingResponse, responses={200: BINARY, **errors(404, 503)})
async def download_model(model_id: Identifier, state: Annotated[State, Depends(state_of)]) -> StreamingResponse:
    """The model's file: weights, scalers and calibration. Load it with `torch.load(path, weights_only=True)`."""

    def find() -> Model:
        with reading() as session:
            return service.get(session, model_id)

    model = await run_sync(find)
    name = f"model_{model.id}_{model.algorithm}.pth"
    return StreamingResponse(
        await state.artifacts.open(model.artifact_path),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(model.file_size)},
    )


@router.get("/{model_id}/monitoring", responses=errors(404))
def monitor_model(
    model_id: Identifier,
    state: Annotated[State, Depends(state_of)],
    weeks: Annotated[int, Query(ge=1, le=104, description="Weeks back, this one included.")] = 12,
) -> Monitoring:
    """What became of the model's predictions, by week: error, coverage of the intervals, drift of what it is asked."""
    with reading() as session:
        return monitoring.monitoring(session, service.get(session, model_id), state.settings.data, weeks)


@router.delete("/{model_id}", status_code=204, responses=errors(404, 409))
async def delete_model(model_id: Identifier, state: Annotated[State, Depends(state_of)]) -> None:
    """Delete a model. 409 while a job of its algorithm trains, which is compared with it, or a prediction uses it."""

    def find() -> Model:
        with reading() as session:
            return service.get(session, model_id)

    def hide() -> None:
        with transaction() as session:
            service.delete(session, model_id, state.in_flight)

    model = await run_sync(find)
    if await state.serving.uses(model.algorithm, model.mlflow_version):  # for whichever process of the API
        raise service.in_use_by_prediction(model_id)
    await run_sync(hide)
    state.outbox.remove(model_id)
