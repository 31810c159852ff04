"""An account on uvloop: ``python recipe_uvloop.py [URL HTTP_URL]``."""

import asyncio
import os
import sys
from contextlib import suppress

import uvloop

from topone_asyncio import open_account
from topone_proto import DEFAULT_HTTP_URL, DEFAULT_URL, Credentials


async def main(url: str = DEFAULT_URL, http_url: str = DEFAULT_HTTP_URL) -> None:
    keys = Credentials(os.environ["TOPONE_APP_ID"], os.environ["TOPONE_APP_KEY"])
    async with open_account(keys, url=url, http_url=http_url) as account:
        await account.wait_until_whole(60)
        print(type(asyncio.get_running_loop()).__module__, len(account.open_orders().value))


if __name__ == "__main__":
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with suppress(KeyboardInterrupt), runner:
        runner.run(main(*sys.argv[1:]))
