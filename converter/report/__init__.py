"""`report.html`: one file that explains a conversion."""
