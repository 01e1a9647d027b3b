//! `X-Registry-Auth`: base64url JSON of an [`super::AuthConfig`].
