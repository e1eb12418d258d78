"""Inner loops that are compiled. They live in modules, or numba could not cache them."""
