"""What results set off: a condition over time, and what is done when it holds. No numpy and no pillow here."""
