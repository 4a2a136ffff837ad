"""From the fitted function to the mesh: corrections, handle removal, marching cubes by bricks, topology."""
