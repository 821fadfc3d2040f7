"""Accounts made from the command line and at start."""

import secrets
from pathlib import Path

from launch.files import make_whole
from store import migrations, users
from store.session import transaction
from store.settings import Settings

DEMO_EMAIL = "demo@battery.local"


def add_user(email: str, password: str) -> str:
    """Make an account; the address as it is kept. Raises store.users.AccountError."""
    migrations.upgrade()
    with transaction() as session:
        return users.add(session, email, password).email


def ensure_user(email: str, password: str) -> None:
    """Make an account that does not exist yet; one that does is left as it is."""
    with transaction() as session:
        users.ensure(session, email, password)


def ensure_admin(settings: Settings) -> None:
    """The account of BATTERY_ADMIN_EMAIL and BATTERY_ADMIN_PASSWORD, when both are set."""
    if settings.admin_email and settings.admin_password:
        ensure_user(settings.admin_email, settings.admin_password.get_secret_value())


def demo_password(var: Path) -> str:
    """The demo account's password: made once, kept in a file that only this user can read."""
    file = var / "demo_password"
    if not file.exists():
        make_whole(file, lambda draft: draft.write_text(secrets.token_urlsafe(12) + "\n"))
    return file.read_text().strip()


def ensure_demo_user(settings: Settings) -> str:
    """The demo account exists; gives its password."""
    password = demo_password(settings.var)
    ensure_user(DEMO_EMAIL, password)
    return password
