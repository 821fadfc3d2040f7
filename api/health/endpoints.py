"""``GET /health`` and ``GET /version``: public, for supervisors and load balancers."""

from fastapi import APIRouter

from api.documentation import errors
from api.health import service
from api.health.schemas import Health, Version

router = APIRouter(tags=["health"])


@router.get("/health", responses=errors(503, authenticated=False), openapi_extra={"security": []})
def read_health() -> Health:
    """Whether the API and its database answer."""
    service.check_database()
    return Health()


@router.get("/version", openapi_extra={"security": []})
def read_version() -> Version:
    """Which release answers."""
    return Version(version=service.release())
