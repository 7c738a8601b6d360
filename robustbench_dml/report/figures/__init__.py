"""Figures of records and of reported results, for screen and paper."""
