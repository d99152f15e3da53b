//! Internet number resources: AS numbers and prefixes, and what the RPKI attests of them to the keys
//! of a trusted issuer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::clock::Timestamp;

/// AS numbers and addresses as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberResources {
    asns: Ranges,
    ipv4: Ranges,
    ipv6: Ranges,
}

/// What stands behind the keys that verified an assertion, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    pub resources: NumberResources,
    /// The name of the trust anchor at the end of the path; empty where none was asked for.
    pub trust_anchor: String,
    /// Nothing that rests on it lasts longer.
    pub use_until: Timestamp,
}

/// A range of AS numbers, such as `AS64496` or `AS64496-AS64511`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsRange {
    first: u32,
    last: u32,
}

/// Ranges in ascending order that neither overlap nor touch. All kinds of numbers fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    fn of(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    fn covers(&self, first: u128, last: u128) -> bool {
        self.0
            .iter()
            .any(|(start, end)| *start <= first && last <= *end)
    }

    fn intersection(&self, other: &Self) -> Self {
        let both = self.0.iter().flat_map(|(first, last)| {
            let shared = other.0.iter();
            shared.map(move |(start, end)| (*first.max(start), *last.min(end)))
        });
        Self::of(both.filter(|(first, last)| first <= last))
    }
}

impl NumberResources {
    pub fn new(
        asns: impl IntoIterator<Item = RangeInclusive<u32>>,
        ipv4: impl IntoIterator<Item = RangeInclusive<Ipv4Addr>>,
        ipv6: impl IntoIterator<Item = RangeInclusive<Ipv6Addr>>,
    ) -> Self {
        let of_v4 = |address: &Ipv4Addr| u128::from(u32::from(*address));
        let of_v6 = |address: &Ipv6Addr| u128::from(*address);
        Self {
            asns: Ranges::of(
                asns.into_iter()
                    .map(|range| ((*range.start()).into(), (*range.end()).into())),
            ),
            ipv4: Ranges::of(
                ipv4.into_iter()
                    .map(|range| (of_v4(range.start()), of_v4(range.end()))),
            ),
            ipv6: Ranges::of(
                ipv6.into_iter()
                    .map(|range| (of_v6(range.start()), of_v6(range.end()))),
            ),
        }
    }

