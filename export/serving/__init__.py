"""Scoring of a stream of rows that are related by shared keys: counters, scores, and lines of JSON."""
