"""The API in one process, on the address of the settings."""

import logging
import sys

import uvicorn

from api.app import create_app
from api.auth.tokens import WeakKey
from store import migrations
from store.settings import get_settings


def serve() -> int:
    """Serve until told to stop. 2 when the settings do not allow it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = get_settings()
    try:
        app = create_app(settings)
    except WeakKey as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it
        return 2
    migrations.upgrade()
    # Uvicorn logs the whole address of a socket, token and all; api.tracing writes the access log instead.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=64 * 1024,
        timeout_graceful_shutdown=5,
    )
    return 0
