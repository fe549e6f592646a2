"""The commands of `gsa`: one module a command, each a thin function over the library."""
