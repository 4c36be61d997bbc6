"""The pure core: values in, values out. No sockets, no files, no database, no clock."""
