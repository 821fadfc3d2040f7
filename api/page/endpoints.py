"""The page at ``/`` and the documentation at ``/docs``: static files, a route each, so that each is listed public."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)
HERE = Path(__file__).parent
SWAGGER = Path(fastapi_offline.__file__).parent / "static"
FILES = {
    "/": HERE / "page.html",
    "/page/page.js": HERE / "page.js",
    "/page/page.css": HERE / "page.css",
    "/docs": HERE / "docs.html",
    "/docs/start.js": HERE / "docs.js",
    "/docs/swagger-ui-bundle.js": SWAGGER / "swagger-ui-bundle.js",
    "/docs/swagger-ui.css": SWAGGER / "swagger-ui.css",
    "/docs/favicon.png": SWAGGER / "favicon.png",
}


def _serve(path: str, file: Path) -> None:
    @router.get(path, name=path)
    async def read_file() -> FileResponse:
        return FileResponse(file)


for _path, _file in FILES.items():
    _serve(_path, _file)
