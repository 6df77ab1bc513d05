//! Membership of a consumer group over the classic protocol: join, sync, heartbeat, commit, leave, and the range
//! assignment when this member leads. Not the fetching: `consume` does that with what is assigned here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringlog_engine::ErrorCode;
use ringlog_engine::rope::{Rope, Truncated};
use ringlog_net::cold::StrBytes;
use ringlog_net::cold::messages::join_group_request::JoinGroupRequestProtocol;
use ringlog_net::cold::messages::join_group_response::JoinGroupResponseMember;
use ringlog_net::cold::messages::leave_group_request::MemberIdentity;
use ringlog_net::cold::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ringlog_net::cold::messages::offset_fetch_request::OffsetFetchRequestTopic;
use ringlog_net::cold::messages::sync_group_request::SyncGroupRequestAssignment;
use ringlog_net::cold::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

use super::client::{Client, Node, Trouble, group_id, topic_name};

const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const PROTOCOL_TYPE: &str = "consumer";
const RANGE: &str = "range";

/// A partition of a topic.
pub(super) type Partition = (String, i32);
/// Partitions by topic.
pub(super) type Assignment = BTreeMap<String, Vec<i32>>;

/// One member. Its heartbeats are sent by whoever polls, between fetches.
pub(super) struct Member {
    group: String,
    topics: Vec<String>,
    coordinator: Node,
    member_id: StrBytes,
    generation: i32,
    heartbeat_due: Instant,
}

impl Member {
    /// Not yet joined: `join` comes first.
    pub(super) fn new(client: &mut Client, group: &str, topics: &[String]) -> Result<Member, Trouble> {
        Ok(Member {
            group: group.to_string(),
            topics: topics.to_vec(),
            coordinator: client.coordinator(group)?,
            member_id: StrBytes::new(),
            generation: -1,
            heartbeat_due: Instant::now(),
        })
    }

    /// Joins, or joins again after a rebalance began; what is assigned is the answer.
    pub(super) fn join(&mut self, client: &mut Client) -> Result<Assignment, Trouble> {
        let deadline = Instant::now() + REBALANCE_TIMEOUT + Duration::from_millis(client.timeout_ms() as u64);
        loop {
            match self.join_once(client) {
                Err(trouble) if Instant::now() < deadline && self.may_rejoin(client, &trouble)? => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                outcome => {
                    self.heartbeat_due = Instant::now() + HEARTBEAT_INTERVAL;
                    return outcome;
                }
            }
        }
    }

