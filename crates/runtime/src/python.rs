//! `inference.py`, behind a template process that forks workers.
