"""The other side, for tests, demonstrations and simulation, written from the exchange's pages."""
