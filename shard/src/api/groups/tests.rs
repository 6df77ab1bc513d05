//! Whole frames: a request as a client writes it, answers as coordinators give them, the response as a client reads it.

use super::member::client_host;
use super::*;
use crate::api::brokers::Advertised;
use crate::api::{Command, CreatedTopic, Outcome};
use ringlog_engine::config::{BrokerConfig, ServerProperties, Values};
use ringlog_engine::metadata::{DirId, Entry, Image, PartitionRow, create_cluster};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{CoreId, MonoMs, Now, WallMs};
use ringlog_net::cold::messages::*;
use ringlog_net::cold::{Bytes, Call, decode, decode_response, encode_request, uuid_of};
use ringlog_net::frame;

const CORES: u16 = 4;
const CORRELATION: i32 = 77;

/// A core with the topics `apples` (3 partitions) and `pears` (1), and with `__consumer_offsets` or without.
struct Desk {
    image: Image,
    config: BrokerConfig,
    advertised: Advertised,
}

fn id(n: u8) -> TopicId {
    TopicId([n; 16])
}

fn desk(with_offsets: bool) -> Desk {
    let mut image = Image::default();
    let topic = |name: &str, n: u8, partitions: usize| Entry::TopicCreated {
        name: name.to_string(),
        id: id(n).0,
        internal: name == OFFSETS_TOPIC,
        partitions: vec![PartitionRow { dir: DirId([9; 16]).0, leader_epoch: 0 }; partitions],
        configs: Vec::new(),
    };
    let mut entries = vec![create_cluster([7; 16], 5), topic("apples", 1, 3), topic("pears", 2, 1)];
    if with_offsets {
        entries.push(topic(OFFSETS_TOPIC, 3, 50));
    }
    entries.iter().for_each(|entry| image.apply(entry).unwrap());
    let config = BrokerConfig::load(&ServerProperties::without_file()).unwrap().0;
    Desk { image, config, advertised: Advertised { host: "broker.example".to_string(), ports: vec![9092] } }
}

impl Desk {
    fn context(&self) -> Context<'_> {
        Context {
            image: &self.image,
            config: &self.config,
            now: Now { mono: MonoMs(1), wall: WallMs(1) },
            core: CoreId(0),
            cores: CORES,
            advertised: &self.advertised,
            peer: "127.0.0.1:4711".parse().unwrap(),
            client_id: "client",
            random: [3; 16],
            dirs: &[],
            error: Default::default(),
        }
    }

    fn begin(&self, request: Request, version: i16) -> Result<Asked<'_>, Vec<u8>> {
        let mut out = Vec::new();
        match begin(&self.context(), request, version, CORRELATION, &mut out) {
            Step::Done => Err(out),
            Step::Ask { questions, kept: crate::api::Kept::Groups(kept) } => {
                assert!(out.is_empty());
                Ok(Asked { desk: self, questions, kept })
            }
            Step::Ask { .. } => panic!("kept for another family"),
            Step::Close(why) => panic!("closed: {why}"),
        }
    }

    /// A request, read from its bytes.
    fn send<R: Call>(&self, version: i16, request: R) -> Result<Asked<'_>, Vec<u8>> {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, version, CORRELATION, "client", &request).unwrap();
        let mut rope = Rope::of(&bytes[4..]);
        let header = frame::take_header(&mut rope).unwrap();
        self.begin(decode(header.api, version, rope).unwrap(), version)
    }

    /// The response to a request that asks nobody.
    fn at_once<R: Call>(&self, version: i16, request: R) -> R::Response {
        match self.send(version, request) {
            Err(out) => read::<R>(version, &out),
            Ok(asked) => panic!("asks {:?}", asked.questions),
        }
    }

    fn ask<R: Call>(&self, version: i16, request: R) -> Asked<'_> {
        self.send(version, request).unwrap_or_else(|out| panic!("answered at once: {out:?}"))
    }
}

fn read<R: Call>(version: i16, out: &[u8]) -> R::Response {
    assert_eq!(out[..4], (out.len() as i32 - 4).to_be_bytes());
    let (correlation, response) = decode_response::<R>(version, &out[4..]).unwrap();
    assert_eq!(correlation, CORRELATION);
    response
}

/// Questions on their way, and what was kept.
struct Asked<'a> {
    desk: &'a Desk,
    questions: Vec<(Target, Question)>,
    kept: Kept,
}

impl Asked<'_> {
    /// The group requests, each checked to go where its groups' partition lives.
    fn group_requests(&self) -> Vec<(i32, &group::Request)> {
        let requests = self.questions.iter().map(|(target, question)| {
            let Question::Group { partition, request } = question else { panic!("{question:?}") };
            let key = PartitionKey { topic: id(3), partition: *partition };
            assert_eq!(*target, Target::Core(owner(key, CORES)));
            (*partition, request)
        });
        requests.collect()
    }

    fn request(&self) -> &group::Request {
        let requests = self.group_requests();
        assert_eq!(requests.len(), 1);
        requests[0].1
    }

    fn answered<R: Call>(self, version: i16, answers: Vec<Answer>) -> R::Response {
        let mut out = Vec::new();
        finish(&self.desk.context(), self.kept, answers, version, CORRELATION, &mut out);
        read::<R>(version, &out)
    }

    fn said<R: Call>(self, version: i16, response: group::Response) -> R::Response {
        self.answered::<R>(version, vec![Answer::Group(response)])
    }

    fn refused<R: Call>(self, version: i16, error: ErrorCode) -> R::Response {
        let answers = self.questions.iter().map(|_| Answer::Refused(error)).collect();
        self.answered::<R>(version, answers)
    }
}

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn g(text: &str) -> GroupId {
    GroupId(s(text))
}

