"""Coverage-guided fuzzing of what a peer can send: ``python -m fuzz decode --minutes 20``."""
