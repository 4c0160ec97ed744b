"""Synthetic operations text: log lines of small machines, and questions about them with one right answer each."""
