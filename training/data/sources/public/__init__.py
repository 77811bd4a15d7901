"""Data sets that others have published, a file each."""
