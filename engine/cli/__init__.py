"""The commands, one file per group by meaning. Modules here import only what `--help` needs; whatever a command works with is
imported inside it, so that help and the morning's `status` come at once."""
