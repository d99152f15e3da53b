//! Internet number resources as plain ranges.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use rpki::repository::resources::{Addr, AsBlocks, IpBlocks};

/// AS numbers and addresses as ranges, in ascending order and never expanded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resources {
    pub asns: Vec<RangeInclusive<u32>>,
    pub ipv4: Vec<RangeInclusive<Ipv4Addr>>,
    pub ipv6: Vec<RangeInclusive<Ipv6Addr>>,
}

/// The same as the `rpki` crate has them.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    pub(crate) asns: AsBlocks,
    pub(crate) ipv4: IpBlocks,
    pub(crate) ipv6: IpBlocks,
}

impl Blocks {
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self {
            asns: self.asns.intersection(&other.asns),
            ipv4: self.ipv4.intersection(&other.ipv4),
            ipv6: self.ipv6.intersection(&other.ipv6),
        }
    }

    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.asns.contains(&other.asns)
            && self.ipv4.contains(&other.ipv4)
            && self.ipv6.contains(&other.ipv6)
    }

    pub(crate) fn to_resources(&self) -> Resources {
        Resources {
            asns: self
                .asns
                .iter()
                .map(|block| block.min().into_u32()..=block.max().into_u32())
                .collect(),
            ipv4: self
                .ipv4
                .iter()
                .map(|block| range(block.min(), block.max(), Addr::to_v4))
                .collect(),
            ipv6: self
                .ipv6
                .iter()
                .map(|block| range(block.min(), block.max(), Addr::to_v6))
                .collect(),
        }
    }
}

fn range<A>(first: Addr, last: Addr, family: impl Fn(Addr) -> A) -> RangeInclusive<A> {
    family(first)..=family(last)
}
