"""What a MAT-file may declare before any of it is read."""

MAX_DECLARED_BYTES = 1024**3  # of all arrays together once inflated; ten times the largest upload
MAX_OBJECTS = 2_000_000
MAX_DEPTH = 16  # of groups, structs and cells inside each other
LONGEST_TEXT = 4096  # characters
LONGEST_CLASS = 4096  # characters of the name of an object's class, in v7.3
