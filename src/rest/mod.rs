//! REST resources.