    /// Whether joining again can help; looks for the coordinator again where it may have moved.
    fn may_rejoin(&mut self, client: &mut Client, trouble: &Trouble) -> Result<bool, Trouble> {
        let moved = match trouble.code() {
            Some(ErrorCode::RebalanceInProgress) => return Ok(true),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                self.member_id = StrBytes::new();
                self.generation = -1;
                return Ok(true);
            }
            Some(code) => code.retriable(),
            None => matches!(trouble, Trouble::Lost { .. } | Trouble::Connect { .. }),
        };
        if moved {
            self.coordinator = client.coordinator(&self.group)?;
        }
        Ok(moved)
    }

    fn refused(&self, code: i16) -> Trouble {
        Trouble::refused(format!("group {}", self.group), code, None)
    }

    fn join_once(&mut self, client: &mut Client) -> Result<Assignment, Trouble> {
        let joined = loop {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(RANGE))
                .with_metadata(write_subscription(&self.topics));
            let request = JoinGroupRequest::default()
                .with_group_id(group_id(&self.group))
                .with_session_timeout_ms(SESSION_TIMEOUT.as_millis() as i32)
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT.as_millis() as i32)
                .with_member_id(self.member_id.clone())
                .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
                .with_protocols(vec![protocol]);
            let joined = client.call_waiting(self.coordinator, 7, &request, REBALANCE_TIMEOUT)?;
            match ErrorCode::from_code(joined.error_code) {
                Some(ErrorCode::None) => break joined,
                // The first step of two: the coordinator gives the id and wants it back (KIP-394).
                Some(ErrorCode::MemberIdRequired) if self.member_id != joined.member_id => {
                    self.member_id = joined.member_id;
                }
                _ => return Err(self.refused(joined.error_code)),
            }
        };
        self.member_id = joined.member_id.clone();
        self.generation = joined.generation_id;
        let plan = if joined.leader == joined.member_id { self.plan(client, &joined.members)? } else { Vec::new() };
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_assignments(plan);
        let synced = client.call_waiting(self.coordinator, 4, &request, REBALANCE_TIMEOUT)?;
        if synced.error_code != 0 {
            return Err(self.refused(synced.error_code));
        }
        Ok(read_assignment(&synced.assignment).unwrap_or_default())
    }

    /// As leader: who reads what.
    fn plan(
        &self,
        client: &mut Client,
        members: &[JoinGroupResponseMember],
    ) -> Result<Vec<SyncGroupRequestAssignment>, Trouble> {
        let subscriptions: BTreeMap<String, Vec<String>> = members
            .iter()
            .map(|m| (m.member_id.to_string(), read_subscription(&m.metadata).unwrap_or_default()))
            .collect();
        let mut topics: Vec<String> = subscriptions.values().flatten().cloned().collect();
        topics.sort();
        topics.dedup();
        let metadata = client.metadata(Some(&topics), false)?;
        let counts: BTreeMap<String, i32> = metadata
            .topics
            .iter()
            .filter_map(|t| Some((t.name.as_ref()?.to_string(), t.partitions.len() as i32)))
            .collect();
        let plan = assign_range(&subscriptions, &counts);
        Ok(plan
            .into_iter()
            .map(|(member, assignment)| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(StrBytes::from_string(member))
                    .with_assignment(write_assignment(&assignment))
            })
            .collect())
    }

    /// Sends a heartbeat if one is due. False: the group rebalances, or has forgotten this member: join again.
    pub(super) fn heartbeat(&mut self, client: &mut Client) -> Result<bool, Trouble> {
        if Instant::now() < self.heartbeat_due {
            return Ok(true);
        }
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let outcome = client.call(self.coordinator, 4, &request).and_then(|answer| match answer.error_code {
            0 => Ok(()),
            code => Err(self.refused(code)),
        });
        self.heartbeat_due = Instant::now() + HEARTBEAT_INTERVAL;
        match outcome {
            Ok(()) => Ok(true),
            Err(trouble) if self.may_rejoin(client, &trouble)? => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// Commits as this member. False: too late, the partitions are somebody else's now.
    pub(super) fn commit(&mut self, client: &mut Client, offsets: &BTreeMap<Partition, i64>) -> Result<bool, Trouble> {
        let (group, generation, member_id) = (&self.group, self.generation, &self.member_id);
        match client.retry(|client| commit(client, group, generation, member_id, offsets)) {
            Ok(()) => Ok(true),
            Err(trouble) => match trouble.code() {
                Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId) => {
                    Ok(false)
                }
                _ => Err(trouble),
            },
        }
    }

    /// Tells the group, so that it need not wait for the session to end. Nothing depends on it.
    pub(super) fn leave(&mut self, client: &mut Client) {
        if self.member_id.is_empty() {
            return;
        }
        let identity = MemberIdentity::default().with_member_id(self.member_id.clone());
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group)).with_members(vec![identity]);
        let _ = client.call(self.coordinator, 5, &request);
    }
}

/// Commits `offsets`, as a member or (generation -1, no member id) from outside an empty group.
pub(super) fn commit(
    client: &mut Client,
    group: &str,
    generation: i32,
    member_id: &StrBytes,
    offsets: &BTreeMap<Partition, i64>,
) -> Result<(), Trouble> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in offsets {
        let committed = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(StrBytes::new()));
        topics.entry(topic).or_default().push(committed);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member_id.clone())
        .with_topics(topics.collect());
    let coordinator = client.coordinator(group)?;
    let response = client.call(coordinator, 8, &request)?;
    for topic in &response.topics {
        if let Some(p) = topic.partitions.iter().find(|p| p.error_code != 0) {
            let subject = format!("group {group}, offset of {} partition {}", topic.name.0, p.partition_index);
            return Err(Trouble::refused(subject, p.error_code, None));
        }
    }
    Ok(())
}

/// What `group` has committed, for `wanted` or for every partition it ever committed.
pub(super) fn committed(
    client: &mut Client,
    group: &str,
    wanted: Option<&Assignment>,
) -> Result<BTreeMap<Partition, i64>, Trouble> {
    let topics = wanted.map(|wanted| {
        let topics = wanted.iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopic::default().with_name(topic_name(topic)).with_partition_indexes(partitions.clone())
        });
        topics.collect()
    });
    client.retry(|client| {
        let coordinator = client.coordinator(group)?;
        let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(topics.clone());
        let response = client.call(coordinator, 7, &request)?;
        if response.error_code != 0 {
            return Err(Trouble::refused(format!("group {group}"), response.error_code, None));
        }
        let mut found = BTreeMap::new();
        for topic in &response.topics {
            for p in &topic.partitions {
                if p.error_code != 0 {
                    let subject = format!("group {group}, offset of {} partition {}", topic.name.0, p.partition_index);
                    return Err(Trouble::refused(subject, p.error_code, None));
                }
                if p.committed_offset >= 0 {
                    found.insert((topic.name.to_string(), p.partition_index), p.committed_offset);
                }
            }
        }
        Ok(found)
    })
}

