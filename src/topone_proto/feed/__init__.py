"""The common part of all adapters: session, delivery buffer, waiters and driver. No event loop."""
