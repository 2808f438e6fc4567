"""What people look at: tables, pictures and comparisons of logged rows; light, no torch."""