/// Kafka's RangeAssignor: in each topic, consecutive partitions to the members in the order of their ids, the first
/// members one more if it does not divide.
fn assign_range(
    subscriptions: &BTreeMap<String, Vec<String>>,
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut plan: BTreeMap<String, Assignment> =
        subscriptions.keys().map(|member| (member.clone(), Assignment::new())).collect();
    for (topic, count) in counts {
        let readers: Vec<&String> =
            subscriptions.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let mut next = 0;
        for (i, member) in readers.iter().enumerate() {
            let readers = readers.len() as i32;
            let share = count / readers + i32::from((i as i32) < count % readers);
            if share > 0 {
                let theirs = plan.get_mut(*member).expect("every member has an entry");
                theirs.insert(topic.clone(), (next..next + share).collect());
                next += share;
            }
        }
    }
    plan
}

/// ConsumerProtocolSubscription, version 0.
fn write_subscription(topics: &[String]) -> Bytes {
    let mut out = Vec::new();
    out.extend(0i16.to_be_bytes());
    out.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        write_string(topic, &mut out);
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

/// The topics of a subscription of any version: later ones only add fields at the end.
fn read_subscription(bytes: &[u8]) -> Result<Vec<String>, Truncated> {
    let mut rope = Rope::of(bytes);
    rope.read_i16()?;
    let count = rope.read_i32()?;
    (0..count).map(|_| read_string(&mut rope)).collect()
}

/// ConsumerProtocolAssignment, version 0.
fn write_assignment(assignment: &Assignment) -> Bytes {
    let mut out = Vec::new();
    out.extend(0i16.to_be_bytes());
    out.extend((assignment.len() as i32).to_be_bytes());
    for (topic, partitions) in assignment {
        write_string(topic, &mut out);
        out.extend((partitions.len() as i32).to_be_bytes());
        for partition in partitions {
            out.extend(partition.to_be_bytes());
        }
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

pub(super) fn read_assignment(bytes: &[u8]) -> Result<Assignment, Truncated> {
    let mut assignment = Assignment::new();
    // A member that is given nothing may get no bytes at all.
    if bytes.is_empty() {
        return Ok(assignment);
    }
    let mut rope = Rope::of(bytes);
    rope.read_i16()?;
    for _ in 0..rope.read_i32()? {
        let topic = read_string(&mut rope)?;
        let count = rope.read_i32()?;
        let partitions: Vec<i32> = (0..count).map(|_| rope.read_i32()).collect::<Result<_, _>>()?;
        assignment.insert(topic, partitions);
    }
    Ok(assignment)
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn read_string(rope: &mut Rope<'_>) -> Result<String, Truncated> {
    let length = usize::try_from(rope.read_i16()?).map_err(|_| Truncated)?;
    let mut bytes = Vec::new();
    rope.read_slice(length)?.append_to(&mut bytes);
    String::from_utf8(bytes).map_err(|_| Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| w.to_string()).collect()
    }

    #[test]
    fn a_range_is_shared_out_as_kafka_does() {
        let subscriptions = BTreeMap::from([
            ("a".to_string(), strings(&["t", "u"])),
            ("b".to_string(), strings(&["t"])),
            ("c".to_string(), strings(&["t", "missing"])),
        ]);
        let counts = BTreeMap::from([("t".to_string(), 7), ("u".to_string(), 2)]);
        let plan = assign_range(&subscriptions, &counts);
        assert_eq!(plan["a"], Assignment::from([("t".to_string(), vec![0, 1, 2]), ("u".to_string(), vec![0, 1])]));
        assert_eq!(plan["b"], Assignment::from([("t".to_string(), vec![3, 4])]));
        assert_eq!(plan["c"], Assignment::from([("t".to_string(), vec![5, 6])]));
    }

    #[test]
    fn more_members_than_partitions_leaves_some_without() {
        let subscriptions = BTreeMap::from([("a".to_string(), strings(&["t"])), ("b".to_string(), strings(&["t"]))]);
        let plan = assign_range(&subscriptions, &BTreeMap::from([("t".to_string(), 1)]));
        assert_eq!(plan["a"]["t"], [0]);
        assert!(plan["b"].is_empty());
    }

    #[test]
    fn subscription_and_assignment_survive_the_wire_and_every_cut_is_refused() {
        let topics = strings(&["orders", "payments"]);
        let written = write_subscription(&topics);
        assert_eq!(read_subscription(&written), Ok(topics));
        let assignment = Assignment::from([("orders".to_string(), vec![0, 2]), ("x".to_string(), vec![])]);
        let written = write_assignment(&assignment);
        assert_eq!(read_assignment(&written), Ok(assignment));
        for cut in 1..written.len() - 4 {
            assert!(read_assignment(&written[..cut]).is_err(), "{cut}");
        }
        assert_eq!(read_assignment(&[]), Ok(Assignment::new()));
        assert!(read_subscription(&[0, 0, 0x7f, 0xff, 0xff, 0xff]).is_err());
    }
}