    /// Of ranges of AS numbers and prefixes, as documents write them.
    pub fn of_documents(asns: &[AsRange], prefixes: &[IpNet]) -> Self {
        let v4 = |net: &IpNet| match net {
            IpNet::V4(net) => Some(net.network()..=net.broadcast()),
            IpNet::V6(_) => None,
        };
        let v6 = |net: &IpNet| match net {
            IpNet::V6(net) => Some(net.network()..=net.broadcast()),
            IpNet::V4(_) => None,
        };
        Self::new(
            asns.iter().map(|range| range.first..=range.last),
            prefixes.iter().filter_map(v4),
            prefixes.iter().filter_map(v6),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.asns.0.is_empty() && self.ipv4.0.is_empty() && self.ipv6.0.is_empty()
    }

    /// Whether every AS number of the range is among them.
    pub fn covers_asns(&self, range: AsRange) -> bool {
        self.asns.covers(range.first.into(), range.last.into())
    }

    /// Whether every address of the prefix is among them.
    pub fn covers_prefix(&self, prefix: &IpNet) -> bool {
        let (first, last) = match prefix {
            IpNet::V4(net) => (
                u32::from(net.network()).into(),
                u32::from(net.broadcast()).into(),
            ),
            IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
        };
        match prefix {
            IpNet::V4(_) => self.ipv4.covers(first, last),
            IpNet::V6(_) => self.ipv6.covers(first, last),
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            asns: self.asns.intersection(&other.asns),
            ipv4: self.ipv4.intersection(&other.ipv4),
            ipv6: self.ipv6.intersection(&other.ipv6),
        }
    }

    /// The same prefixes, with only those of the AS numbers.
    #[must_use]
    pub fn narrowed_to(self, asns: &[AsRange]) -> Self {
        let narrower = Self::of_documents(asns, &[]);
        Self {
            asns: self.asns.intersection(&narrower.asns),
            ..self
        }
    }

    /// `{"asns": ["AS64496", "AS64500-AS64511"], "prefixes": ["192.0.2.0/24"]}`
    pub fn shown(&self) -> Value {
        let asns = self.asns.0.iter().map(|(first, last)| {
            let number = |number: &u128| u32::try_from(*number).unwrap_or(u32::MAX);
            AsRange {
                first: number(first),
                last: number(last),
            }
            .to_string()
        });
        let ipv4 = self.ipv4.0.iter().map(|(first, last)| {
            let address = |bits: &u128| {
                IpAddr::from(Ipv4Addr::from(u32::try_from(*bits).unwrap_or(u32::MAX)))
            };
            addresses((*first, *last), 32, address)
        });
        let ipv6 = self.ipv6.0.iter().map(|(first, last)| {
            addresses((*first, *last), 128, |bits| Ipv6Addr::from(*bits).into())
        });
        json!({
            "asns": asns.collect::<Vec<_>>(),
            "prefixes": ipv4.chain(ipv6).collect::<Vec<_>>(),
        })
    }
}

/// A prefix where the range is one, else its first and last address.
fn addresses((first, last): (u128, u128), bits: u32, address: impl Fn(&u128) -> IpAddr) -> String {
    let differing = first ^ last;
    let host_bits = u128::BITS.saturating_sub(differing.leading_zeros());
    let is_prefix =
        (first & differing) == 0 && differing.checked_add(1).is_none_or(u128::is_power_of_two);
    if is_prefix {
        format!("{}/{}", address(&first), bits.saturating_sub(host_bits))
    } else {
        format!("{}-{}", address(&first), address(&last))
    }
}

impl Attested {
    /// As explanations, audit events and tokens show it.
    pub fn shown(&self) -> Value {
        let mut shown = self.resources.shown();
        if let Value::Object(members) = &mut shown {
            members.insert("trust_anchor".to_owned(), json!(self.trust_anchor));
        }
        shown
    }
}

impl AsRange {
    pub const fn one(asn: u32) -> Self {
        Self {
            first: asn,
            last: asn,
        }
    }

    /// Reads `64496`, `AS64496` or `AS64496-AS64511` (RFC 5396 section 2).
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('-') {
            None => number(text).map(Self::one),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self { first, last })
            }
        }
    }

    /// The one AS number; `None` if there are several.
    pub fn single(self) -> Option<u32> {
        (self.first == self.last).then_some(self.first)
    }
}

/// An AS number with or without `AS` before it. Written in one way only: without zeros before it.
fn number(text: &str) -> Option<u32> {
    let digits = match text.split_at_checked(2) {
        Some((prefix, digits)) if prefix.eq_ignore_ascii_case("AS") => digits,
        _ => text,
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

impl fmt::Display for AsRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AS{}", self.first)?;
        if self.first < self.last {
            write!(formatter, "-AS{}", self.last)?;
        }
        Ok(())
    }
}

