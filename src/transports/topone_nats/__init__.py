"""The bus of the relay on NATS JetStream."""
