"""What is printed and drawn of rows."""
