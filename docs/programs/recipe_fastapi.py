"""An account behind a web service: ``uvicorn --factory recipe_fastapi:create_app``."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response

from topone_asyncio import Account, open_account
from topone_proto import DEFAULT_HTTP_URL, DEFAULT_URL, Credentials
from topone_proto.plain import plain_of


def create_app(url: str = DEFAULT_URL, http_url: str = DEFAULT_HTTP_URL) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        keys = Credentials(os.environ["TOPONE_APP_ID"], os.environ["TOPONE_APP_KEY"])
        async with open_account(keys, url=url, http_url=http_url) as account:
            app.state.account = account
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/ready")
    async def ready(request: Request, response: Response) -> dict[str, bool]:
        account: Account = request.app.state.account
        response.status_code = 200 if account.is_whole else 503
        return {"whole": account.is_whole}

    @app.get("/balances")
    async def balances(request: Request) -> dict[str, Any]:
        account: Account = request.app.state.account
        reading = account.balances()
        return {"knowledge": reading.knowledge.value, "balances": plain_of(dict(reading.value))}

    return app
