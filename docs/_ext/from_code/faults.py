"""A table of the faults of the simulated exchange, from their classes."""

from typing import Any, Final, get_args

from from_code.tables import TableDirective, summary, table
from topone_cli._faults import FAULTS
from topone_proto.exchange import HttpFault

__all__ = ["DIRECTIVES"]


class Faults(TableDirective):
    """``fault-table``: the faults of the WebSocket or those of HTTP, as a script spells them."""

    required_arguments = 1

    def text(self) -> str:
        is_http = self.arguments[0] == "http"
        of_http = get_args(HttpFault)
        return table(
            ("in a script", "class", "what it does"),
            (
                (f"`{name}`", _link(cls), summary(cls))
                for name, cls in FAULTS.items()
                if (cls in of_http) is is_http
            ),
        )


def _link(cls: type[Any]) -> str:
    return f"{{class}}`~{cls.__module__}.{cls.__qualname__}`"


DIRECTIVES: Final = {"fault-table": Faults}
