"""What a reconstruction is like: distances to a reference, colours, pictures, pages."""
