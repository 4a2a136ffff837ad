"""Point clouds and meshes from and to files."""
