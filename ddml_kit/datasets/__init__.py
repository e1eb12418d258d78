"""The data that ship with the kit, and the scripts that made them; see README.md beside this."""
