//! Whatever the edge admits, tiny_http must take at once: a head it refused would hold everybody up.
