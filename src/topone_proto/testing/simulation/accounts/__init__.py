"""Accounts that processes follow by themselves: sessions with a token service and HTTP."""
