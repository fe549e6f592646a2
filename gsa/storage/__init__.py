"""Episodes on disk and in memory, and the windows that training draws from them."""
