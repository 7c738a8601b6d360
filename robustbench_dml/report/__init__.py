"""What is shown of records: tables and plots."""
