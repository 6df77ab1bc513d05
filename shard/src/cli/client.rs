//! A small blocking Kafka client: connections, version negotiation, metadata, retries. One request at a time.
//! Not for load: the tools of this binary are its only users. It lives on the tool's main thread.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use ringlog_engine::ErrorCode;
use ringlog_net::cold::messages::metadata_request::MetadataRequestTopic;
use ringlog_net::cold::messages::metadata_response::MetadataResponseTopic;
use ringlog_net::cold::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest, GroupId, MetadataRequest, MetadataResponse,
    TopicName,
};
use ringlog_net::cold::{Call, StrBytes, decode_response, encode_request, negotiate};

use super::output::Failure;

const CLIENT_ID: &str = "ringlog-cli";
/// A longer response than this is taken for nonsense. Bytes; fetches ask for far less.
const MAX_RESPONSE: u32 = 512 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a topic may take to appear where it is made on first use.
const CREATION: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why a request has no usable answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No connection to any address of a broker.
    Connect { address: String, learned: bool, error: io::Error },
    /// The connection broke, or the answer did not come in time.
    Lost { address: String, error: io::Error },
    /// The broker answered with an error code. `subject` is what it is about: "topic orders".
    Refused { subject: String, code: i16, message: Option<String> },
    /// The broker has no version of this API in common with us.
    Unsupported { address: String, api_key: i16 },
    /// What came is not Kafka's protocol.
    Nonsense { address: String, text: String },
}

impl Trouble {
    pub(super) fn refused(subject: impl Into<String>, code: i16, message: Option<&StrBytes>) -> Trouble {
        let message = message.filter(|m| !m.is_empty()).map(|m| m.to_string());
        Trouble::Refused { subject: subject.into(), code, message }
    }

    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Trouble::Refused { code, .. } => ErrorCode::from_code(*code),
            _ => None,
        }
    }

    fn retriable(&self) -> bool {
        match self {
            Trouble::Connect { .. } | Trouble::Lost { .. } => true,
            Trouble::Refused { .. } => self.code().is_some_and(ErrorCode::retriable),
            Trouble::Unsupported { .. } | Trouble::Nonsense { .. } => false,
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Failed(trouble.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Connect { address, learned: false, error } => write!(
                f,
                "cannot connect to {address}: {error}. `ringlog start` starts a broker; --bootstrap-server names another one."
            ),
            Trouble::Connect { address, learned: true, error } => write!(
                f,
                "cannot connect to {address}: {error}. The broker gave this address: check its advertised.listeners."
            ),
            Trouble::Lost { address, error } => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    write!(f, "{address} did not answer in time; --timeout waits longer")
                }
                io::ErrorKind::UnexpectedEof => write!(f, "{address} closed the connection; its output may say why"),
                _ => write!(f, "lost the connection to {address}: {error}"),
            },
            Trouble::Refused { subject, code, message } => {
                let known = ErrorCode::from_code(*code);
                let name = known.map_or_else(|| format!("error code {code}"), |c| c.name().to_string());
                write!(f, "{subject}: {name}")?;
                if let Some(message) = message {
                    write!(f, ": {message}")?;
                }
                match known.and_then(advice) {
                    Some(advice) => write!(f, "\n  {advice}"),
                    None => Ok(()),
                }
            }
            Trouble::Unsupported { address, api_key } => {
                write!(f, "{address} does not offer API {api_key} in a version this tool speaks")
            }
            Trouble::Nonsense { address, text } => {
                write!(f, "{address} does not speak Kafka's protocol in plain text ({text}); check the port")
            }
        }
    }
}

/// What a person can do about an error code.
fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopicOrPartition => {
            "`ringlog topic list` shows the topics there are; `ringlog topic create` makes one."
        }
        ErrorCode::TopicAlreadyExists => {
            "`ringlog topic describe` shows it; --if-not-exists accepts it; `ringlog topic alter` changes it."
        }
        ErrorCode::InvalidReplicationFactor => "A topic can have at most one replica on each broker.",
        ErrorCode::InvalidPartitions => "The number of partitions is at least 1 and can only grow.",
        ErrorCode::InvalidConfig => "`ringlog topic describe NAME --all` shows every setting of a topic.",
        ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId => {
            "Stop the group's consumers first; `ringlog group describe` shows them."
        }
        ErrorCode::GroupIdNotFound => "`ringlog group list` shows the groups there are.",
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "`ringlog topic alter NAME --config max.message.bytes=N` raises the limit."
        }
        ErrorCode::LeaderNotAvailable => {
            "No broker serves this partition: one is down, or was started without the log directory the partition is in."
        }
        ErrorCode::KafkaStorageError => "A log directory of the broker failed; the broker's output says which and why.",
        ErrorCode::InconsistentGroupProtocol => {
            "The members of this group use another protocol; use another --group, or stop them first."
        }
        _ => return None,
    })
}

