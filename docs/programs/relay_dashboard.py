"""A dashboard in plain threads: the balances of an account, and whether they are right:
``python relay_dashboard.py BUS``."""

import sys
from collections.abc import Callable

from topone_nats import open_feed
from topone_proto import BALANCE, TopOneError
from topone_proto.account import Account


def draw(account: Account) -> str:
    balances = account.balances().value
    rows = (f"{name} {balances[name].available} + {balances[name].freeze}" for name in balances)
    return f"{account.knowledge(BALANCE).value}: {', '.join(sorted(rows)) or 'nothing yet'}"


def main(bus: str, show: Callable[[str], object] = print, every: float = 0.5) -> None:
    account = Account()
    with open_feed(bus, account="main") as feed:
        drawn = ""
        while True:
            try:
                account.apply(feed.get(every))
            except TimeoutError:
                # Nothing more waits: time to draw.
                if draw(account) != drawn:
                    drawn = draw(account)
                    show(drawn)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except TopOneError as error:
        sys.exit(f"the feed has ended: {error}")
    except KeyboardInterrupt:
        pass
