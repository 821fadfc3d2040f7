"""``/data-versions``: the states of the data set that DVC keeps."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.data_versions import service
from api.data_versions.schemas import DataVersionAnswer
from api.documentation import bearer_scheme, errors
from api.pagination import Page, Paging, paging
from api.responses import Identifier
from store.session import reading

router = APIRouter(prefix="/data-versions", tags=["data versions"], dependencies=[Depends(bearer_scheme)])


@router.get("", responses=errors())
def list_data_versions(pages: Annotated[Paging, Depends(paging)]) -> Page[DataVersionAnswer]:
    """Versions of the data set, the newest state first.

    One is made after every upload, change or deletion; those that come close together share one. Going back to one is
    the operator's: `battery data checkout`.
    """
    with reading() as session:
        items, meta = service.page(session, pages)
    return Page(items=items, meta=meta)


@router.get("/{data_version_id}", responses=errors(404))
def read_data_version(data_version_id: Identifier) -> DataVersionAnswer:
    """One version of the data set."""
    with reading() as session:
        return service.get(session, data_version_id)
