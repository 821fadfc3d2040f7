"""Pages of things: ``{"items": […], "meta": {…}}``."""

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from api.responses import LARGEST_ID, Schema

Item = TypeVar("Item")
Row = TypeVar("Row")

LARGEST_PAGE = LARGEST_ID // 100  # so that no offset leaves what a database can count


class Meta(Schema):
    """Where a page lies among all."""

    page: int = Field(examples=[1])
    page_size: int = Field(examples=[20])
    total: int = Field(description="Things on all pages.", examples=[124])
    total_pages: int = Field(examples=[7])


class Page(Schema, Generic[Item]):
    """One page. A page past the end is an empty list."""

    items: list[Item]
    meta: Meta


class Paging(BaseModel):
    """Which page is asked for."""

    page: int
    page_size: int

    @property
    def offset(self) -> int:
        """Things before this page."""
        return (self.page - 1) * self.page_size

    def meta(self, total: int) -> Meta:
        """Of this page, when there are ``total`` things."""
        pages = -(-total // self.page_size)
        return Meta(page=self.page, page_size=self.page_size, total=total, total_pages=pages)


PageNumber = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Page number, from 1.")]
PageSize = Annotated[int, Query(ge=1, le=100, description="Things per page.")]


async def paging(page: PageNumber = 1, page_size: PageSize = 20) -> Paging:
    """Dependency: pages of 20."""
    return Paging(page=page, page_size=page_size)


async def paging_of_logs(page: PageNumber = 1, page_size: PageSize = 50) -> Paging:
    """Dependency: pages of 50."""
    return Paging(page=page, page_size=page_size)


async def paging_if_asked(page: PageNumber | None = None, page_size: PageSize | None = None) -> Paging | None:
    """Dependency: a page when either is given."""
    return Paging(page=page or 1, page_size=page_size or 20) if page or page_size else None


def page_of(session: Session, query: Select[tuple[Row]], paging: Paging) -> tuple[list[Row], Meta]:
    """The rows of one page of ``query``, which must be ordered, and where it lies."""
    total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
    rows = session.scalars(query.offset(paging.offset).limit(paging.page_size)).all()
    return list(rows), paging.meta(total)
