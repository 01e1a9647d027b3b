//! Checks `extra_hosts`: lines of `/etc/hosts`.

use crate::runner::request::check::Check;
use crate::runner::request::kernel_limits::MOST_NAME_BYTES;
use std::net::{IpAddr, Ipv6Addr};

/// The rule for a host's name, in the words of a fault; see [`is_host_name`].
const HOST_NAME_RULE: &str = "expected a host name: letters, digits, '-', '_' and single dots, not starting with '-' or '.', at most 255 bytes";

/// Whether a name can be looked up as a host's. Letters of every script may be in it, and `_`, as in Docker.
fn is_host_name(name: &str) -> bool {
    let is_valid = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    (1..=MOST_NAME_BYTES).contains(&name.len())
        && !name.starts_with(['-', '.'])
        && !name.contains("..")
        && name.chars().all(is_valid)
}

impl Check<'_> {
    /// Checks pairs of host and address. Returns them as `host:address`.
    pub(crate) fn extra_hosts(&mut self, hosts: Vec<(String, String)>) -> Vec<String> {
        let mut checked = Vec::with_capacity(hosts.len());
        for (host, address) in hosts {
            let unbracketed = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
            let address = unbracketed.unwrap_or(&address);
            let is_address = match unbracketed {
                Some(address) => address.parse::<Ipv6Addr>().is_ok(),
                None => address == "host-gateway" || address.parse::<IpAddr>().is_ok(),
            };
            let fault = match (is_host_name(&host), is_address) {
                (true, true) => None,
                (true, false) => {
                    Some("expected an IP address (or host-gateway) for this host name")
                }
                (false, _) => Some(HOST_NAME_RULE),
            };
            if let Some(msg) = fault {
                self.reader
                    .within("extra_hosts", |reader| reader.fault_at(&host, msg));
            }
            checked.push(format!("{host}:{address}"));
        }
        checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_one_that_can_be_looked_up() {
        for name in [
            "a",
            "my_host",
            "a-b.c",
            "db.",
            "1",
            "b\u{fc}cher.example",
            "1.2.3.4",
        ] {
            assert!(is_host_name(name), "{name}");
        }
        for name in [
            "",
            " ",
            "a b",
            "a ",
            "a\tb",
            "a#b",
            "a/b",
            "a:b",
            "a=b",
            "a,b",
            "*",
            "*.a",
            "a\0",
            "-a",
            ".a",
            "a..b",
            "http://a",
            "[::1]",
            "a\u{a0}b",
            "a\u{200b}b",
            "a@b",
        ] {
            assert!(!is_host_name(name), "{name:?}");
        }
    }
}
