"""Look after data sets."""
