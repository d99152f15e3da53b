//! How many connections there are at a time, in total and of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ConnectionLimits;
use crate::limits::network_of;

/// The slots for connections: a total for all peers, and a share for each address.
#[derive(Debug)]
pub(super) struct ConnectionBudget {
    pub(super) limits: ConnectionLimits,
    pub(super) permits: Arc<Semaphore>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The slot of one connection, which is released on drop.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    room: Arc<ConnectionBudget>,
    peer: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionBudget {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.max)),
            taken: Mutex::default(),
            limits,
        }
    }

    pub(super) fn take(
        room: &Arc<Self>,
        peer: Option<IpAddr>,
        permit: OwnedSemaphorePermit,
    ) -> Option<ConnectionSlot> {
        // No share for proxies and Unix peers, which bring the connections of many callers.
        let is_shared = |peer: &IpAddr| {
            !room
                .limits
                .unshared_peers
                .iter()
                .any(|network| network.contains(peer))
        };
        let peer = peer
            .map(|peer| peer.to_canonical())
            .filter(is_shared)
            .map(network_of);
        if let Some(peer) = peer {
            let mut taken = room.taken.lock();
            let count = taken.entry(peer).or_default();
            if *count >= room.limits.share() {
                tracing::debug!(%peer, "a connection was turned away: its address has its share");
                return None;
            }
            *count = count.saturating_add(1);
        }
        Some(ConnectionSlot {
            room: room.clone(),
            peer,
            _permit: permit,
        })
    }
}

impl ConnectionSlot {
    /// Whether the peer has no share, because it brings the requests of many callers.
    pub(super) const fn is_of_many(&self) -> bool {
        self.peer.is_none()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut taken = self.room.taken.lock();
        if let Some(count) = taken.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&peer);
            }
        }
    }
}