fn t(text: &str) -> TopicName {
    TopicName(s(text))
}

fn created() -> CreatedTopic {
    CreatedTopic {
        name: OFFSETS_TOPIC.to_string(),
        id: id(3),
        partitions: 50,
        replication_factor: 1,
        configs: Values::new(),
    }
}

fn find(version: i16, key_type: i8, keys: &[&str]) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(key_type);
    match version < 4 {
        true => request.with_key(s(keys[0])),
        false => request.with_coordinator_keys(keys.iter().map(|key| s(key)).collect()),
    }
}

/// Error, node, host, port and whether there is a message, of the first coordinator.
fn first(version: i16, response: &FindCoordinatorResponse) -> (i16, i32, String, i32, bool) {
    if version < 4 {
        let message = response.error_message.as_ref().is_some_and(|message| !message.is_empty());
        return (response.error_code, response.node_id.0, response.host.to_string(), response.port, message);
    }
    let found = &response.coordinators[0];
    let message = found.error_message.as_ref().is_some_and(|message| !message.is_empty());
    (found.error_code, found.node_id.0, found.host.to_string(), found.port, message)
}

#[test]
fn a_group_is_found_here() {
    let desk = desk(true);
    for version in 0..=6 {
        let response = desk.at_once(version, find(version, 0, &["g"]));
        assert_eq!(first(version, &response), (0, 5, "broker.example".to_string(), 9092, false), "version {version}");
    }
    let response = desk.at_once(4, find(4, 0, &["b", "a", ""]));
    let keys: Vec<&str> = response.coordinators.iter().map(|found| found.key.as_str()).collect();
    assert_eq!(keys, ["b", "a", ""]);
}

#[test]
fn looking_for_a_group_makes_the_offsets_topic() {
    let desk = desk(false);
    for version in [0, 1, 3, 4, 6] {
        let asked = desk.ask(version, find(version, 0, &["g"]));
        let (target, question) = &asked.questions[0];
        assert_eq!((asked.questions.len(), *target), (1, Target::Controller));
        let Question::Control(Command::EnsureTopics(names)) = question else { panic!("{question:?}") };
        assert_eq!(names, &[OFFSETS_TOPIC]);
        let made = Answer::Control(Outcome::Created(vec![Ok(created())]));
        let response = asked.answered::<FindCoordinatorRequest>(version, vec![made]);
        assert_eq!(first(version, &response), (0, 5, "broker.example".to_string(), 9092, false));

        let failed = Outcome::Created(vec![Err((ErrorCode::KafkaStorageError, "disk".to_string()))]);
        for answer in [Answer::Control(failed), Answer::Refused(ErrorCode::KafkaStorageError)] {
            let asked = desk.ask(version, find(version, 0, &["g"]));
            let response = asked.answered::<FindCoordinatorRequest>(version, vec![answer]);
            assert_eq!(first(version, &response), (15, -1, String::new(), -1, version > 0));
        }
    }
    assert!(desk.at_once(4, find(4, 0, &[])).coordinators.is_empty());
}

#[test]
fn transactions_and_share_groups_have_no_coordinator() {
    for desk in [desk(true), desk(false)] {
        for version in [1, 3, 4, 6] {
            let response = desk.at_once(version, find(version, 1, &["txn"]));
            assert_eq!(first(version, &response), (53, -1, String::new(), -1, true), "version {version}");
        }
        let response = desk.at_once(6, find(6, 2, &["g:AAAAAAAAAAAAAAAAAAAAAA:0"]));
        assert_eq!(first(6, &response).0, 42);
        assert_eq!(first(1, &desk.at_once(1, find(1, 9, &["x"]))).0, 42);
    }
}

fn join(group: &str) -> JoinGroupRequest {
    use join_group_request::JoinGroupRequestProtocol;
    let protocol = JoinGroupRequestProtocol::default().with_name(s("range")).with_metadata(Bytes::from_static(b"meta"));
    JoinGroupRequest::default()
        .with_group_id(g(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(s("m"))
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol])
}

fn sync(group: &str) -> SyncGroupRequest {
    use sync_group_request::SyncGroupRequestAssignment;
    let given =
        SyncGroupRequestAssignment::default().with_member_id(s("m")).with_assignment(Bytes::from_static(b"mine"));
    SyncGroupRequest::default()
        .with_group_id(g(group))
        .with_generation_id(4)
        .with_member_id(s("m"))
        .with_protocol_type(Some(s("consumer")))
        .with_protocol_name(Some(s("range")))
        .with_assignments(vec![given])
}

fn heartbeat(group: &str) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(g(group)).with_generation_id(4).with_member_id(s("m"))
}

fn leave(version: i16, group: &str) -> LeaveGroupRequest {
    use leave_group_request::MemberIdentity;
    let request = LeaveGroupRequest::default().with_group_id(g(group));
    if version < 3 {
        return request.with_member_id(s("m"));
    }
    let member = |id: &str, instance: Option<&str>| {
        MemberIdentity::default().with_member_id(s(id)).with_group_instance_id(instance.map(s))
    };
    request.with_members(vec![member("m", None), member("", Some("i"))])
}

