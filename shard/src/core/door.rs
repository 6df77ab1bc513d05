//! The door: which new connections come in, when, and to which core they go. On core 0, where all are accepted.
//!
//! `max.connections.per.ip` closes at once. `max.connections` and `max.connection.creation.rate` let a connection wait here
//! unserved, as Kafka lets it wait unaccepted; no more of them than a backlog holds, and what comes then is closed.

use crate::io::Accepted;
use ringlog_engine::limits::Limits;
use ringlog_engine::types::{CoreId, MonoMs};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Parts of a connection in which the rate is counted: one millisecond at one connection a second.
const PARTS: u64 = 1000;

#[derive(Debug)]
pub struct Door {
    /// Open connections by core, those on their way to it included.
    placed: Vec<u32>,
    /// Open and waiting connections by the peer's address.
    by_ip: BTreeMap<IpAddr, u32>,
    waiting: VecDeque<Accepted>,
    /// What may still come in of the creation rate, in parts, as of `counted`.
    rate_left: u64,
    counted: MonoMs,
    /// No more than this many are open, whatever the settings say: the limit on open files.
    open_max: u32,
    /// Where every core has sockets of its own: how many. What came to a core's is for that core.
    cores_listen: Option<u16>,
}

impl Door {
    /// The rate begins full: a second's worth may come at once.
    pub fn new(cores: u16, open_max: u32, cores_listen: Option<u16>) -> Door {
        Door {
            placed: vec![0; usize::from(cores)],
            by_ip: BTreeMap::new(),
            waiting: VecDeque::new(),
            rate_left: u64::MAX,
            counted: MonoMs(0),
            open_max,
            cores_listen,
        }
    }

    /// A connection was accepted. It waits until [`Door::admit`] lets it in or [`Door::turn_away`] does not; what is over the
    /// limit of its address comes back, to be closed.
    pub fn arrive(&mut self, accepted: Accepted, limits: &Limits) -> Result<(), Accepted> {
        let ip = accepted.peer.ip();
        let exception = limits.connections_per_ip_overrides.iter().find(|(address, _)| address.to_canonical() == ip);
        let most = exception.map_or(limits.connections_per_ip, |(_, most)| *most);
        let open = self.by_ip.get(&ip).copied().unwrap_or(0);
        if open >= most {
            return Err(accepted);
        }
        self.by_ip.insert(ip, open + 1);
        self.waiting.push_back(accepted);
        Ok(())
    }

    /// The newest of those who wait beyond what a backlog holds, to be closed. Asked once nobody more can be let in: any number
    /// may arrive in one turn.
    pub fn turn_away(&mut self, backlog: u32) -> Option<Accepted> {
        if self.waiting.len() <= backlog as usize {
            return None;
        }
        let accepted = self.waiting.pop_back()?;
        self.forget(accepted.peer.ip());
        Some(accepted)
    }

    /// The next connection to serve and its core, which is the one with the fewest if any will do; `None` while none waits or none may come in.
    pub fn admit(&mut self, now: MonoMs, limits: &Limits) -> Option<(CoreId, Accepted)> {
        let rate = u64::from(limits.connection_creation_rate);
        let gained = now.0.saturating_sub(self.counted.0).saturating_mul(rate);
        self.rate_left = self.rate_left.saturating_add(gained).min(rate * PARTS);
        self.counted = now;
        if self.waiting.is_empty() || self.is_full(limits) || self.rate_left < PARTS {
            return None;
        }
        self.rate_left -= PARTS;
        let accepted = self.waiting.pop_front()?;
        let core = match self.cores_listen {
            Some(sockets) => usize::from(accepted.listener / sockets),
            None => (0..self.placed.len()).min_by_key(|k| self.placed[*k]).expect("there is a core"),
        };
        self.placed[core] += 1;
        Some((CoreId(core as u16), accepted))
    }

    /// A connection that was let in is gone.
    pub fn left(&mut self, core: CoreId, ip: IpAddr) {
        self.placed[usize::from(core.0)] -= 1;
        self.forget(ip);
    }

    fn forget(&mut self, ip: IpAddr) {
        let open = self.by_ip.get_mut(&ip).expect("it was counted when it arrived");
        *open -= 1;
        if *open == 0 {
            self.by_ip.remove(&ip);
        }
    }

    /// When the rate lets the next one in, if that is what it waits for.
    pub fn next_deadline(&self, limits: &Limits) -> Option<MonoMs> {
        let rate = u64::from(limits.connection_creation_rate);
        let rate_waits = !self.waiting.is_empty() && !self.is_full(limits) && rate > 0;
        rate_waits.then(|| self.counted.after(PARTS.saturating_sub(self.rate_left).div_ceil(rate)))
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.placed.iter().sum::<u32>() >= limits.connections.min(self.open_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Socket;
    use ringlog_engine::config::{BrokerConfig, ServerProperties};

    fn limits(text: &str) -> Limits {
        BrokerConfig::load(&ServerProperties::parse(text).expect("settings")).expect("a configuration").0.limits
    }

    fn arrivals(door: &mut Door, count: usize, limits: &Limits) {
        for _ in 0..count {
            let any = "10.0.0.1:1".parse().expect("an address");
            let accepted = Accepted { socket: Socket::Simulated(0), peer: any, local: any, listener: 0 };
            door.arrive(accepted, limits).expect("no limit by address");
        }
    }

    fn let_in(door: &mut Door, limits: &Limits) -> usize {
        std::iter::from_fn(|| door.admit(MonoMs(1), limits)).count()
    }

    /// Two listeners: sockets 0 and 1 are core 0's, 2 and 3 core 1's.
    #[test]
    fn a_core_s_own_sockets_lead_to_it() {
        let limits = limits("");
        let mut door = Door::new(2, u32::MAX, Some(2));
        for listener in [0, 2, 3, 2] {
            let any = "10.0.0.1:1".parse().expect("an address");
            let accepted = Accepted { socket: Socket::Simulated(0), peer: any, local: any, listener };
            door.arrive(accepted, &limits).expect("no limit by address");
        }
        let cores: Vec<u16> = std::iter::from_fn(|| Some(door.admit(MonoMs(1), &limits)?.0.0)).collect();
        assert_eq!(cores, [0, 1, 1, 1]);
    }

    /// A slow turn finds more new connections than a backlog holds: the kernel had accepted them while the turn ran.
    #[test]
    fn any_number_may_arrive_in_one_turn() {
        let limits = limits("");
        let mut door = Door::new(1, u32::MAX, None);
        arrivals(&mut door, 200, &limits);
        assert_eq!(let_in(&mut door, &limits), 200);
        assert!(door.turn_away(50).is_none());
    }

    #[test]
    fn no_more_wait_than_a_backlog_holds() {
        let limits = limits("max.connections=10");
        let mut door = Door::new(1, u32::MAX, None);
        arrivals(&mut door, 100, &limits);
        assert_eq!(let_in(&mut door, &limits), 10);
        assert_eq!(std::iter::from_fn(|| door.turn_away(50)).count(), 40);
        assert_eq!(door.by_ip.values().sum::<u32>(), 60);
        door.left(CoreId(0), "10.0.0.1".parse().expect("an address"));
        assert_eq!(let_in(&mut door, &limits), 1);
    }
}
