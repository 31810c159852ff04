"""What every adapter shares: session, delivery buffer, waiters and driver. No event loop."""
