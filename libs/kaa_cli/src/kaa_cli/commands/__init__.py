"""The management commands: one module a noun, each a table of its verbs."""
