"""The exchange's wire: frames and HTTP bodies to values and back. Total, stateless, no I/O."""
