"""What a command asks of a platform: signed in first, and a refusal is one line."""

import sys
from collections.abc import Callable

from rich.prompt import Prompt

from launch.accounts import DEMO_EMAIL, demo_password
from launch.commands import api_root, complain
from launch.display import console
from launch.platform_client import CallFailed, PlatformClient
from store.settings import Settings, get_settings


def calling(work: Callable[[PlatformClient], int], url: str, user: str, *, password_stdin: bool) -> int:
    """Exit status of ``work`` with a client of the platform at ``url``, this home's without; 1 where a call fails."""
    settings = get_settings()
    root = url.rstrip("/") or api_root(settings)
    client = PlatformClient(root if "://" in root else f"http://{root}")
    try:
        with client.http:
            client.sign_in(*account(settings, user, password_stdin=password_stdin))
            return work(client)
    except CallFailed as error:
        complain(str(error))
        return 1


def account(settings: Settings, user: str, *, password_stdin: bool) -> tuple[str, str]:
    """Address and password to sign in with; what is not known is asked for."""
    has_demo = (settings.var / "demo_password").exists()
    email = user or settings.admin_email or (DEMO_EMAIL if has_demo else Prompt.ask("User", console=console))
    if password_stdin:
        return email, sys.stdin.readline().rstrip("\r\n")
    if settings.admin_password and email == settings.admin_email:
        return email, settings.admin_password.get_secret_value()
    if email == DEMO_EMAIL and has_demo:
        return email, demo_password(settings.var)
    return email, Prompt.ask(f"Password of {email}", password=True, console=console)
