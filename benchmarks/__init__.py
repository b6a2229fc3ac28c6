"""Speed and quality, each one command; `bars.toml` lists what the project promises."""
