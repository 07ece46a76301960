//! Values and types on the wire and in state: msgpack and JSON, driven by type.
