"""The points before the fit: checked, in a unit frame, with local planes whose normals are turned outwards."""
