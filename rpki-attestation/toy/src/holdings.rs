//! What a certificate holds, and when it is valid.

use std::fmt::Write as _;

use crate::openssl::{DAY, now};

/// Resources of a certificate, in the notation of OpenSSL: `64496-64499` or `inherit`.
#[derive(Clone, Debug)]
pub struct Holdings {
    asns: Option<String>,
    addresses: Vec<String>,
}

impl Holdings {
    pub fn new(asns: &str, ipv4: &[&str], ipv6: &[&str]) -> Self {
        let of = |family: &'static str| move |prefix: &&str| format!("{family}:{prefix}");
        Self {
            asns: (!asns.is_empty()).then(|| asns.to_owned()),
            addresses: ipv4
                .iter()
                .map(of("IPv4"))
                .chain(ipv6.iter().map(of("IPv6")))
                .collect(),
        }
    }

    pub fn inherit() -> Self {
        Self::new("inherit", &["inherit"], &["inherit"])
    }

    /// Lines of an extension section.
    pub(crate) fn extensions(&self) -> String {
        let mut lines = String::new();
        if let Some(asns) = &self.asns {
            let blocks: Vec<_> = asns.split(' ').map(|block| format!("AS:{block}")).collect();
            let _ = writeln!(
                lines,
                "sbgp-autonomousSysNum = critical, {}",
                blocks.join(", ")
            );
        }
        if !self.addresses.is_empty() {
            let _ = writeln!(
                lines,
                "sbgp-ipAddrBlock = critical, {}",
                self.addresses.join(", ")
            );
        }
        lines
    }
}

/// From when until when something is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: i64,
    pub until: i64,
}

impl Window {
    pub fn around_now(before: i64, after: i64) -> Self {
        Self {
            from: now() - before,
            until: now() + after,
        }
    }
}

impl Default for Window {
    /// From an hour ago until in a week.
    fn default() -> Self {
        Self::around_now(3600, 7 * DAY)
    }
}
