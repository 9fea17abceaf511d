"""The rules of `canonicalize`, one module for each family of operators."""