/// Which broker a request goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Node {
    /// Whichever of the bootstrap servers answers.
    Any,
    Id(i32),
}

struct Connection {
    stream: TcpStream,
    address: String,
    /// What the broker speaks.
    versions: ApiVersionsResponse,
}

/// Connections to a cluster, made when first needed.
pub(super) struct Client {
    bootstrap: Vec<String>,
    timeout: Duration,
    connections: BTreeMap<Node, Connection>,
    /// Addresses learned from the cluster, by node id.
    brokers: BTreeMap<i32, String>,
    correlation_id: i32,
}

impl Client {
    /// Connects to the first of `servers` (`host:port,...`) that answers. `timeout` bounds every later retry.
    pub(super) fn connect(servers: &str, timeout: Duration) -> Result<Client, Failure> {
        let mut bootstrap = Vec::new();
        for server in servers.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            bootstrap.push(with_port(server).map_err(Failure::Usage)?);
        }
        if bootstrap.is_empty() {
            return Err(Failure::Usage("--bootstrap-server names no broker; write HOST:PORT".to_string()));
        }
        let mut client =
            Client { bootstrap, timeout, connections: BTreeMap::new(), brokers: BTreeMap::new(), correlation_id: 0 };
        client.ensure_connected(Node::Any)?;
        Ok(client)
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Repeats `attempt` while it fails in a way that may pass, with growing pauses, until the timeout.
    pub(super) fn retry<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Client) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt(self) {
                Err(trouble) if trouble.retriable() && Instant::now() + pause < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    /// One request and its answer, at the highest version both sides know and not above `most`.
    pub(super) fn call<R: Call>(&mut self, node: Node, most: i16, request: &R) -> Result<R::Response, Trouble> {
        self.call_waiting(node, most, request, Duration::ZERO)
    }

    /// As `call`, for a request that the broker may hold back for up to `wait` before it answers.
    pub(super) fn call_waiting<R: Call>(
        &mut self,
        node: Node,
        most: i16,
        request: &R,
        wait: Duration,
    ) -> Result<R::Response, Trouble> {
        self.exchange(node, most, request, Some(wait)).map(|answer| answer.expect("an answer was waited for"))
    }

    /// A request that is never answered (produce with acks=0).
    pub(super) fn send<R: Call>(&mut self, node: Node, most: i16, request: &R) -> Result<(), Trouble> {
        self.exchange(node, most, request, None).map(|_| ())
    }

    fn exchange<R: Call>(
        &mut self,
        node: Node,
        most: i16,
        request: &R,
        wait: Option<Duration>,
    ) -> Result<Option<R::Response>, Trouble> {
        let timeout = self.timeout;
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let correlation_id = self.correlation_id;
        let connection = self.ensure_connected(node)?;
        let version = connection.version::<R>(most)?;
        let outcome = connection.exchange(request, version, correlation_id, wait.map(|w| w + timeout));
        if let Err(Trouble::Lost { .. } | Trouble::Nonsense { .. }) = &outcome {
            self.connections.remove(&node);
        }
        outcome
    }

    fn ensure_connected(&mut self, node: Node) -> Result<&mut Connection, Trouble> {
        if !self.connections.contains_key(&node) {
            let connection = self.open(node)?;
            self.connections.insert(node, connection);
        }
        Ok(self.connections.get_mut(&node).expect("just connected"))
    }

    fn open(&mut self, node: Node) -> Result<Connection, Trouble> {
        let learned = matches!(node, Node::Id(_));
        let addresses = match node {
            Node::Any => self.bootstrap.clone(),
            Node::Id(id) => match self.brokers.get(&id) {
                Some(address) => vec![address.clone()],
                None => {
                    return Err(Trouble::refused(format!("broker {id}"), ErrorCode::BrokerNotAvailable.code(), None));
                }
            },
        };
        let mut last = None;
        for address in addresses {
            match dial(&address) {
                Ok(stream) => {
                    let mut connection = Connection { stream, address, versions: ApiVersionsResponse::default() };
                    connection.negotiate(self.timeout)?;
                    return Ok(connection);
                }
                Err(error) => last = Some(Trouble::Connect { address, learned, error }),
            }
        }
        Err(last.expect("there is at least one address"))
    }

    /// Asks for the brokers and for `topics` (none: all of them), and remembers where the brokers are.
    pub(super) fn metadata(&mut self, topics: Option<&[String]>, create: bool) -> Result<MetadataResponse, Trouble> {
        let topics = topics.map(|names| {
            names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
        });
        let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(create);
        let response = self.call(Node::Any, 12, &request)?;
        for broker in &response.brokers {
            let address = join_address(&broker.host, broker.port);
            let id = *broker.node_id;
            if self.brokers.insert(id, address.clone()).is_some_and(|old| old != address) {
                self.connections.remove(&Node::Id(id));
            }
        }
        Ok(response)
    }

    /// The metadata of one topic, all its partitions having leaders. With `create` a missing one is made, if the
    /// broker makes topics on first use.
    pub(super) fn topic(&mut self, name: &str, create: bool) -> Result<MetadataResponseTopic, Trouble> {
        // Without creation there is nothing to wait for; with it, the first answers may say "not yet".
        let patience = Instant::now() + if create { CREATION } else { Duration::ZERO };
        self.retry(|client| match client.topic_once(name, create) {
            Err(trouble)
                if trouble.code() == Some(ErrorCode::UnknownTopicOrPartition) && Instant::now() >= patience =>
            {
                Ok(Err(trouble))
            }
            other => other.map(Ok),
        })?
    }

    /// As `topic`, asking once.
    pub(super) fn topic_once(&mut self, name: &str, create: bool) -> Result<MetadataResponseTopic, Trouble> {
        let mut response = self.metadata(Some(&[name.to_string()]), create)?;
        let subject = || format!("topic {name}");
        let Some(mut topic) = response.topics.pop() else {
            return Err(Trouble::refused(subject(), ErrorCode::UnknownTopicOrPartition.code(), None));
        };
        if topic.error_code != 0 {
            return Err(Trouble::refused(subject(), topic.error_code, None));
        }
        if let Some(p) = topic.partitions.iter().find(|p| *p.leader_id < 0) {
            let code = ErrorCode::LeaderNotAvailable.code();
            return Err(Trouble::refused(format!("partition {} of topic {name}", p.partition_index), code, None));
        }
        topic.partitions.sort_by_key(|p| p.partition_index);
        Ok(topic)
    }

    /// The brokers of the cluster, by node id.
    pub(super) fn nodes(&mut self) -> Result<Vec<Node>, Trouble> {
        self.retry(|client| client.metadata(Some(&[]), false))?;
        Ok(self.brokers.keys().map(|id| Node::Id(*id)).collect())
    }

    /// The broker that coordinates `group`.
    pub(super) fn coordinator(&mut self, group: &str) -> Result<Node, Trouble> {
        self.retry(|client| {
            let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_string()));
            let found = client.call(Node::Any, 3, &request)?;
            if found.error_code != 0 {
                let subject = format!("coordinator of group {group}");
                return Err(Trouble::refused(subject, found.error_code, found.error_message.as_ref()));
            }
            let id = *found.node_id;
            client.brokers.insert(id, join_address(&found.host, found.port));
            Ok(Node::Id(id))
        })
    }
}

