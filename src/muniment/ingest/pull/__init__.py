"""Doors that fetch: files in S3-compatible buckets."""
