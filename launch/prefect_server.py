"""Prefect's server, whose garbage is collected in a thread of its own. ``python -m launch.prefect_server --port 4200``.

On SQLite its event loop could stand still for a minute, and every run with it. A cursor that is part of a cycle is
finalised wherever Python happens to collect, which was mostly the event loop; finalising waits for the cursor's
connection; that connection waits for the database's lock; and who has the lock waits for the event loop, until the
busy timeout (60 s, fixed in Prefect) ends it. A thread that waits there holds up nobody.
"""

import gc
import runpy
import sys
import threading
import time

YOUNG_EVERY_S = 1.0
ALL_EVERY = 60  # times that


def collect() -> None:
    """Collect garbage for ever, everything now and then."""
    turn = 0
    while True:
        time.sleep(YOUNG_EVERY_S)
        turn += 1
        gc.collect(2 if turn % ALL_EVERY == 0 else 1)


def main() -> None:
    """Be ``prefect server start`` with this command's arguments."""
    gc.disable()
    threading.Thread(target=collect, name="garbage", daemon=True).start()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