impl Connection {
    /// Learns the broker's versions: ApiVersions 3, or 0 if that is too new for it (KIP-511).
    fn negotiate(&mut self, timeout: Duration) -> Result<(), Trouble> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("ringlog"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut frame = self.round_trip(&request, 3, 0, timeout)?;
        let too_new = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        let mut version = 3;
        if frame.get(4..6) == Some(&too_new[..]) {
            (version, frame) = (0, self.round_trip(&ApiVersionsRequest::default(), 0, 0, timeout)?);
        }
        let (_, answer) =
            decode_response::<ApiVersionsRequest>(version, &frame).map_err(|why| self.nonsense(why.to_string()))?;
        if answer.error_code != 0 {
            return Err(Trouble::refused(format!("broker {}", self.address), answer.error_code, None));
        }
        self.versions = answer;
        Ok(())
    }

    /// The highest version both sides know and not above `most`.
    fn version<R: Call>(&self, most: i16) -> Result<i16, Trouble> {
        let lowest = self.versions.api_keys.iter().find(|row| row.api_key == R::KEY).map(|row| row.min_version);
        let version = negotiate::<R>(&self.versions).map(|highest| highest.min(most));
        version
            .filter(|version| lowest.is_some_and(|lowest| lowest <= *version))
            .ok_or_else(|| Trouble::Unsupported { address: self.address.clone(), api_key: R::KEY })
    }

