"""Where the strategies were before they were shipped."""

from topone_proto.testing.strategies import events

__all__ = ["events"]
