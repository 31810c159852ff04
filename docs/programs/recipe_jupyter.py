"""A notebook's cells: an account that goes on living between them."""
# A notebook shows what the last line of a cell is.
# pyright: reportUnusedExpression=false

# %%
import os
from contextlib import ExitStack

import topone_threads
from topone_proto import DEFAULT_HTTP_URL, DEFAULT_URL, Credentials

keys = Credentials(os.environ["TOPONE_APP_ID"], os.environ["TOPONE_APP_KEY"])
url = os.environ.get("TOPONE_URL", DEFAULT_URL)
http_url = os.environ.get("TOPONE_HTTP_URL", DEFAULT_HTTP_URL)

opened = ExitStack()
account = opened.enter_context(topone_threads.open_account(keys, url=url, http_url=http_url))
account.wait_until_whole(60)

# %%
{name: balance.available for name, balance in account.balances().value.items()}

# %%
account.is_whole, account.open_orders().value

# %%
opened.close()
