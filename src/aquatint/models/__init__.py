"""Networks and backbones: modules with flat arguments."""
