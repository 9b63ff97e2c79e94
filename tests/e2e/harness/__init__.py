"""What the end-to-end tests stand on: private servers, a recording upstream, a private Redis, raw clients."""
