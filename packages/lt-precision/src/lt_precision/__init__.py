"""Number formats for lt: half, double, mixed, 8-bit floating point and quantised weights."""