#[test]
fn join_group_is_put_to_the_coordinator_as_its_version_means_it() {
    let desk = desk(true);
    for version in 0..=9 {
        let instance = (version >= 5).then(|| "i".to_string());
        let asked = desk.ask(version, join("g").with_group_instance_id(instance.as_deref().map(s)));
        assert_eq!(asked.group_requests()[0].0, group_partition("g", 50));
        let protocol = group::Protocol { name: "range".to_string(), metadata: Bytes::from_static(b"meta") };
        let expected = group::JoinRequest {
            group_id: "g".to_string(),
            member_id: "m".to_string(),
            group_instance_id: instance,
            client_id: "client".to_string(),
            client_host: "/127.0.0.1".to_string(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version == 0 { 10_000 } else { 60_000 },
            protocol_type: "consumer".to_string(),
            protocols: vec![protocol],
            known_member_id_required: version >= 4,
            skip_assignment_supported: version == 9,
            random: [3; 16],
        };
        assert_eq!(asked.request(), &group::Request::Join(expected), "version {version}");
    }
}

#[test]
fn join_group_answers_what_its_version_has_room_for() {
    let desk = desk(true);
    for version in 0..=9 {
        let member = group::JoinedMember {
            member_id: "m".to_string(),
            group_instance_id: Some("i".to_string()),
            metadata: Bytes::from_static(b"meta"),
        };
        let said = group::JoinResponse {
            error: ErrorCode::None,
            generation_id: 4,
            protocol_type: Some("consumer".to_string()),
            protocol_name: Some("range".to_string()),
            leader: "m".to_string(),
            skip_assignment: true,
            member_id: "m".to_string(),
            members: vec![member],
        };
        let mut refused = said.clone();
        (refused.error, refused.generation_id) = (ErrorCode::MemberIdRequired, -1);
        (refused.protocol_type, refused.protocol_name) = (None, None);
        let response = desk.ask(version, join("g")).said::<JoinGroupRequest>(version, group::Response::Join(said));
        assert_eq!((response.error_code, response.generation_id, response.leader.as_str()), (0, 4, "m"));
        assert_eq!(response.protocol_type, (version >= 7).then(|| s("consumer")), "version {version}");
        assert_eq!(response.protocol_name, Some(s("range")));
        assert_eq!(response.skip_assignment, version == 9);
        assert_eq!(response.members[0].group_instance_id, (version >= 5).then(|| s("i")));
        assert_eq!(response.members[0].metadata, "meta");

        let no_name = (version < 7).then(StrBytes::default);
        let response = desk.ask(version, join("g")).said::<JoinGroupRequest>(version, group::Response::Join(refused));
        assert_eq!((response.error_code, response.member_id.as_str()), (79, "m"));
        assert_eq!((response.protocol_type, response.protocol_name), (None, no_name.clone()), "version {version}");
        let response = desk.ask(version, join("g")).refused::<JoinGroupRequest>(version, ErrorCode::NotCoordinator);
        assert_eq!((response.error_code, response.generation_id, response.member_id.as_str()), (16, -1, "m"));
        assert_eq!(response.protocol_name, no_name);
    }
}

#[test]
fn sync_group_names_its_protocol_from_version_5() {
    let desk = desk(true);
    for version in 0..=5 {
        let named = (version >= 5).then(|| "consumer".to_string());
        let asked = desk.ask(version, sync("g"));
        let group::Request::Sync(request) = asked.request() else { panic!("{:?}", asked.questions) };
        assert_eq!((request.generation_id, &request.protocol_type), (4, &named));
        assert_eq!(request.assignments, [("m".to_string(), Bytes::from_static(b"mine"))]);
        let said = group::SyncResponse {
            error: ErrorCode::None,
            protocol_type: Some("consumer".to_string()),
            protocol_name: Some("range".to_string()),
            assignment: Bytes::from_static(b"mine"),
        };
        let response = asked.said::<SyncGroupRequest>(version, group::Response::Sync(said));
        assert_eq!((response.error_code, &*response.assignment), (0, &b"mine"[..]));
        assert_eq!(response.protocol_type, (version >= 5).then(|| s("consumer")));
        let response = desk.ask(version, sync("g")).refused::<SyncGroupRequest>(version, ErrorCode::NotCoordinator);
        assert_eq!((response.error_code, response.protocol_name, response.assignment.len()), (16, None, 0));
    }
    for unnamed in [sync("g").with_protocol_type(None), sync("g").with_protocol_name(None)] {
        assert_eq!(desk.at_once(5, unnamed.clone()).error_code, 23);
        desk.ask(4, unnamed);
    }
}

#[test]
fn heartbeats_carry_one_code() {
    let desk = desk(true);
    for version in 0..=4 {
        let instance = (version >= 3).then(|| s("i"));
        let asked = desk.ask(version, heartbeat("g").with_group_instance_id(instance));
        let expected = group::HeartbeatRequest {
            group_id: "g".to_string(),
            generation_id: 4,
            member_id: "m".to_string(),
            group_instance_id: (version >= 3).then(|| "i".to_string()),
        };
        assert_eq!(asked.request(), &group::Request::Heartbeat(expected));
        let said = group::Response::Heartbeat(ErrorCode::RebalanceInProgress);
        assert_eq!(asked.said::<HeartbeatRequest>(version, said).error_code, 27);
        let asked = desk.ask(version, heartbeat("g"));
        assert_eq!(asked.refused::<HeartbeatRequest>(version, ErrorCode::NotCoordinator).error_code, 16);
    }
}

#[test]
fn one_members_leave_error_is_the_groups_before_version_3() {
    let desk = desk(true);
    for version in 0..=5 {
        let asked = desk.ask(version, leave(version, "g"));
        let group::Request::Leave(request) = asked.request() else { panic!("{:?}", asked.questions) };
        let mut members = request.members.clone();
        assert_eq!(members.len(), if version < 3 { 1 } else { 2 });
        assert_eq!((members[0].member_id.as_str(), &members[0].group_instance_id), ("m", &None));
        let codes = [ErrorCode::UnknownMemberId, ErrorCode::None];
        let members = members.drain(..).zip(codes).collect();
        let said = group::Response::Leave(group::LeaveResponse { error: ErrorCode::None, members });
        let response = asked.said::<LeaveGroupRequest>(version, said);
        if version < 3 {
            assert_eq!(response.error_code, 25);
        } else {
            let members = response.members.iter().map(|m| (m.member_id.as_str(), m.group_instance_id.clone()));
            assert_eq!(members.collect::<Vec<_>>(), [("m", None), ("", Some(s("i")))]);
            assert_eq!((response.error_code, response.members[0].error_code), (0, 25));
        }
        let asked = desk.ask(version, leave(version, "g"));
        assert_eq!(asked.refused::<LeaveGroupRequest>(version, ErrorCode::NotCoordinator).error_code, 16);
    }
}

#[test]
fn without_a_group_id_no_one_joins() {
    for desk in [desk(true), desk(false)] {
        assert_eq!(desk.at_once(9, join("")).error_code, 24);
        assert_eq!(desk.at_once(5, sync("")).error_code, 24);
        assert_eq!(desk.at_once(4, heartbeat("")).error_code, 24);
        assert_eq!(desk.at_once(2, leave(2, "")).error_code, 24);
        assert_eq!(desk.at_once(5, leave(5, "")).error_code, 24);
        assert_eq!(desk.at_once(0, offset_delete("", &[("apples", &[0])])).error_code, 24);
    }
    // Consumers that manage their own partitions may go without.
    desk(true).ask(8, commit("", &[("apples", &[0])]));
    desk(true).ask(7, fetch("", Some(&[("apples", &[0])])));
}

#[test]
fn while_there_is_no_offsets_topic_there_is_no_coordinator() {
    let desk = desk(false);
    assert_eq!(desk.at_once(9, join("g")).error_code, 15);
    assert_eq!(desk.at_once(5, sync("g")).error_code, 15);
    assert_eq!(desk.at_once(4, heartbeat("g")).error_code, 15);
    assert_eq!(desk.at_once(0, leave(0, "g")).error_code, 15);
    let committed = desk.at_once(8, commit("g", &[("apples", &[0, 9])]));
    let codes: Vec<i16> = committed.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [15, 3]);
    assert_eq!(desk.at_once(7, fetch("g", None)).error_code, 15);
    let fetched = desk.at_once(1, fetch("g", Some(&[("apples", &[0])])));
    assert_eq!(fetched.topics[0].partitions[0].error_code, 15);
    assert_eq!(desk.at_once(0, offset_delete("g", &[("apples", &[0])])).error_code, 15);
    let listed = desk.at_once(5, ListGroupsRequest::default());
    assert_eq!((listed.error_code, listed.groups.len()), (0, 0));
    let described = desk.at_once(5, DescribeGroupsRequest::default().with_groups(vec![g("x"), g("y")]));
    assert_eq!(described.groups.len(), 2);
    assert_eq!((described.groups[1].error_code, described.groups[1].group_state.as_str()), (0, "Dead"));
    let deleted = desk.at_once(2, DeleteGroupsRequest::default().with_groups_names(vec![g("x"), g("y")]));
    assert_eq!(deleted.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [15, 15]);
}

