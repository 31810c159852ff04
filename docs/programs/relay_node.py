"""A relay: follows an account and publishes it on a bus. Of two machines that run it one stands by.
The key pair is in TOPONE_APP_ID and TOPONE_APP_KEY: ``python relay_node.py NODE BUS``."""

import asyncio
import os
import sys

import topone_nats
from topone_proto import DEFAULT_HTTP_URL, DEFAULT_URL, Credentials, TopOneError
from topone_relay import AccountEntry, Node


def note(account: str | None, event: object) -> None:
    print(account or "this node", event)


async def main(
    node: str, bus: str, url: str = DEFAULT_URL, http_url: str = DEFAULT_HTTP_URL
) -> None:
    keys = Credentials(os.environ.get("TOPONE_APP_ID", ""), os.environ.get("TOPONE_APP_KEY", ""))
    account = AccountEntry(name="main", credentials=keys, url=url, http_url=http_url)
    async with topone_nats.connect(bus) as at, Node(at, [account], name=node, report=note):
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except TopOneError as error:
        sys.exit(f"the relay has ended: {error}")
    except KeyboardInterrupt:
        pass
