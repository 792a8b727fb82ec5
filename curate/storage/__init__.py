"""Bytes and where they lie: paths on disk and object stores, the run folder, Parquet, the lease, the response log."""