type Names<'a> = &'a [(&'a str, &'a [i32])];
/// A topic, its id, and partitions with their offsets.
type Sent<'a> = (&'a str, TopicId, Vec<(i32, i64)>);

fn commit(group: &str, topics: Names<'_>) -> OffsetCommitRequest {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let topics = topics.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(100 + i64::from(*partition))
                .with_committed_metadata(None)
        });
        OffsetCommitRequestTopic::default().with_name(t(name)).with_partitions(partitions.collect())
    });
    OffsetCommitRequest::default()
        .with_group_id(g(group))
        .with_generation_id_or_member_epoch(4)
        .with_member_id(s("m"))
        .with_topics(topics.collect())
}

/// What the coordinator would say to what it is asked: the code for each partition.
fn commit_outcome(request: &group::Request, code: ErrorCode) -> group::Response {
    let group::Request::OffsetCommit(request) = request else { panic!("{request:?}") };
    let topics = request.topics.iter().map(|topic| group::TopicErrors {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|p| (p.partition, code)).collect(),
    });
    group::Response::OffsetCommit(group::OffsetCommitResponse { topics: topics.collect() })
}

/// Names, partitions and codes of a commit's response, in order.
fn codes(response: &OffsetCommitResponse) -> Vec<(&str, i32, i16)> {
    let topics = response.topics.iter();
    topics
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p.partition_index, p.error_code)))
        .collect()
}

#[test]
fn commits_are_answered_in_the_order_of_the_request_whoever_answers() {
    let desk = desk(true);
    let topics: Names<'_> = &[("none", &[0]), ("pears", &[1, 0, -1]), ("apples", &[2, 3, 0]), ("pears", &[5])];
    for version in 2..=9 {
        let asked = desk.ask(version, commit("g", topics).with_retention_time_ms(if version < 5 { 1_000 } else { -1 }));
        let group::Request::OffsetCommit(request) = asked.request() else { panic!("{:?}", asked.questions) };
        let sent: Vec<Sent<'_>> = request
            .topics
            .iter()
            .map(|t| (t.name.as_str(), t.topic_id, t.partitions.iter().map(|p| (p.partition, p.offset)).collect()))
            .collect();
        assert_eq!(sent, [("pears", id(2), vec![(0, 100)]), ("apples", id(1), vec![(2, 102), (0, 100)])]);
        assert_eq!((request.generation_id, request.member_id.as_str()), (4, "m"));
        assert_eq!(request.retention_ms, (version < 5).then_some(1_000));
        assert_eq!(request.group_id_not_found_known, version == 9);
        let said = commit_outcome(asked.request(), ErrorCode::IllegalGeneration);
        let expected = |code| {
            let (pears, apples) = ([("pears", 1, 3), ("pears", 0, code), ("pears", -1, 3)], [2, 0]);
            let mut all = vec![("none", 0, 3)];
            all.extend(pears);
            all.extend([("apples", apples[0], code), ("apples", 3, 3), ("apples", apples[1], code), ("pears", 5, 3)]);
            all
        };
        assert_eq!(codes(&asked.said::<OffsetCommitRequest>(version, said)), expected(22), "version {version}");
        let asked = desk.ask(version, commit("g", topics));
        assert_eq!(codes(&asked.refused::<OffsetCommitRequest>(version, ErrorCode::NotCoordinator)), expected(16));
    }
}

