"""The JSON API under /api/v1: searches, records and their proofs, sources, operation. Described by OpenAPI."""
