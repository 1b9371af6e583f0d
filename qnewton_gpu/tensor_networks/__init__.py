"""Gate programs as tensor networks: one description, made of arrays and index numbers, for every engine."""
