"""``/auth``: tokens in, tokens out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import StringConstraints

from api.auth import service
from api.auth.schemas import AccessToken, Account
from api.authentication import BASE, COOKIE, Caller, caller_of
from api.documentation import bearer_scheme, errors
from api.responses import PRINTABLE
from api.state import State, state_of
from store import users

router = APIRouter(prefix="/auth", tags=["auth"])
COOKIE_PATH = f"{BASE}/training-jobs"  # where the sockets are; the cookie is honoured for them alone
LONGEST_PASSWORD = 1024
Address = Annotated[str, StringConstraints(max_length=320), PRINTABLE]


@router.post("/token", responses=errors(401, 422, 429, authenticated=False), openapi_extra={"security": []})
async def create_token(
    request: Request,
    response: Response,
    state: Annotated[State, Depends(state_of)],
    username: Annotated[Address, Form(description="E-mail address.", examples=["user@example.com"])],
    password: Annotated[str, Form(max_length=LONGEST_PASSWORD, json_schema_extra={"format": "password"})],
) -> AccessToken:
    """Sign in (OAuth2 password flow). Also sets the session cookie that lets a browser open the progress WebSocket."""
    state.limits.login(users.normalised(username), request.client.host if request.client else "")
    token = await service.sign_in(
        username, password, settings=state.settings, key=state.secret_key, hashing=state.hashing
    )
    response.set_cookie(
        COOKIE,
        token,
        max_age=state.settings.token_lifetime_s,
        path=COOKIE_PATH,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return AccessToken(access_token=token, expires_in=state.settings.token_lifetime_s)


@router.get("/me", responses=errors(), dependencies=[Depends(bearer_scheme)])
async def read_me(caller: Annotated[Caller, Depends(caller_of)]) -> Account:
    """The account that the token belongs to."""
    return Account(id=caller.id, username=caller.email, email=caller.email, created_at=caller.created_at)


@router.post("/logout", status_code=204, responses=errors(), dependencies=[Depends(bearer_scheme)])
def delete_token(request: Request, response: Response, caller: Annotated[Caller, Depends(caller_of)]) -> None:
    """Sign out: this token is refused from then on, and the session cookie is cleared."""
    service.sign_out(caller.token)
    response.delete_cookie(
        COOKIE, path=COOKIE_PATH, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
