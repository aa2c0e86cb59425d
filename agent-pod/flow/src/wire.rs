//! Protobuf forms of what goes over the wire (to be written).
