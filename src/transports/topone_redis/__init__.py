"""The bus of the relay on Redis or Valkey streams."""
