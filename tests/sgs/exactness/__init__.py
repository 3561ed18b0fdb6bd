"""The table of docs/exactness.md: every kind of encoder in every setting."""
