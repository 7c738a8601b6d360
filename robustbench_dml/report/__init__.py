"""Tables, comparisons and figures of records."""
