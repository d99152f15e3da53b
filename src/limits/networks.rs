//! Limits for the networks that requests come from. An IPv6 caller has many addresses, and may have
//! many /64 networks, so the networks around them have budgets as well.

use std::net::IpAddr;

use super::limit::Limit;
use crate::refusal::Refusal;

/// Prefix lengths of larger IPv6 networks, and how many budgets of a /64 each of them has.
const LARGER_NETWORKS: [(u8, u32); 2] = [(56, 4), (48, 16)];

/// A limit for an address or /64, and for the networks around it.
#[derive(Debug)]
pub(super) struct NetworkLimit {
    own: Limit<IpAddr>,
    larger: [(u8, Limit<IpAddr>); 2],
}

/// A network that is over its limit. All its requests share one turn.
#[derive(Debug)]
pub struct Exhausted {
    pub(super) network: IpAddr,
    pub(super) refusal: Refusal,
}

impl NetworkLimit {
    /// So many uses a minute for an address or /64.
    pub(super) fn per_minute(number: u32) -> Self {
        let larger = |(bits, times)| (bits, Limit::per_minute(number.saturating_mul(times)));
        Self {
            own: Limit::per_minute(number),
            larger: LARGER_NETWORKS.map(larger),
        }
    }

    /// The networks around an address, the smallest first, each with its limit.
    fn around(&self, address: IpAddr) -> impl Iterator<Item = (&Limit<IpAddr>, IpAddr)> {
        let larger = self
            .larger
            .iter()
            .filter_map(move |(bits, limit)| Some((limit, larger_network_of(address, *bits)?)));
        std::iter::once((&self.own, network_of(address))).chain(larger)
    }

    /// The widest network around this address that is over its limit, if there is one.
    pub(super) fn exhausted(&self, address: IpAddr) -> Option<Exhausted> {
        let over = self.around(address).filter_map(|(limit, network)| {
            Some(Exhausted {
                refusal: limit.check(&network).err()?,
                network,
            })
        });
        over.last()
    }

    /// Counts a use that has already happened. Uses beyond the budget of one network do not count
    /// against the larger network around it: it takes several noisy networks to use up the larger
    /// budget.
    pub(super) fn note(&self, address: IpAddr) {
        for (limit, network) in self.around(address) {
            let was_within = limit.check(&network).is_ok();
            limit.note(&network);
            if !was_within {
                return;
            }
        }
    }

    /// Takes one use from the budgets of all networks around this address, or from none of them.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), Refusal> {
        let mut taken = Vec::new();
        for (limit, network) in self.around(address) {
            if let Err(refusal) = limit.take(&network) {
                for (limit, network) in taken {
                    Limit::give_back(limit, &network);
                }
                return Err(refusal);
            }
            taken.push((limit, network));
        }
        Ok(())
    }

    /// Removes networks whose whole budget is available again.
    pub(super) fn shrink(&self) {
        self.own.shrink();
        self.larger.iter().for_each(|(_, limit)| limit.shrink());
    }
}

/// One customer has a whole /64 of IPv6 addresses, so that counts as one.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            v6.to_ipv4_mapped()
                .map_or(IpAddr::from([a, b, c, d, 0, 0, 0, 0]), IpAddr::V4)
        }
    }
}

/// The network of this prefix length around an IPv6 address. IPv4 addresses have none, also when
/// they are mapped to IPv6.
pub(super) fn larger_network_of(address: IpAddr, bits: u8) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    if v6.to_ipv4_mapped().is_some() {
        return None;
    }
    let mask = u128::MAX.checked_shl(u128::BITS.checked_sub(u32::from(bits))?)?;
    Some(IpAddr::V6((u128::from(v6) & mask).into()))
}
