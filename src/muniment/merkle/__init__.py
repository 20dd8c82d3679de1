"""Tree hashing, inclusion and consistency proofs, tiles, signed notes and checkpoints, as RFC 6962 and C2SP write them; pure."""
