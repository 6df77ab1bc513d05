//! The pages: what every metric of the table is, right now. On the admin thread.

use super::core::{
    API_CLASSES, COLD_RESULTS, CoreMeter, DROP_REASONS, FLUSH_KINDS, PARTS, QUEUES, READ_PATHS, USES, WRITE_KINDS,
};
use super::gather::Gather;
use super::meter::{Counter, Gauge};
use super::page::Page;
use super::tell::{ClientLine, PartitionLine, What};
use super::{process, table, table::Metric};
use crate::store::space::Space;
use ringlog_engine::group::GroupLine;
use ringlog_engine::limits::{GROUPS_TOLD, OFFSETS_TOLD};
use ringlog_net::api::APIS;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

/// A metric, and how it is read off a line that a core told.
type Figure<L, V> = (&'static Metric, fn(&L) -> V);

/// What is looked at: set once every core runs.
pub struct View {
    pub meters: Vec<Arc<CoreMeter>>,
    /// CPU of each core.
    pub cpus: Vec<usize>,
    /// Paths of the log directories.
    pub dirs: Vec<String>,
    pub space: Arc<Space>,
    pub began: Instant,
    pub connections_max: u32,
    pub reserve_bytes: u64,
    pub gather: Gather,
}

type OffsetKey = (Arc<str>, Arc<str>, i32);

/// What the cores told, put together.
#[derive(Default)]
struct Told {
    /// High watermarks, by topic and partition.
    ends: BTreeMap<(Arc<str>, i32), i64>,
    /// By core.
    partitions: Vec<u64>,
    producers: Vec<u64>,
    groups: Vec<u64>,
    members: Vec<u64>,
    /// By directory.
    log_bytes: Vec<u64>,
    by_group: BTreeMap<Arc<str>, (&'static str, usize)>,
    offsets: BTreeMap<OffsetKey, i64>,
    groups_omitted: u64,
    offsets_omitted: u64,
    silent: usize,
}

/// The process alone: what there is before the cores run.
pub fn process_page(page: &mut Page, began: Instant) {
    page.family(&table::BUILD_INFO).sample(&[&env!("CARGO_PKG_VERSION")], 1);
    page.single(&table::UPTIME, began.elapsed().as_secs_f64());
    process::write(page);
}

impl View {
    /// `/metrics`.
    pub fn metrics(&mut self, page: &mut Page) {
        let told = self.ask();
        process_page(page, self.began);
        let mut family = page.family(&table::CORE_INFO);
        for (core, cpu) in self.cpus.iter().enumerate() {
            family.sample(&[&core, cpu], 1);
        }
        page.single(&table::SCRAPE_SILENT, told.silent);
        self.turns(page);
        self.requests(page);
        self.logs(page);
        self.disks(page, &told);
        self.populations(page, &told);
        groups(page, &told);
    }

    fn ask(&mut self) -> Told {
        let cores = self.meters.len();
        let none = vec![0; cores];
        let mut told = Told {
            partitions: none.clone(),
            producers: none.clone(),
            groups: none.clone(),
            members: none,
            log_bytes: vec![0; self.dirs.len()],
            ..Told::default()
        };
        let mut silent = self.gather.ask(What::partitions, |core, what| told.add(core, what));
        let groups = self.gather.ask(What::groups, |core, what| told.add(core, what));
        silent.iter_mut().zip(groups).for_each(|(silent, also)| *silent |= also);
        told.silent = silent.iter().filter(|silent| **silent).count();
        told
    }

    fn counters(&self, page: &mut Page, metric: &'static Metric, of: impl Fn(&CoreMeter) -> u64) {
        let mut family = page.family(metric);
        for (core, meter) in self.meters.iter().enumerate() {
            family.sample(&[&core], of(meter));
        }
    }

    /// A family with one more label, of these values.
    fn split<const N: usize>(
        &self,
        page: &mut Page,
        metric: &'static Metric,
        values: &[&'static str; N],
        of: impl Fn(&CoreMeter) -> [u64; N],
    ) {
        let mut family = page.family(metric);
        for (core, meter) in self.meters.iter().enumerate() {
            for (value, count) in values.iter().zip(of(meter)) {
                family.sample(&[&core, value], count);
            }
        }
    }

    fn turns(&self, page: &mut Page) {
        self.counters(page, &table::TURNS, |m| m.turns.get());
        let mut family = page.family(&table::TURN);
        self.each(|core, meter| family.histogram(&[core], &meter.turn));
        let mut family = page.family(&table::TURN_PART);
        self.each(|core, meter| {
            PARTS.iter().zip(&meter.parts).for_each(|(part, nanos)| family.nanos(&[core, part], nanos.get()));
        });
        let mut family = page.family(&table::TURN_AGE);
        self.each(|core, meter| family.nanos(&[core], self.turn_age(meter)));
        let mut family = page.family(&table::TURN_COMPLETIONS);
        self.each(|core, meter| family.histogram(&[core], &meter.completions));
        self.counters(page, &table::SUBMISSIONS, |m| m.submissions.get());
        self.counters(page, &table::MAIL, |m| m.mail.get());
        self.split(page, &table::QUEUE, &QUEUES, |m| m.queues.each_ref().map(Gauge::get));
    }

    fn each(&self, mut f: impl FnMut(&dyn Display, &CoreMeter)) {
        self.meters.iter().enumerate().for_each(|(core, meter)| f(&core, meter));
    }

    /// Nanoseconds since a core's last turn began.
    pub fn turn_age(&self, meter: &CoreMeter) -> u64 {
        (self.began.elapsed().as_nanos() as u64).saturating_sub(meter.turn_began.get())
    }

    fn requests(&self, page: &mut Page) {
        let metrics = [&table::REQUESTS, &table::REQUEST_BYTES, &table::RESPONSE_BYTES];
        for (k, metric) in metrics.into_iter().enumerate() {
            let mut family = page.family(metric);
            self.each(|core, meter| {
                APIS.iter().for_each(|api| family.sample(&[core, &api.name], meter.of_api(api.key)[k]));
            });
        }
        let mut family = page.family(&table::REQUEST_TIME);
        self.each(|core, meter| {
            API_CLASSES.iter().zip(&meter.request_time).for_each(|(api, times)| family.histogram(&[core, api], times));
        });
        let mut family = page.family(&table::ERRORS);
        self.each(|core, meter| {
            for (class, api) in API_CLASSES.iter().enumerate() {
                meter.errors(class).for_each(|(code, count)| family.sample(&[core, api, &code.name()], count));
            }
        });
    }

    fn logs(&self, page: &mut Page) {
        self.counters(page, &table::APPENDED_BYTES, |m| m.appended_bytes.get());
        self.counters(page, &table::APPENDED_BATCHES, |m| m.appended_batches.get());
        self.counters(page, &table::APPENDED_RECORDS, |m| m.appended_records.get());
        self.split(page, &table::READ_BYTES, &READ_PATHS, |m| m.read_bytes.each_ref().map(Counter::get));
        self.split(page, &table::READS, &READ_PATHS, |m| m.reads.each_ref().map(Counter::get));
        self.split(page, &table::COLD_READS, &COLD_RESULTS, |m| m.cold_reads.each_ref().map(Counter::get));
        self.counters(page, &table::DISK_READ_BYTES, |m| m.disk_read_bytes.get());
    }

    fn disks(&self, page: &mut Page, told: &Told) {
        let mut family = page.family(&table::WRITTEN_BYTES);
        self.each_dir(|core, dir, d, meter| {
            let kinds = WRITE_KINDS.iter().zip(&meter.dirs[d].written);
            kinds.for_each(|(kind, bytes)| family.sample(&[core, dir, kind], bytes.get()));
        });
        let mut family = page.family(&table::FLUSHES);
        self.each_dir(|core, dir, d, meter| {
            let kinds = FLUSH_KINDS.iter().zip(&meter.dirs[d].flushes);
            kinds.for_each(|(kind, count)| family.sample(&[core, dir, kind], count.get()));
        });
        let mut family = page.family(&table::FLUSH_TIME);
        self.each_dir(|core, dir, d, meter| family.histogram(&[core, dir], &meter.dirs[d].flush_time));
        let mut family = page.family(&table::FLUSH_BYTES);
        self.each_dir(|core, dir, d, meter| family.histogram(&[core, dir], &meter.dirs[d].flush_bytes));
        let mut family = page.family(&table::WRITE_TIME);
        self.each_dir(|core, dir, d, meter| family.histogram(&[core, dir], &meter.dirs[d].write_time));
        let figures: [(&'static Metric, &dyn Fn(u8) -> i64); 5] = [
            (&table::DIR_FREE, &|d| self.space.of(d).1),
            (&table::DIR_SIZE, &|d| self.space.of(d).0),
            (&table::DIR_RESERVE, &|_| self.reserve_bytes as i64),
            (&table::DIR_LOG, &|d| told.log_bytes[usize::from(d)] as i64),
            (&table::DIR_LATCHED, &|d| i64::from(self.space.has_failed(d))),
        ];
        for (metric, of) in figures {
            let mut family = page.family(metric);
            for (d, dir) in (0..).zip(&self.dirs) {
                // A file system that did not answer has no figures.
                if of(d) >= 0 {
                    family.sample(&[dir], of(d));
                }
            }
        }
    }

    fn each_dir(&self, mut f: impl FnMut(&dyn Display, &dyn Display, usize, &CoreMeter)) {
        for (core, meter) in self.meters.iter().enumerate() {
            self.dirs.iter().enumerate().for_each(|(d, dir)| f(&core, dir, d, meter));
        }
    }

    fn populations(&self, page: &mut Page, told: &Told) {
        self.split(page, &table::MEMORY, &USES, |m| m.memory.each_ref().map(Gauge::get));
        self.split(page, &table::MEMORY_LIMIT, &USES, |m| m.memory_limit.each_ref().map(Gauge::get));
        self.counters(page, &table::CONNECTIONS, |m| m.connections.get());
        page.single(&table::CONNECTIONS_LIMIT, self.connections_max);
        self.counters(page, &table::CONNECTIONS_OPENED, |m| m.opened.get());
        self.split(page, &table::CONNECTIONS_DROPPED, &DROP_REASONS, |m| m.dropped.each_ref().map(Counter::get));
        self.counters(page, &table::FETCH_SESSIONS, |m| m.fetch_sessions.get());
        let topics = told.ends.keys().map(|(topic, _)| topic).collect::<std::collections::BTreeSet<_>>();
        page.single(&table::TOPICS, topics.len());
        let metrics = [
            (&table::PARTITIONS, &told.partitions),
            (&table::PRODUCERS, &told.producers),
            (&table::GROUPS, &told.groups),
            (&table::GROUP_MEMBERS, &told.members),
        ];
        for (metric, counts) in metrics {
            let mut family = page.family(metric);
            counts.iter().enumerate().for_each(|(core, count)| family.sample(&[&core], count));
        }
    }

    /// `/partitions`.
    pub fn partitions(&mut self, page: &mut Page) {
        let mut lines = BTreeMap::new();
        self.gather.ask(What::partitions, |core, what| {
            let What::Partitions { lines: piece, .. } = what else { return };
            lines.extend(piece.iter().map(|line| ((line.topic.clone(), line.partition), (core, line.clone()))));
        });
        let figures: [Figure<PartitionLine, i64>; 6] = [
            (&table::PARTITION_END, |p| p.high_watermark),
            (&table::PARTITION_START, |p| p.log_start),
            (&table::PARTITION_BYTES, |p| p.bytes as i64),
            (&table::PARTITION_SEGMENTS, |p| p.segments as i64),
            (&table::PARTITION_APPENDED, |p| p.appended_bytes as i64),
            (&table::PARTITION_READ, |p| p.read_bytes as i64),
        ];
        for (metric, of) in figures {
            let mut family = page.family(metric);
            for ((topic, partition), (core, line)) in &lines {
                family.sample(&[topic, partition, core], of(line));
            }
        }
    }

    /// `/clients`.
    pub fn clients(&mut self, page: &mut Page) {
        let mut lines = Vec::new();
        self.gather.ask(What::clients, |core, what| {
            let What::Clients { lines: piece, .. } = what else { return };
            lines.extend(piece.iter().map(|line| (core, line.clone())));
        });
        let figures: [Figure<ClientLine, f64>; 4] = [
            (&table::CLIENT_AGE, |c| c.connected_ms as f64 / 1000.0),
            (&table::CLIENT_REQUESTS, |c| c.requests as f64),
            (&table::CLIENT_IN, |c| c.request_bytes as f64),
            (&table::CLIENT_OUT, |c| c.response_bytes as f64),
        ];
        for (metric, of) in figures {
            let mut family = page.family(metric);
            for (core, line) in &lines {
                family.sample(&[core, &line.peer, &line.client_id.as_deref().unwrap_or_default()], of(line));
            }
        }
    }
}

impl Told {
    fn add(&mut self, core: usize, what: &What) {
        match what {
            What::Partitions { lines, .. } => {
                self.partitions[core] += lines.len() as u64;
                for line in lines {
                    self.producers[core] += line.producers as u64;
                    self.log_bytes[usize::from(line.dir)] += line.bytes;
                    self.ends.insert((line.topic.clone(), line.partition), line.high_watermark);
                }
            }
            What::Groups { lines, .. } => lines.iter().for_each(|line| self.add_group(core, line)),
            What::Clients { .. } => {}
        }
    }

    /// The first by name are kept, whatever the order they come in.
    fn add_group(&mut self, core: usize, line: &GroupLine) {
        match line {
            GroupLine::Group { group, state, members } => {
                self.groups[core] += 1;
                self.members[core] += *members as u64;
                self.by_group.insert(group.clone(), (state, *members));
                if self.by_group.len() > GROUPS_TOLD {
                    self.by_group.pop_last();
                    self.groups_omitted += 1;
                }
            }
            GroupLine::Offset { group, topic, partition, offset } => {
                self.offsets.insert((group.clone(), topic.clone(), *partition), *offset);
                if self.offsets.len() > OFFSETS_TOLD {
                    self.offsets.pop_last();
                    self.offsets_omitted += 1;
                }
            }
        }
    }
}

fn groups(page: &mut Page, told: &Told) {
    let mut family = page.family(&table::GROUP_INFO);
    told.by_group.iter().for_each(|(group, (state, members))| family.sample(&[group, state], members));
    let mut family = page.family(&table::GROUP_OFFSET);
    let offsets = || told.offsets.iter().map(|((group, topic, partition), offset)| (group, topic, partition, *offset));
    offsets().for_each(|(group, topic, partition, offset)| family.sample(&[group, topic, partition], offset));
    let mut family = page.family(&table::GROUP_LAG);
    for (group, topic, partition, offset) in offsets() {
        // A topic that is gone has no end; one made anew may end before what was committed.
        if let Some(end) = told.ends.get(&(topic.clone(), *partition)) {
            family.sample(&[group, topic, partition], (end - offset).max(0));
        }
    }
    let mut family = page.family(&table::GROUP_OMITTED);
    family.sample(&[&"groups"], told.groups_omitted);
    family.sample(&[&"offsets"], told.offsets_omitted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::page::Format;

    #[test]
    fn beyond_the_bound_the_first_by_name_are_kept_and_the_rest_is_counted() {
        let mut told = Told { groups: vec![0], members: vec![0], ..Told::default() };
        let count = GROUPS_TOLD + 5;
        // In an order that is not theirs.
        for k in (0..count).map(|k| k * 7919 % count) {
            let group: Arc<str> = format!("g{k:05}").into();
            told.add_group(0, &GroupLine::Group { group: group.clone(), state: "Stable", members: 2 });
            for partition in 0..6 {
                let (group, topic) = (group.clone(), "t".into());
                told.add_group(0, &GroupLine::Offset { group, topic, partition, offset: 3 });
            }
        }
        told.ends.insert(("t".into(), 0), 10);
        told.ends.insert(("t".into(), 1), 1);
        let mut page = Page::new(Format::Prometheus);
        groups(&mut page, &told);
        let text = page.finish();
        let lines = |name: &str| text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
        assert_eq!((lines("ringlog_consumer_group_members"), told.groups[0]), (GROUPS_TOLD, count as u64));
        assert_eq!(lines("ringlog_consumer_group_offset"), OFFSETS_TOLD);
        assert!(text.contains("ringlog_consumer_group_members{group=\"g00000\",state=\"Stable\"} 2\n"));
        assert!(!text.contains(&format!("group=\"g{:05}\"", count - 1)));
        assert!(text.contains("ringlog_consumer_group_omitted{what=\"groups\"} 5\n"));
        let omitted = count * 6 - OFFSETS_TOLD;
        assert!(text.contains(&format!("ringlog_consumer_group_omitted{{what=\"offsets\"}} {omitted}\n")));
        assert!(text.contains("ringlog_consumer_group_lag{group=\"g00000\",topic=\"t\",partition=\"0\"} 7\n"));
        assert!(text.contains("ringlog_consumer_group_lag{group=\"g00000\",topic=\"t\",partition=\"1\"} 0\n"));
        assert!(!text.contains("ringlog_consumer_group_lag{group=\"g00000\",topic=\"t\",partition=\"2\"}"));
    }
}
