"""The services there are, in the order in which they start together: each after what it asks."""

SERVICE_NAMES = ("tekton", "creds", "epr", "tsx", "kpc")
"""Each is a package with an `app` module whose SERVICE it is."""