#[test]
fn a_commit_to_nothing_that_is_there_asks_nobody() {
    for desk in [desk(true), desk(false)] {
        let response = desk.at_once(8, commit("g", &[("none", &[0, 1])]));
        assert_eq!(codes(&response), [("none", 0, 3), ("none", 1, 3)]);
        assert!(desk.at_once(8, commit("g", &[])).topics.is_empty());
    }
}

#[test]
fn commits_by_topic_id() {
    let desk = desk(true);
    let mut request = commit("g", &[("", &[0]), ("", &[0, 7])]);
    request.topics[0].topic_id = uuid_of(id(8));
    request.topics[1].topic_id = uuid_of(id(1));
    let Ok(asked) = desk.begin(Request::OffsetCommit(request.clone()), 10) else { panic!("answered at once") };
    let group::Request::OffsetCommit(sent) = asked.request() else { panic!("{:?}", asked.questions) };
    assert_eq!((sent.topics.len(), sent.topics[0].name.as_str(), sent.topics[0].topic_id), (1, "apples", id(1)));
    let said = commit_outcome(asked.request(), ErrorCode::None);
    let response = asked.said::<OffsetCommitRequest>(10, said);
    assert_eq!(codes(&response), [("", 0, 100), ("", 0, 0), ("", 7, 3)]);
    assert_eq!(response.topics[0].topic_id, uuid_of(id(8)));
    request.topics.truncate(1);
    let Err(out) = desk.begin(Request::OffsetCommit(request), 10) else { panic!("asks") };
    assert_eq!(codes(&read::<OffsetCommitRequest>(10, &out)), [("", 0, 100)]);
}

fn fetch(group: &str, topics: Option<Names<'_>>) -> OffsetFetchRequest {
    use offset_fetch_request::OffsetFetchRequestTopic;
    let topics = topics.map(|topics| {
        let topics = topics.iter();
        topics
            .map(|(name, partitions)| {
                OffsetFetchRequestTopic::default().with_name(t(name)).with_partition_indexes(partitions.to_vec())
            })
            .collect()
    });
    OffsetFetchRequest::default().with_group_id(g(group)).with_topics(topics)
}

