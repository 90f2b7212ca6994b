"""The options of each verb, as types."""
