//! Value of the `X-Registry-Auth` header. Contacts no registry.
//!
//! [Authentication](https://docs.docker.com/reference/api/engine/version/v1.41/#section/Authentication)
use super::types::AuthConfig;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};

/// User name of Google's registries for a password that is a service account's key file.
const KEY_FILE_USER: &str = "_json_key";

/// The JSON of `auth` in padded base64url.
pub fn header_value(auth: &AuthConfig) -> String {
    let mut auth = auth.clone();
    if auth.username == KEY_FILE_USER {
        auth.password = key_file(&auth.password);
    }
    // Serialising strings cannot fail. `{}` would mean anonymous.
    let json = serde_json::to_vec(&auth).unwrap_or_else(|_| b"{}".to_vec());
    BASE64_URL_SAFE.encode(json)
}

/// The registry expects the key file's JSON. Callers often send it in base64, because JSON is awkward to quote: that is
/// decoded. A password that is not base64 of a JSON object is returned unchanged.
fn key_file(password: &str) -> String {
    let standard = |letter: char| match letter {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    let packed = password
        .chars()
        .filter(|letter| !letter.is_ascii_whitespace() && *letter != '=');
    let decoded = BASE64_STANDARD_NO_PAD.decode(packed.map(standard).collect::<String>());
    decoded
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| text.trim_start().starts_with('{'))
        .unwrap_or_else(|| password.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;

    fn decoded(username: &str, password: &str) -> serde_json::Value {
        let value = header_value(&AuthConfig {
            username: username.into(),
            password: password.into(),
            serveraddress: "https://gcr.io".into(),
            ..AuthConfig::default()
        });
        serde_json::from_slice(&BASE64_URL_SAFE.decode(value).unwrap()).unwrap()
    }

    #[test]
    fn fields_that_are_not_set_are_left_out() {
        assert_eq!(
            decoded("u", "p?>~"),
            serde_json::json!({"username": "u", "password": "p?>~", "serveraddress": "https://gcr.io"})
        );
        assert_eq!(
            header_value(&AuthConfig::default()),
            BASE64_URL_SAFE.encode("{}")
        );
    }

    #[test]
    fn a_base64_key_file_is_decoded_only_for_the_user_json_key() {
        let key = "{\"type\": \"service_account\"}\n";
        let packed = BASE64_STANDARD.encode(key);
        let wrapped = format!("{}\n{}\n", &packed[..8], &packed[8..]);
        let cases = [
            ("_json_key", packed.as_str(), key),
            ("_json_key", &wrapped, key),
            ("_json_key", key, key),
            ("_json_key", "c2VjcmV0", "c2VjcmV0"),
            ("_json_key_base64", &packed, &packed),
            ("someone", &packed, &packed),
        ];
        for (username, password, expected) in cases {
            assert_eq!(
                decoded(username, password)["password"],
                expected,
                "{username}"
            );
        }
    }
}