fn fetch_many(groups: &[(&str, Option<Names<'_>>)]) -> OffsetFetchRequest {
    use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    let groups = groups.iter().map(|(group, topics)| {
        let topics = topics.map(|topics| {
            let topics = topics.iter();
            topics
                .map(|(name, partitions)| {
                    OffsetFetchRequestTopics::default().with_name(t(name)).with_partition_indexes(partitions.to_vec())
                })
                .collect()
        });
        OffsetFetchRequestGroup::default().with_group_id(g(group)).with_topics(topics)
    });
    OffsetFetchRequest::default().with_groups(groups.collect())
}

fn fetched(name: &str, topic_id: TopicId, offsets: &[(i32, i64)]) -> group::FetchedTopic {
    let partitions = offsets.iter().map(|(partition, offset)| group::FetchedOffset {
        partition: *partition,
        offset: *offset,
        leader_epoch: 6,
        metadata: "note".to_string(),
        error: ErrorCode::None,
    });
    group::FetchedTopic { name: name.to_string(), topic_id, partitions: partitions.collect() }
}

fn fetch_said(error: ErrorCode, topics: Vec<group::FetchedTopic>) -> Answer {
    Answer::Group(group::Response::OffsetFetch(group::OffsetFetchResponse { error, topics }))
}

#[test]
fn one_groups_offsets_by_name() {
    let desk = desk(true);
    let topics: Names<'_> = &[("gone", &[4]), ("apples", &[2, 0])];
    for version in 1..=7 {
        let asked = desk.ask(version, fetch("g", Some(topics)).with_require_stable(version == 7));
        let of = |name: &str, topic_id, partitions| group::FetchTopic { name: name.to_string(), topic_id, partitions };
        let expected = group::OffsetFetchRequest {
            group_id: "g".to_string(),
            topics: Some(vec![of("gone", TopicId::ZERO, vec![4]), of("apples", id(1), vec![2, 0])]),
            require_stable: version == 7,
        };
        assert_eq!(asked.request(), &group::Request::OffsetFetch(expected));
        let said = vec![fetched("gone", TopicId::ZERO, &[(4, 40)]), fetched("apples", id(1), &[(2, 20), (0, -1)])];
        let response = asked.answered::<OffsetFetchRequest>(version, vec![fetch_said(ErrorCode::None, said)]);
        let (gone, apples) = (&response.topics[0], &response.topics[1]);
        assert_eq!((gone.name.as_str(), gone.partitions[0].committed_offset), ("gone", 40));
        assert_eq!((apples.name.as_str(), apples.partitions[0].committed_offset), ("apples", 20));
        assert_eq!(apples.partitions[0].committed_leader_epoch, if version < 5 { -1 } else { 6 });
        assert_eq!((apples.partitions[1].partition_index, apples.partitions[1].committed_offset), (0, -1));
        assert_eq!(apples.partitions[0].metadata, Some(s("note")));
    }
}

#[test]
fn a_groups_error_is_every_partitions_before_version_2() {
    let desk = desk(true);
    let topics: Names<'_> = &[("apples", &[2, 0])];
    for version in 1..=9 {
        let request = || if version < 8 { fetch("g", Some(topics)) } else { fetch_many(&[("g", Some(topics))]) };
        let loading = || fetch_said(ErrorCode::CoordinatorLoadInProgress, Vec::new());
        for answer in [loading(), Answer::Refused(ErrorCode::CoordinatorLoadInProgress)] {
            let response = desk.ask(version, request()).answered::<OffsetFetchRequest>(version, vec![answer]);
            match version {
                1 => {
                    let partitions = &response.topics[0].partitions;
                    let told = partitions.iter().map(|p| (p.partition_index, p.committed_offset, p.error_code));
                    assert_eq!(told.collect::<Vec<_>>(), [(2, -1, 14), (0, -1, 14)]);
                }
                2..=7 => assert_eq!((response.error_code, response.topics.len()), (14, 0), "version {version}"),
                _ => assert_eq!((response.groups[0].error_code, response.groups[0].topics.len()), (14, 0)),
            }
        }
    }
}

#[test]
fn many_groups_are_asked_of_their_coordinators_and_answered_in_order() {
    let desk = desk(true);
    let groups: [(&str, Option<Names<'_>>); 4] =
        [("z", None), ("a", Some(&[("apples", &[0])])), ("z", Some(&[("apples", &[0])])), ("m", Some(&[]))];
    for version in [8, 9] {
        let asked = desk.ask(version, fetch_many(&groups));
        let partitions: Vec<i32> = asked.group_requests().iter().map(|(partition, _)| *partition).collect();
        assert_eq!(partitions, ["z", "a", "m"].map(|group| group_partition(group, 50)));
        let all = vec![fetched("gone", TopicId::ZERO, &[(1, 10)]), fetched("apples", id(1), &[(0, 5)])];
        let answers = vec![
            fetch_said(ErrorCode::None, all),
            Answer::Refused(ErrorCode::NotCoordinator),
            fetch_said(ErrorCode::None, vec![]),
        ];
        let response = asked.answered::<OffsetFetchRequest>(version, answers);
        let told: Vec<(&str, i16, usize)> = response
            .groups
            .iter()
            .map(|group| (group.group_id.as_str(), group.error_code, group.topics.len()))
            .collect();
        assert_eq!(told, [("z", 0, 2), ("a", 16, 0), ("m", 0, 0)]);
        assert_eq!(response.groups[0].topics[1].partitions[0].committed_offset, 5);
    }
    assert!(desk.at_once(8, fetch_many(&[])).groups.is_empty());
}

#[test]
fn offsets_by_topic_id() {
    let desk = desk(true);
    let mut request = fetch_many(&[("g", Some(&[("", &[3, 4]), ("", &[0])])), ("all", None)]);
    let topics = request.groups[0].topics.as_mut().unwrap();
    (topics[0].topic_id, topics[1].topic_id) = (uuid_of(id(8)), uuid_of(id(2)));
    let Ok(asked) = desk.begin(Request::OffsetFetch(request), 10) else { panic!("answered at once") };
    let group::Request::OffsetFetch(sent) = asked.group_requests()[0].1 else { panic!("{:?}", asked.questions) };
    let sent = sent.topics.as_ref().unwrap();
    assert_eq!((sent.len(), sent[0].name.as_str(), sent[0].topic_id), (1, "pears", id(2)));
    let all = vec![
        fetched("apples", TopicId::ZERO, &[(0, 5)]),
        fetched("gone", TopicId::ZERO, &[(0, 6)]),
        fetched("pears", id(2), &[(0, 7)]),
    ];
    let answers =
        vec![fetch_said(ErrorCode::None, vec![fetched("pears", id(2), &[(0, 9)])]), fetch_said(ErrorCode::None, all)];
    let response = asked.answered::<OffsetFetchRequest>(10, answers);
    let told = response.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| {
        topic.partitions.iter().map(|p| (topic.topic_id, p.partition_index, p.committed_offset, p.error_code))
    });
    let (unknown, apples, pears) = (uuid_of(id(8)), uuid_of(id(1)), uuid_of(id(2)));
    let expected =
        [(unknown, 3, -1, 100), (unknown, 4, -1, 100), (pears, 0, 9, 0), (apples, 0, 5, 0), (pears, 0, 7, 0)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

/// A request's frame without its prefix, read as its header says.
fn read_request(frame: &[u8]) -> Request {
    let mut rope = Rope::of(frame);
    let header = frame::take_header(&mut rope).unwrap();
    decode(header.api, header.version, rope).unwrap()
}

#[test]
fn offset_fetch_0_is_laid_out_as_1_and_answered_so() {
    let desk = desk(true);
    let mut bytes = Vec::new();
    encode_request(&mut bytes, 1, CORRELATION, "client", &fetch("g", Some(&[("apples", &[2])]))).unwrap();
    bytes[6..8].copy_from_slice(&0i16.to_be_bytes());
    for (answer, offset, code) in [
        (fetch_said(ErrorCode::None, vec![fetched("apples", id(1), &[(2, 20)])]), 20, 0),
        (Answer::Refused(ErrorCode::NotCoordinator), -1, 16),
    ] {
        let Ok(asked) = desk.begin(read_request(&bytes[4..]), 0) else { panic!("answered at once") };
        let mut out = Vec::new();
        finish(&desk.context(), asked.kept, vec![answer], 0, CORRELATION, &mut out);
        let response = read::<OffsetFetchRequest>(1, &out);
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.partition_index, partition.committed_offset, partition.error_code), (2, offset, code));
    }
}

#[test]
fn offset_commit_1_carries_the_times_of_its_offsets() {
    let desk = desk(true);
    let mut bytes = Vec::new();
    bytes.extend([0, 8, 0, 1, 0, 0, 0, CORRELATION as u8, 0, 1, b'c']);
    bytes.extend(b"\0\x01g\0\0\0\x04\0\x01m\0\0\0\x01\0\x06apples\0\0\0\x02");
    for partition in [7i32, 1] {
        bytes.extend(partition.to_be_bytes());
        bytes.extend(33i64.to_be_bytes());
        bytes.extend(1_700_000_000_000i64.to_be_bytes());
        bytes.extend(b"\xff\xff");
    }
    let Ok(asked) = desk.begin(read_request(&bytes), 1) else { panic!("answered at once") };
    let group::Request::OffsetCommit(sent) = asked.request() else { panic!("{:?}", asked.questions) };
    let partition = group::CommitPartition { partition: 1, offset: 33, leader_epoch: -1, metadata: None };
    assert_eq!((sent.topics[0].partitions.as_slice(), sent.retention_ms), ([partition].as_slice(), None));
    let said = Answer::Group(commit_outcome(asked.request(), ErrorCode::None));
    let mut out = Vec::new();
    finish(&desk.context(), asked.kept, vec![said], 1, CORRELATION, &mut out);
    assert_eq!(codes(&read::<OffsetCommitRequest>(2, &out)), [("apples", 7, 3), ("apples", 1, 0)]);
}

fn offset_delete(group: &str, topics: Names<'_>) -> OffsetDeleteRequest {
    use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let topics = topics.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|p| OffsetDeleteRequestPartition::default().with_partition_index(*p));
        OffsetDeleteRequestTopic::default().with_name(t(name)).with_partitions(partitions.collect())
    });
    OffsetDeleteRequest::default().with_group_id(g(group)).with_topics(topics.collect())
}

