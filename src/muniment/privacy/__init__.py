"""Secrets found and removed, personal parts sealed under one key a person, and the erasure of such a key."""
