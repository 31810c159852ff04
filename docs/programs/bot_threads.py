"""A bot that acts only on an account that is right: ``python bot_threads.py [URL HTTP_URL]``."""

import os
import sys
from collections.abc import Callable

import topone_proto as top
from topone_threads import Account, open_account


def decide(account: Account) -> None:
    """Your strategy: called after every event while the account is whole."""


def follow(account: Account, decide: Callable[[Account], None]) -> None:
    for event in account:
        match event:
            case top.AggregatedFill(order=order, deal_stock=amount, price=price):
                print(f"order {order.id}: {amount} {order.stock} filled at {price:.8g}")
            case top.OutcomeUnknown(order=order):
                print(f"order {order.id}: not open any more, and nobody says how it ended")
            case top.Resynced(topic=topic, differences=missed):
                print(f"{topic}: whole; changes that HTTP told: {len(missed)}")
            case top.FetchFailed(problem=problem):
                print(f"no answer over HTTP: {problem}")
            case top.FetchDelayed(cause=cause, retry_in=wait):
                print(f"asks over HTTP in {wait:.0f} s at the earliest: {cause.value}")
            case _:
                pass
        if account.is_whole:
            decide(account)


def main(url: str = top.DEFAULT_URL, http_url: str = top.DEFAULT_HTTP_URL) -> None:
    keys = top.Credentials(os.getenv("TOPONE_APP_ID", ""), os.getenv("TOPONE_APP_KEY", ""))
    with open_account(keys, url=url, http_url=http_url) as account:
        follow(account, decide)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except top.TopOneError as error:
        sys.exit(f"the account has ended: {error}")
    except KeyboardInterrupt:
        pass
