"""``battery demo``: the stack, and the tutorial on it."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from batteries import samples
from launch import accounts, health, lock
from launch.commands import INTERRUPTED, api_root, complain, say
from launch.display import StartProgress, addresses, console
from launch.failures import StartFailed
from launch.files import make_whole
from launch.parts import embedded_parts
from launch.platform_client import CallFailed, PlatformClient
from launch.stack import Stack, running
from launch.tutorial import Tutorial
from store import migrations
from store.files import private_folder
from store.settings import Settings, get_settings

OTHERS_START_S = 240
YOUNG_SEED, YOUNG_CYCLES = 1, 60


def synthetic_files(settings: Settings) -> tuple[Path, Path]:
    """MAT-files with a synthetic cell's whole life and another one's youth, kept for the user's own tries."""
    folder = private_folder(settings.var / "demo")
    whole, young = folder / "synthetic_cell.mat", folder / "younger_synthetic_cell.mat"
    if not whole.exists():
        make_whole(whole, lambda draft: samples.write_mat(samples.synthetic_cell(), draft))
    if not young.exists():
        life = samples.synthetic_cell(seed=YOUNG_SEED)
        youth = dataclasses.replace(life, cycles=life.cycles[:YOUNG_CYCLES])
        make_whole(young, lambda draft: samples.write_mat(youth, draft))
    return whole, young


@contextlib.contextmanager
def stack_or_others(settings: Settings, progress: StartProgress) -> Iterator[Stack | None]:
    """The stack of this home: this process's own, or None where another one runs it already."""
    with contextlib.ExitStack() as until_end:
        try:
            own = until_end.enter_context(running(settings, progress, say))
        except lock.AlreadyRunning as other:
            say(f"using what runs already (process {other.pid})")
            wait_until_healthy(settings)
            yield None
            return
        progress.stop()
        yield own


def wait_until_healthy(settings: Settings) -> None:
    """Wait for a start by another process. Raises StartFailed."""
    deadline = time.monotonic() + OTHERS_START_S
    with health.client() as http:
        while not all(health.works(http, settings, part, 0) for part in embedded_parts(settings)):
            if time.monotonic() > deadline:
                raise StartFailed("the stack that runs already does not work; see `battery status`")
            time.sleep(0.5)


def run_demo(file: Path | None, epochs: int, *, exit_after: bool) -> int:
    """Start what does not run, walk through the tutorial, stay until Ctrl-C if asked. Gives the exit status."""
    settings = get_settings()
    progress = StartProgress()
    done = False
    try:
        with stack_or_others(settings, progress) as own:
            walk(settings, file, epochs)
            done = True
            console.print()
            console.print(addresses(settings, api_root(settings)))
            if exit_after or own is None:
                return 0
            say("\nSign in there with the account above. Everything stays up until Ctrl-C.")
            own.watch(say)
    except CallFailed as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 0 if done else INTERRUPTED
    finally:
        progress.stop()
    return 0


def walk(settings: Settings, file: Path | None, epochs: int) -> None:
    """The tutorial, as the demo account. Raises CallFailed."""
    migrations.upgrade()
    password = accounts.ensure_demo_user(settings)
    first, second = (file, None) if file else synthetic_files(settings)
    console.print("\n[bold]The tutorial[/bold]\n")
    client = PlatformClient(api_root(settings))
    Tutorial(client, first, second, synthetic=file is None, epochs=epochs).run(accounts.DEMO_EMAIL, password)
