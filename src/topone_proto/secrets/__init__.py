"""Secrets: the API token, and its removal from every text."""
