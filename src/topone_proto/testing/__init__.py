"""Tools to test this project and whatever is built on it. Shipped, and never imported by the
rest."""
