//! The only file that touches `ureq::unversioned`.
