"""Evidence files, and the verifier that needs nothing but the file and a pinned key (one dependency: signatures)."""