#[test]
fn offsets_are_deleted_of_topics_that_are_there() {
    let desk = desk(true);
    let topics: Names<'_> = &[("none", &[0]), ("apples", &[0, 3, 2])];
    let asked = desk.ask(0, offset_delete("g", topics));
    let expected =
        group::OffsetDeleteRequest { group_id: "g".to_string(), topics: vec![("apples".to_string(), vec![0, 2])] };
    assert_eq!(asked.request(), &group::Request::OffsetDelete(expected));
    let outcome = vec![(0, ErrorCode::None), (2, ErrorCode::GroupSubscribedToTopic)];
    let said = |error, topics| group::Response::OffsetDelete(group::OffsetDeleteResponse { error, topics });
    let response = asked.said::<OffsetDeleteRequest>(0, said(ErrorCode::None, vec![("apples".to_string(), outcome)]));
    let told = response
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p.partition_index, p.error_code)));
    let expected = [("none", 0, 3), ("apples", 0, 0), ("apples", 3, 3), ("apples", 2, 86)];
    assert_eq!(told.collect::<Vec<_>>(), expected);

    let asked = desk.ask(0, offset_delete("g", topics));
    let response = asked.said::<OffsetDeleteRequest>(0, said(ErrorCode::GroupIdNotFound, Vec::new()));
    assert_eq!((response.error_code, response.topics.len()), (69, 0));
    let response = desk.at_once(0, offset_delete("g", &[("none", &[0])]));
    assert_eq!((response.error_code, response.topics[0].partitions[0].error_code), (0, 3));
}

#[test]
fn every_core_lists_its_groups() {
    let desk = desk(true);
    for version in 0..=5 {
        let states = if version >= 4 { vec![s("Stable")] } else { Vec::new() };
        let types = if version >= 5 { vec![s("classic")] } else { Vec::new() };
        let asked = desk.ask(version, ListGroupsRequest::default().with_states_filter(states).with_types_filter(types));
        let targets: Vec<Target> = asked.questions.iter().map(|(target, _)| *target).collect();
        assert_eq!(targets, (0..CORES).map(|core| Target::Core(CoreId(core))).collect::<Vec<_>>());
        for (_, question) in &asked.questions {
            let Question::AllGroups(filter) = question else { panic!("{question:?}") };
            assert_eq!(filter.states, if version >= 4 { vec!["Stable"] } else { vec![] });
            assert_eq!(filter.types, if version >= 5 { vec!["classic"] } else { vec![] });
        }
        let of = |name: &str| group::ListedGroup {
            group_id: name.to_string(),
            protocol_type: "consumer".to_string(),
            state: "Stable",
            group_type: "classic",
        };
        let answers = vec![
            Answer::AllGroups(vec![of("a"), of("b")]),
            Answer::AllGroups(vec![]),
            Answer::Refused(ErrorCode::CoordinatorLoadInProgress),
            Answer::AllGroups(vec![of("c")]),
        ];
        let response = asked.answered::<ListGroupsRequest>(version, answers);
        assert_eq!(response.error_code, 14);
        let names: Vec<&str> = response.groups.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(response.groups[0].protocol_type.as_str(), "consumer");
        assert_eq!(response.groups[0].group_state.as_str(), if version >= 4 { "Stable" } else { "" });
        assert_eq!(response.groups[0].group_type.as_str(), if version >= 5 { "classic" } else { "" });
    }
}

