"""Accounts that are relayed: machines that hold a lease on a bus, and those that read there."""
