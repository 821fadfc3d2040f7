"""``python -m api``: the API in one process, on the address of the settings."""

import sys

from api.memory import keep_small


def main() -> int:
    """Serve until told to stop. 2 when the settings do not allow it."""
    keep_small()
    from api.server import serve  # it loads Arrow, which must find its allocator chosen

    return serve()


if __name__ == "__main__":
    sys.exit(main())