fn description(name: &str, found: bool, error: ErrorCode) -> group::DescribedGroup {
    let member = group::DescribedMember {
        member_id: "m".to_string(),
        group_instance_id: Some("i".to_string()),
        client_id: "client".to_string(),
        client_host: "/127.0.0.1".to_string(),
        metadata: Bytes::from_static(b"meta"),
        assignment: Bytes::from_static(b"mine"),
    };
    group::DescribedGroup {
        group_id: name.to_string(),
        error,
        found,
        state: if found { "Stable" } else { "Dead" },
        protocol_type: if found { "consumer".to_string() } else { String::new() },
        protocol: if found { "range".to_string() } else { String::new() },
        members: if found { vec![member] } else { Vec::new() },
    }
}

/// Two names that the same coordinator keeps, the first of them given.
fn neighbour(name: &str) -> String {
    let partition = group_partition(name, 50);
    let mut names = (0..).map(|n| format!("group-{n}"));
    names.find(|other| other != name && group_partition(other, 50) == partition).unwrap()
}

#[test]
fn groups_are_described_in_the_order_asked_each_once() {
    let desk = desk(true);
    let beside = neighbour("a");
    for version in 0..=6 {
        let names = vec![g("a"), g("z"), g(&beside), g("a"), g("busy")];
        let request = DescribeGroupsRequest::default().with_groups(names);
        let asked = desk.ask(version, request.with_include_authorized_operations(version >= 3));
        let sent: Vec<(i32, Vec<String>)> = asked
            .group_requests()
            .into_iter()
            .map(|(partition, request)| {
                let group::Request::DescribeGroups(request) = request else { panic!("{request:?}") };
                (partition, request.groups.clone())
            })
            .collect();
        let of = |name: &str| group_partition(name, 50);
        let expected = [
            (of("a"), vec!["a".to_string(), beside.clone()]),
            (of("z"), vec!["z".to_string()]),
            (of("busy"), vec!["busy".to_string()]),
        ];
        assert_eq!(sent, expected);
        let found = description("a", true, ErrorCode::None);
        let answers = vec![
            Answer::Group(group::Response::DescribeGroups(vec![found, description(&beside, false, ErrorCode::None)])),
            Answer::Refused(ErrorCode::NotCoordinator),
            Answer::Group(group::Response::DescribeGroups(vec![description(
                "busy",
                false,
                ErrorCode::CoordinatorLoadInProgress,
            )])),
        ];
        let response = asked.answered::<DescribeGroupsRequest>(version, answers);
        let operations = if version >= 3 { admin_operations() } else { i32::MIN };
        let not_found = if version >= 6 { 69 } else { 0 };
        let told: Vec<(&str, i16, &str, i32)> = response
            .groups
            .iter()
            .map(|d| (d.group_id.as_str(), d.error_code, d.group_state.as_str(), d.authorized_operations))
            .collect();
        let expected = [
            ("a", 0, "Stable", operations),
            ("z", 16, "", i32::MIN),
            (beside.as_str(), not_found, "Dead", if version >= 6 { i32::MIN } else { operations }),
            ("busy", 14, "", i32::MIN),
        ];
        assert_eq!(told, expected, "version {version}");
        let message = (version >= 6).then(|| StrBytes::from_string(format!("Group {beside} not found.")));
        assert_eq!(response.groups[2].error_message, message);
        let member = &response.groups[0].members[0];
        assert_eq!((member.client_host.as_str(), member.client_id.as_str()), ("/127.0.0.1", "client"));
        assert_eq!((&*member.member_metadata, &*member.member_assignment), (&b"meta"[..], &b"mine"[..]));
        assert_eq!(member.group_instance_id, (version >= 4).then(|| s("i")));
    }
    let unasked = desk.ask(6, DescribeGroupsRequest::default().with_groups(vec![g("a")]));
    let said = group::Response::DescribeGroups(vec![description("a", true, ErrorCode::None)]);
    assert_eq!(unasked.said::<DescribeGroupsRequest>(6, said).groups[0].authorized_operations, i32::MIN);
    assert!(desk.at_once(6, DescribeGroupsRequest::default()).groups.is_empty());
}

/// Read, delete, describe, describe configs, alter configs.
fn admin_operations() -> i32 {
    [3, 6, 8, 10, 11].iter().map(|operation| 1 << operation).sum()
}

#[test]
fn groups_are_deleted_by_their_coordinators_and_answered_in_order() {
    let desk = desk(true);
    let beside = neighbour("a");
    for version in 0..=2 {
        let names = vec![g("z"), g(&beside), g("a"), g("z"), g("")];
        let asked = desk.ask(version, DeleteGroupsRequest::default().with_groups_names(names));
        assert_eq!(asked.questions.len(), 3);
        let answers = vec![
            Answer::Refused(ErrorCode::NotCoordinator),
            Answer::Group(group::Response::DeleteGroups(vec![
                ("a".to_string(), ErrorCode::NonEmptyGroup),
                (beside.clone(), ErrorCode::None),
            ])),
            Answer::Group(group::Response::DeleteGroups(vec![(String::new(), ErrorCode::GroupIdNotFound)])),
        ];
        let response = asked.answered::<DeleteGroupsRequest>(version, answers);
        let told: Vec<(&str, i16)> = response.results.iter().map(|r| (r.group_id.as_str(), r.error_code)).collect();
        assert_eq!(told, [("z", 16), (beside.as_str(), 0), ("a", 68), ("", 69)], "version {version}");
    }
    assert!(desk.at_once(2, DeleteGroupsRequest::default()).results.is_empty());
}

#[test]
fn addresses_are_printed_as_java_does() {
    let host = |ip: &str| client_host(ip.parse().unwrap());
    assert_eq!(host("10.1.2.3"), "/10.1.2.3");
    assert_eq!(host("::ffff:10.1.2.3"), "/10.1.2.3");
    assert_eq!(host("::1"), "/0:0:0:0:0:0:0:1");
    assert_eq!(host("fe80::ab:1"), "/fe80:0:0:0:0:0:ab:1");
}
