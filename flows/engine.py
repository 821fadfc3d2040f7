"""Starts one flow run as Prefect's own engine does, while what the flow will need is imported beside it.

``python -m flows.engine [--import MODULE]``: the command of the deployments in ``prefect.yaml``. Prefect reads the
run's id from the environment. Fetching the run and reporting that it runs takes several requests; importing torch and
Lightning takes seconds: doing both at once is what makes a job's first epoch come early.
"""

import argparse
import importlib
import logging
import os
import runpy
import sys
import threading

from flows import held_runs
from flows.output import outlive_reader


def main(arguments: list[str]) -> None:
    """Import in the background, run the engine in the main thread, as signal handlers want it."""
    parser = argparse.ArgumentParser(prog="python -m flows.engine")
    parser.add_argument("--import", dest="module", help="module to import in the background")
    module: str | None = parser.parse_args(arguments).module
    outlive_reader()  # before Prefect's consoles take hold of it
    import prefect.flow_engine  # noqa: F401 - before the thread starts: two threads in one library's circular imports deadlock

    logging.getLogger("prefect.flow_runs").addFilter(is_no_cancellation)
    if module is not None:
        threading.Thread(target=importlib.import_module, args=(module,), name="imports", daemon=True).start()
    sys.argv = ["prefect.engine"]  # the engine would take an argument for a run's id
    with held_runs.held(os.environ["PREFECT__FLOW_RUN_ID"]):
        runpy.run_module("prefect.engine", run_name="__main__")


def is_no_cancellation(record: logging.LogRecord) -> bool:
    """Keep all but the traceback that the engine logs as an error when a flow says of itself that it was cancelled."""
    from prefect.exceptions import CancelledRun

    return not (record.exc_info and isinstance(record.exc_info[1], CancelledRun))


if __name__ == "__main__":
    main(sys.argv[1:])