/// A prefix whose bits beyond its length are zero: others have several spellings of one prefix.
pub fn prefix(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    (net.addr() == net.network()).then_some(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(asns: &[&str], prefixes: &[&str]) -> NumberResources {
        let asns: Vec<_> = asns
            .iter()
            .map(|text| AsRange::parse(text).unwrap())
            .collect();
        let prefixes: Vec<_> = prefixes.iter().map(|text| prefix(text).unwrap()).collect();
        NumberResources::of_documents(&asns, &prefixes)
    }

    #[test]
    fn as_numbers_are_read_with_and_without_as() {
        for (text, shown) in [
            ("64496", "AS64496"),
            ("AS64496", "AS64496"),
            ("as0", "AS0"),
            ("AS4294967295", "AS4294967295"),
            ("AS64496-AS64511", "AS64496-AS64511"),
            ("64496-64511", "AS64496-AS64511"),
            ("AS1-AS1", "AS1"),
        ] {
            assert_eq!(AsRange::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "AS",
            "AS-1",
            "-1",
            "+1",
            "1.10",
            "AS 1",
            "01",
            "AS064496",
            "4294967296",
            "2-1",
            "1-",
            "1-2-3",
            "ASN1",
            "١",
        ] {
            assert_eq!(AsRange::parse(text), None, "{text}");
        }
        assert_eq!(AsRange::parse("1-2").unwrap().single(), None);
        assert_eq!(AsRange::one(7).single(), Some(7));
    }

    #[test]
    fn a_prefix_has_one_spelling() {
        for text in ["192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/32"] {
            assert_eq!(prefix(text).unwrap().to_string(), text);
        }
        for text in [
            "192.0.2.1/24",
            "2001:db8::1/32",
            "192.0.2.0",
            "192.0.2.0/33",
            "x/8",
            "",
        ] {
            assert_eq!(prefix(text), None, "{text}");
        }
    }

    #[test]
    fn neighbours_are_one_range_and_everything_of_it_is_covered() {
        let held = resources(
            &["AS3-AS4", "AS1", "AS2", "AS4-AS9", "AS20"],
            &[
                "192.0.2.128/25",
                "192.0.2.0/25",
                "2001:db8::/33",
                "10.0.0.0/8",
            ],
        );

        assert_eq!(
            held.shown(),
            json!({ "asns": ["AS1-AS9", "AS20"], "prefixes": ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/33"] })
        );
        for (range, covered) in [
            ("1-9", true),
            ("20", true),
            ("0-1", false),
            ("9-20", false),
            ("10", false),
            ("1-10", false),
        ] {
            assert_eq!(
                held.covers_asns(AsRange::parse(range).unwrap()),
                covered,
                "{range}"
            );
        }
        for (text, covered) in [
            ("192.0.2.0/24", true),
            ("192.0.2.64/26", true),
            ("192.0.2.0/23", false),
            ("2001:db8::/33", true),
            ("2001:db8::/32", false),
            ("2001:db8:8000::/33", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            // An IPv4 address is no IPv6 address of the same bits.
            ("::a00:0/104", false),
            ("0.0.0.0/8", false),
        ] {
            assert_eq!(
                held.covers_prefix(&prefix(text).unwrap()),
                covered,
                "{text}"
            );
        }
        assert!(resources(&[], &["::/0"]).covers_prefix(&prefix("ffff::/16").unwrap()));
    }

    #[test]
    fn what_two_hold_is_what_both_hold() {
        let one = resources(&["1-10", "20-30"], &["10.0.0.0/8", "2001:db8::/32"]);
        let other = resources(&["5-25"], &["10.1.0.0/16", "192.0.2.0/24", "::/0"]);

        let both = one.intersection(&other);
        assert_eq!(
            both.shown(),
            json!({ "asns": ["AS5-AS10", "AS20-AS25"], "prefixes": ["10.1.0.0/16", "2001:db8::/32"] })
        );
        assert_eq!(other.intersection(&one), both);
        assert!(
            one.intersection(&resources(&["11-19"], &["11.0.0.0/8"]))
                .is_empty()
        );
        assert!(!both.is_empty());
    }

    #[test]
    fn a_range_that_is_no_prefix_is_shown_by_its_ends() {
        let range = |first: [u8; 4], last: [u8; 4]| {
            let range = Ipv4Addr::from(first)..=Ipv4Addr::from(last);
            NumberResources::new([], [range], []).shown()["prefixes"][0].clone()
        };

        assert_eq!(range([192, 0, 2, 0], [192, 0, 2, 127]), "192.0.2.0/25");
        assert_eq!(
            range([192, 0, 2, 1], [192, 0, 2, 127]),
            "192.0.2.1-192.0.2.127"
        );
        assert_eq!(
            range([192, 0, 2, 0], [192, 0, 2, 126]),
            "192.0.2.0-192.0.2.126"
        );
        assert_eq!(
            range([192, 0, 2, 64], [192, 0, 2, 191]),
            "192.0.2.64-192.0.2.191"
        );
        assert_eq!(range([192, 0, 2, 7], [192, 0, 2, 7]), "192.0.2.7/32");
        assert_eq!(range([0; 4], [255; 4]), "0.0.0.0/0");
        let everything = Ipv6Addr::from(0)..=Ipv6Addr::from(u128::MAX);
        let shown = NumberResources::new([], [], [everything]).shown();
        assert_eq!(shown["prefixes"][0], "::/0");
    }
}