    /// `wait`: how long the answer may take; none: there will be no answer.
    fn exchange<R: Call>(
        &mut self,
        request: &R,
        version: i16,
        correlation_id: i32,
        wait: Option<Duration>,
    ) -> Result<Option<R::Response>, Trouble> {
        let Some(wait) = wait else {
            self.write_frame(request, version, correlation_id)?;
            return Ok(None);
        };
        let frame = self.round_trip(request, version, correlation_id, wait)?;
        let (answered, body) = decode_response::<R>(version, &frame).map_err(|why| self.nonsense(why.to_string()))?;
        if answered != correlation_id {
            return Err(self.nonsense(format!("correlation id {answered} instead of {correlation_id}")));
        }
        Ok(Some(body))
    }

    fn round_trip<R: Call>(
        &mut self,
        request: &R,
        version: i16,
        correlation_id: i32,
        wait: Duration,
    ) -> Result<Vec<u8>, Trouble> {
        self.write_frame(request, version, correlation_id)?;
        self.stream.set_read_timeout(Some(wait)).map_err(|error| self.lost(error))?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| self.lost(error))?;
        let length = u32::from_be_bytes(length);
        if length > MAX_RESPONSE {
            return Err(self.nonsense(format!("a response of {length} bytes")));
        }
        let mut frame = Vec::new();
        let read = (&mut self.stream).take(u64::from(length)).read_to_end(&mut frame);
        read.map_err(|error| self.lost(error))?;
        if frame.len() < length as usize {
            return Err(self.lost(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(frame)
    }

    fn write_frame<R: Call>(&mut self, request: &R, version: i16, correlation_id: i32) -> Result<(), Trouble> {
        let mut frame = Vec::new();
        encode_request(&mut frame, version, correlation_id, CLIENT_ID, request)
            .unwrap_or_else(|bug| panic!("a request of this tool: {bug}"));
        self.stream.write_all(&frame).map_err(|error| self.lost(error))
    }

    fn lost(&self, error: io::Error) -> Trouble {
        Trouble::Lost { address: self.address.clone(), error }
    }

    fn nonsense(&self, text: String) -> Trouble {
        Trouble::Nonsense { address: self.address.clone(), text }
    }
}

fn dial(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(Duration::from_secs(30)))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `host` becomes `host:9092`; `::1` and `[::1]` become `[::1]:9092`.
fn with_port(server: &str) -> Result<String, String> {
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{server}]:9092"));
    }
    if server.ends_with(']') || !server.contains(':') {
        return Ok(format!("{server}:9092"));
    }
    match server.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0) => Ok(server.to_string()),
        _ => Err(format!("--bootstrap-server {server}: expected HOST:PORT")),
    }
}

