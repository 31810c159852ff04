"""Publish an account's changes on ZeroMQ: ``python recipe_zmq.py ADDRESS [URL HTTP_URL]``."""

import json
import os
import sys
from contextlib import suppress

import zmq

from topone_proto import DEFAULT_HTTP_URL, DEFAULT_URL, Credentials
from topone_proto.plain import plain_of
from topone_threads import open_account


def main(address: str, url: str = DEFAULT_URL, http_url: str = DEFAULT_HTTP_URL) -> None:
    keys = Credentials(os.environ["TOPONE_APP_ID"], os.environ["TOPONE_APP_KEY"])
    with (
        zmq.Context() as context,
        context.socket(zmq.PUB) as socket,
        open_account(keys, url=url, http_url=http_url) as account,
    ):
        socket.bind(address)
        for change in account:
            body = {"whole": account.is_whole, **plain_of(change)}
            # The name of the event comes first, so that a reader can subscribe to some.
            socket.send_multipart([type(change).__name__.encode(), json.dumps(body).encode()])


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
