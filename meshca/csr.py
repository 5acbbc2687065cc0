"""Certificate signing requests: parsed eagerly, in this one place."""