fn join_address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_string()))
}

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_leave_out_kafkas_port() {
        assert_eq!(with_port("broker").as_deref(), Ok("broker:9092"));
        assert_eq!(with_port("broker:19092").as_deref(), Ok("broker:19092"));
        assert_eq!(with_port("::1").as_deref(), Ok("[::1]:9092"));
        assert_eq!(with_port("[::1]").as_deref(), Ok("[::1]:9092"));
        assert_eq!(with_port("[::1]:9093").as_deref(), Ok("[::1]:9093"));
        assert!(with_port("broker:").is_err());
        assert!(with_port(":9092").is_err());
        assert!(with_port("broker:http").is_err());
        assert_eq!(join_address("::1", 9092), "[::1]:9092");
    }

    #[test]
    fn a_refusal_names_kafkas_code_and_what_to_do() {
        let exists = Trouble::refused("topic t", ErrorCode::TopicAlreadyExists.code(), None).to_string();
        assert!(exists.starts_with("topic t: TOPIC_ALREADY_EXISTS"), "{exists}");
        assert!(exists.contains("--if-not-exists"), "{exists}");
        let unknown = Trouble::refused("topic t", 999, Some(&StrBytes::from_static_str("new"))).to_string();
        assert_eq!(unknown, "topic t: error code 999: new");
    }

    /// Serves one connection after the other, each with some answers (whole frames), whatever is asked, and then
    /// closes it on the next request.
    fn serve(connections: Vec<Vec<Vec<u8>>>) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for answers in connections {
                let (mut peer, _) = listener.accept().unwrap();
                for answer in answers.into_iter().map(Some).chain([None]) {
                    let mut length = [0; 4];
                    if peer.read_exact(&mut length).is_err() {
                        break;
                    }
                    let mut request = vec![0; u32::from_be_bytes(length) as usize];
                    peer.read_exact(&mut request).unwrap();
                    peer.write_all(&answer.unwrap_or_default()).unwrap();
                }
            }
        });
        address
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn an_old_broker_is_asked_again_with_version_zero() {
        // Correlation id 0, UNSUPPORTED_VERSION, no keys; then no error and Metadata 0 to 5.
        let refused = frame(&[0, 0, 0, 0, 0, 35, 0, 0, 0, 0]);
        let version_0 = frame(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 5]);
        let mut client = Client::connect(&serve(vec![vec![refused, version_0]]), Duration::from_secs(5)).unwrap();
        let connection = client.ensure_connected(Node::Any).unwrap();
        assert_eq!(connection.version::<MetadataRequest>(12).unwrap(), 5);
        assert!(matches!(
            connection.version::<FindCoordinatorRequest>(3),
            Err(Trouble::Unsupported { api_key: 10, .. })
        ));
    }

    #[test]
    fn what_may_pass_is_tried_again_on_a_new_connection_if_need_be() {
        // UNSUPPORTED_VERSION for ApiVersions 3, then FindCoordinator 0 only.
        let versions =
            || [frame(&[0, 0, 0, 0, 0, 35, 0, 0, 0, 0]), frame(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 10, 0, 0, 0, 0])];
        // Correlation id 1 is lost with the first connection; 2 is refused: COORDINATOR_LOAD_IN_PROGRESS.
        let loading = frame(&[0, 0, 0, 2, 0, 14, 255, 255, 255, 255, 0, 0, 255, 255, 255, 255]);
        let found = frame(&[0, 0, 0, 3, 0, 0, 0, 0, 0, 7, 0, 1, b'h', 0, 0, 0x23, 0x84]);
        let second = versions().into_iter().chain([loading, found]).collect();
        let address = serve(vec![versions().to_vec(), second]);
        let mut client = Client::connect(&address, Duration::from_secs(5)).unwrap();
        assert_eq!(client.coordinator("g").unwrap(), Node::Id(7));
        assert_eq!(client.brokers[&7], "h:9092");
    }

    #[test]
    fn an_answer_to_another_question_is_nonsense() {
        let versions =
            [frame(&[0, 0, 0, 0, 0, 35, 0, 0, 0, 0]), frame(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 10, 0, 0, 0, 0])];
        let other = frame(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 7, 0, 1, b'h', 0, 0, 0x23, 0x84]);
        let address = serve(vec![versions.into_iter().chain([other]).collect()]);
        let mut client = Client::connect(&address, Duration::from_secs(5)).unwrap();
        assert!(matches!(client.coordinator("g"), Err(Trouble::Nonsense { .. })));
    }

    #[test]
    fn a_peer_that_is_not_kafka_is_told_apart() {
        let http = serve(vec![vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]]);
        let Err(Failure::Failed(text)) = Client::connect(&http, Duration::from_secs(5)) else { panic!("connected") };
        assert!(text.contains("does not speak Kafka's protocol"), "{text}");
        let closing = serve(vec![vec![]]);
        let Err(Failure::Failed(text)) = Client::connect(&closing, Duration::from_secs(5)) else { panic!("connected") };
        assert!(text.contains("closed the connection") || text.contains("lost the connection"), "{text}");
    }
}
