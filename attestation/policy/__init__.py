"""What a relying party accepts: values, their TOML, releases, drafts, and words for people."""
