//! What the tests share: the one broker, the clients by name, topic names that nobody used before.

use ringlog_bench_harness::broker::{Broker, Options};
use ringlog_bench_harness::clients::{ClientError, Driver, Runtime};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the tests ask of the broker beyond its defaults.
const OVERRIDES: [&str; 2] = ["group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=4"];

/// The broker under test, for as long as one test runs; a test that fails shows the broker's log.
pub(crate) struct Shared {
    pub(crate) bootstrap: String,
    /// How many brokers clients see.
    pub(crate) brokers: usize,
    started: Option<&'static Mutex<Broker>>,
}

impl Shared {
    pub(crate) fn get() -> Self {
        static BROKER: OnceLock<Mutex<Broker>> = OnceLock::new();
        if let Ok(bootstrap) = std::env::var("RINGLOG_TEST_BOOTSTRAP") {
            return Self { bootstrap, brokers: 1, started: None };
        }
        let broker = BROKER.get_or_init(|| Mutex::new(Broker::start("clients", &OVERRIDES)));
        Self::running(broker, 1)
    }

    /// A broker whose two cores are advertised as brokers.
    fn with_cores() -> Self {
        static BROKER: OnceLock<Mutex<Broker>> = OnceLock::new();
        let broker = BROKER.get_or_init(|| {
            let cores = ["ringlog.advertise=cores", "ringlog.cores=0,0"];
            let overrides = OVERRIDES.iter().chain(&cores).map(|o| (*o).to_string()).collect();
            Mutex::new(Broker::start_with("clients-cores", Options { overrides, ports: 2, ..Options::default() }))
        });
        Self::running(broker, 2)
    }

    fn running(broker: &'static Mutex<Broker>, brokers: usize) -> Self {
        let mut held = broker.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        held.assert_alive();
        Self { bootstrap: held.bootstrap(), brokers, started: Some(broker) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let (true, Some(broker)) = (std::thread::panicking(), self.started) {
            eprintln!("{}", broker.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).log_tail());
        }
    }
}

/// One stock client, aimed at the broker under test.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    driver: &'static Driver,
    pub(crate) broker: Shared,
}

impl Client {
    /// `None` when its runtime is not on this machine (said by the installation; a failure under `CI`).
    pub(crate) fn of(name: &'static str) -> Option<Self> {
        Some(Self { name, driver: Self::driver(name)?, broker: Shared::get() })
    }

    /// The same, aimed at the broker whose cores are advertised.
    pub(crate) fn of_cores(name: &'static str) -> Option<Self> {
        Some(Self { name, driver: Self::driver(name)?, broker: Shared::with_cores() })
    }

    fn driver(name: &str) -> Option<&'static Driver> {
        let runtime = match name {
            "confluent" | "kafka-python" | "aiokafka" => Runtime::Python,
            "kafkajs" => Runtime::Node,
            "java" => Runtime::Java,
            other => panic!("no client is called {other}"),
        };
        Driver::of(runtime)
    }

    /// Every client there is a runtime for.
    pub(crate) fn all() -> Vec<Self> {
        ["confluent", "kafka-python", "aiokafka", "java", "kafkajs"].into_iter().filter_map(Self::of).collect()
    }

    /// One operation, which may fail.
    pub(crate) fn attempt(&self, op: &str, mut args: Value) -> Result<Value, ClientError> {
        args["bootstrap"] = json!(self.broker.bootstrap);
        self.driver.call(self.name, op, &args)
    }

    /// One operation, which must not fail.
    pub(crate) fn run(&self, op: &str, args: Value) -> Value {
        let shown: String = args.to_string().chars().take(300).collect();
        self.attempt(op, args).unwrap_or_else(|e| panic!("{} {op} {shown}: {e:?}", self.name))
    }

    /// A new topic under an unused name. Ends once the client itself sees every partition with a leader.
    pub(crate) fn topic(&self, about: &str, partitions: usize, config: &Value) -> String {
        let topic = unique(&format!("{about}-{}", self.name));
        self.run("create_topic", json!({"topic": topic, "partitions": partitions, "config": config}));
        self.wait_for_partitions(&topic, partitions);
        topic
    }

    /// Waits until the client sees `count` led partitions: a controller's answer comes before every broker knows.
    pub(crate) fn wait_for_partitions(&self, topic: &str, count: usize) {
        eventually(&format!("{} sees {count} partitions of {topic}", self.name), || {
            let seen = self.attempt("metadata", json!({"topic": topic})).map_err(|e| json!(e.text))?;
            let partitions = seen["topics"][topic]["partitions"].as_array().map_or(&[][..], Vec::as_slice);
            let led = partitions.iter().filter(|p| p["leader"].as_i64().is_some_and(|l| l >= 0)).count();
            if led == count { Ok(()) } else { Err(seen) }
        });
    }

    /// Writes and returns where each record went.
    pub(crate) fn produce(&self, topic: &str, records: &Value, how: &Value) -> Vec<(i64, i64)> {
        let mut args = json!({"topic": topic, "records": records});
        merge(&mut args, how);
        let told = self.run("produce", args);
        let told = told.as_array().expect("a list of places");
        told.iter().map(|p| (p["partition"].as_i64().unwrap_or(-1), p["offset"].as_i64().unwrap_or(-1))).collect()
    }

    /// Reads `count` records of `partitions`, sorted by partition and offset.
    pub(crate) fn consume(&self, topic: &str, partitions: &[usize], count: usize, how: &Value) -> Vec<Value> {
        let mut args = json!({"topic": topic, "partitions": partitions, "count": count});
        merge(&mut args, how);
        let told = self.run("consume", args);
        let mut records = told.as_array().expect("a list of records").clone();
        records.sort_by_key(|r| (r["partition"].as_i64(), r["offset"].as_i64()));
        assert_eq!(records.len(), count, "{} read {} of {count} records of {topic}", self.name, records.len());
        records
    }

    /// One offset of partition 0: "earliest", "latest", "max_timestamp", or a time in milliseconds.
    pub(crate) fn offset(&self, topic: &str, at: &Value) -> i64 {
        self.run("list_offsets", json!({"topic": topic, "at": at}))["offset"].as_i64().expect("an offset")
    }
}

/// Puts the fields of `more` into `args`.
fn merge(args: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        args[name.as_str()] = value.clone();
    }
}

/// A name that no other test, and no earlier run on the same broker, used.
pub(crate) fn unique(about: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis();
    format!("{about}-{since}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A record time, milliseconds since 1970, that is past and that no retention has reached.
pub(crate) fn an_hour_ago() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis();
    i64::try_from(now).expect("milliseconds fit") - 3_600_000
}

/// Asks until the answer is `Ok`, for at most a minute; then panics with the last answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, Value>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(seen) => assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}; last seen: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One test for each named client: `per_client!(function: confluent java ...)` makes a module `function` with a
/// test `confluent`, a test `java`, and so on, each calling `function(&client)`.
macro_rules! per_client {
    (@name confluent) => { "confluent" };
    (@name kafka_python) => { "kafka-python" };
    (@name aiokafka) => { "aiokafka" };
    (@name kafkajs) => { "kafkajs" };
    (@name java) => { "java" };
    ($function:ident: $($client:ident)*) => {
        mod $function {
            $(
                #[test]
                fn $client() {
                    if let Some(client) = crate::common::Client::of(crate::common::per_client!(@name $client)) {
                        super::$function(&client);
                    }
                }
            )*
        }
    };
}
pub(crate) use per_client;
