"""The bus of the relay on NATS JetStream: ``open_feed`` for consumers, ``connect`` for the
relay. Set it up: docs/relay-buses.md."""

try:
    from topone_nats._bus import NatsBus
    from topone_nats._connect import connect
    from topone_nats._feed import open_feed
    from topone_nats._streams import StreamLimits
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "nats":
        raise
    raise ImportError(
        'topone_nats needs nats-py: pip install "topone-proto[nats]"', name="nats"
    ) from None

__all__ = ["NatsBus", "StreamLimits", "connect", "open_feed"]
