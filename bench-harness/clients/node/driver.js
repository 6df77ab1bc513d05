'use strict';
// Runs Kafka operations through kafkajs, one JSON request a line on stdin, one JSON answer a line on stdout.
// A request is {id, client, op, ...}; an answer {id, ok} or {id, error: {type, text, code}}. Requests run side by side.

const readline = require('node:readline');
const { Kafka, logLevel, CompressionTypes, CompressionCodecs, AssignerProtocol, ConfigResourceTypes } = require('kafkajs');
const version = require('kafkajs/package.json').version;
const SnappyCodec = require('kafkajs-snappy');
const lz4 = require('lz4-napi');
const { ZstdCodec } = require('zstd-codec');

const LONGEST = 1024;
const WAIT = 30000;
const members = new Map();

// kafkajs carries gzip itself; the rest are registered as its documentation says.
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
});
const zstd = new Promise(resolve => ZstdCodec.run(codec => resolve(new codec.Streaming())));
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
});
const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' };

function pattern(size, seed) {
  const data = Buffer.alloc(size);
  for (let i = 0; i < size; i++) data[i] = ((i & 255) * 7 + seed) & 255;
  return data;
}

function decode(value) {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return Buffer.from(value);
  return 'hex' in value ? Buffer.from(value.hex, 'hex') : pattern(value.size, value.seed);
}

function encode(data) {
  if (data === null || data === undefined) return null;
  if (!Buffer.isBuffer(data)) data = Buffer.from(data);
  if (data.length > LONGEST) {
    const good = data.equals(pattern(data.length, data[0]));
    return good ? { size: data.length, seed: data[0] } : { size: data.length, damaged: true };
  }
  const text = data.toString();
  return Buffer.from(text).equals(data) ? text : { hex: data.toString('hex') };
}

const client = request => new Kafka({
  clientId: request.name || 'kafkajs-driver',
  brokers: [request.bootstrap],
  logLevel: logLevel.WARN,
  logCreator: () => ({ log }) => process.stderr.write(`${log.timestamp} ${log.message} ${log.error || ''}\n`),
  retry: { initialRetryTime: 50, retries: 8 },
});

async function withAdmin(request, action) {
  const admin = client(request).admin();
  await admin.connect();
  try {
    return await action(admin);
  } finally {
    await admin.disconnect();
  }
}

// kafkajs groups headers by name: one name given twice becomes a list.
function headersIn(record) {
  const headers = {};
  for (const [name, value] of record.headers || []) headers[name] = decode(value);
  return headers;
}

const recordOf = (partition, m) => ({
  partition,
  offset: Number(m.offset),
  timestamp: Number(m.timestamp),
  key: encode(m.key),
  value: encode(m.value),
  headers: Object.entries(m.headers || {}).map(([name, value]) => [name, encode(value)]),
});

async function produce(request) {
  const idempotent = !!request.idempotence;
  const producer = client(request).producer({ idempotent, allowAutoTopicCreation: true });
  await producer.connect();
  try {
    const messages = request.records.map(r => ({
      key: decode(r.key),
      value: decode(r.value),
      partition: r.partition,
      headers: headersIn(r),
      timestamp: r.timestamp === undefined ? undefined : String(r.timestamp),
    }));
    const told = await producer.send({
      topic: request.topic,
      messages,
      acks: { 0: 0, 1: 1, all: -1 }[request.acks || 'all'],
      compression: CompressionTypes[CODECS[request.compression || 'none']],
    });
    // One answer a partition: the offsets of its records follow in the order they were given.
    const next = new Map((told || []).map(t => [t.partition, Number(t.baseOffset)]));
    return request.records.map(r => {
      if (!next.has(r.partition)) return { partition: r.partition, offset: -1 };
      const offset = next.get(r.partition);
      next.set(r.partition, offset + 1);
      return { partition: r.partition, offset };
    });
  } finally {
    await producer.disconnect();
  }
}

function consumerOf(request, more) {
  return client(request).consumer({
    groupId: request.group || `reader-${process.pid}-${Date.now()}-${Math.random()}`,
    maxWaitTimeInMs: 100,
    maxBytesPerPartition: request.max_size || 1048576,
    heartbeatInterval: 300,
    sessionTimeout: request.session || 10000,
    ...more,
  });
}

// kafkajs reads in groups only: the start is set by a seek, which it takes once the group runs.
async function consume(request) {
  const starts = await Promise.all(request.partitions.map(partition => startOf(request, partition)));
  const consumer = consumerOf(request, {});
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [request.topic], fromBeginning: true });
    const records = [];
    await new Promise((resolve, reject) => {
      const late = setTimeout(resolve, (request.timeout || 30) * 1000);
      const done = () => { clearTimeout(late); resolve(); };
      consumer.on(consumer.events.CRASH, e => reject(e.payload.error));
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          const at = request.partitions.indexOf(partition);
          if (at < 0 || Number(message.offset) < starts[at] || records.length >= request.count) return;
          records.push(recordOf(partition, message));
          if (records.length >= request.count) done();
        },
      }).catch(reject);
      request.partitions.forEach((partition, i) => {
        consumer.seek({ topic: request.topic, partition, offset: String(starts[i]) });
      });
      if (request.count === 0) done();
    });
    return records;
  } finally {
    await consumer.disconnect();
  }
}

async function startOf(request, partition) {
  const from = request.from === undefined ? 'earliest' : request.from;
  if (typeof from === 'number') return from;
  return withAdmin(request, async admin => {
    if (typeof from === 'object') {
      const found = await admin.fetchTopicOffsetsByTimestamp(request.topic, from.time);
      return Number(found.find(f => f.partition === partition).offset);
    }
    const found = (await admin.fetchTopicOffsets(request.topic)).find(f => f.partition === partition);
    return Number(from === 'earliest' ? found.low : found.high);
  });
}

const listOffsets = request => withAdmin(request, async admin => {
  const partition = request.partition || 0;
  if (typeof request.at === 'number') {
    const found = await admin.fetchTopicOffsetsByTimestamp(request.topic, request.at);
    return { offset: Number(found.find(f => f.partition === partition).offset) };
  }
  const found = (await admin.fetchTopicOffsets(request.topic)).find(f => f.partition === partition);
  return { offset: Number(request.at === 'earliest' ? found.low : found.high) };
});

const metadata = request => withAdmin(request, async admin => {
  const cluster = await admin.describeCluster();
  const { topics } = await admin.fetchTopicMetadata(request.topic ? { topics: [request.topic] } : undefined);
  return {
    cluster: cluster.clusterId,
    controller: cluster.controller,
    brokers: cluster.brokers.map(b => ({ id: b.nodeId, host: b.host, port: b.port })),
    topics: Object.fromEntries(topics.map(t => [t.name, {
      partitions: t.partitions
        .map(p => ({ id: p.partitionId, leader: p.leader, replicas: p.replicas, isrs: p.isr }))
        .sort((a, b) => a.id - b.id),
    }])),
  };
});

const createTopic = request => withAdmin(request, async admin => {
  const configEntries = Object.entries(request.config || {}).map(([name, value]) => ({ name, value }));
  const made = await admin.createTopics({
    topics: [{
      topic: request.topic, numPartitions: request.partitions || 1,
      replicationFactor: request.replication || 1, configEntries,
    }],
  });
  if (!made) throw Object.assign(new Error('exists'), { code: 36 });
});

const resource = request => ({ type: ConfigResourceTypes.TOPIC, name: request.topic });

const describeConfigs = request => withAdmin(request, async admin => {
  const told = await admin.describeConfigs({ resources: [resource(request)], includeSynonyms: true });
  return Object.fromEntries(told.resources[0].configEntries.map(e => [
    e.configName, { value: e.configValue, source: e.configSource, read_only: e.readOnly },
  ]));
});

const alterConfigs = request => withAdmin(request, admin => admin.alterConfigs({
  validateOnly: false,
  resources: [{
    ...resource(request), configEntries: Object.entries(request.set).map(([name, value]) => ({ name, value })),
  }],
}));

const deleteRecords = request => withAdmin(request, async admin => {
  // It looks for leaders in what it knows of its topics, and learns of one only here.
  await admin.fetchTopicOffsets(request.topic);
  await admin.deleteTopicRecords({
    topic: request.topic, partitions: [{ partition: request.partition || 0, offset: String(request.before) }],
  });
  return request.before;
});

const commit = request => withAdmin(request, admin => admin.setOffsets({
  groupId: request.group, topic: request.topic,
  partitions: [{ partition: request.partition || 0, offset: String(request.offset), metadata: request.metadata }],
}));

const committed = request => withAdmin(request, async admin => {
  const [found] = await admin.fetchOffsets({ groupId: request.group, topics: [request.topic] });
  const at = found.partitions.find(p => p.partition === (request.partition || 0));
  return { offset: at && at.offset !== '-1' ? Number(at.offset) : null, metadata: at && at.metadata };
});

const listGroups = request => withAdmin(request, async admin => {
  const { groups } = await admin.listGroups();
  return Object.fromEntries(groups.map(g => [g.groupId, 'listed']));
});

const describeGroup = request => withAdmin(request, async admin => {
  const { groups: [group] } = await admin.describeGroups([request.group]);
  return {
    state: group.state.toLowerCase(),
    assignor: group.protocol,
    members: group.members.map(m => ({
      client: m.clientId,
      partitions: (AssignerProtocol.MemberAssignment.decode(m.memberAssignment).assignment[request.topic] || []).sort(),
    })),
  };
});

async function memberStart(request) {
  const consumer = consumerOf(request, { rebalanceTimeout: 10000 });
  const member = { consumer, assigned: [], records: [], rebalances: 0, error: null };
  members.set(request.name, member);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.assigned = (payload.memberAssignment[request.topic] || []).slice().sort((a, b) => a - b);
    member.rebalances += 1;
  });
  consumer.on(consumer.events.REBALANCING, () => { member.assigned = []; });
  consumer.on(consumer.events.CRASH, ({ payload }) => { member.error = String(payload.error); });
  await consumer.connect();
  await consumer.subscribe({ topics: [request.topic], fromBeginning: true });
  await consumer.run({
    autoCommit: request.commit === undefined || request.commit,
    autoCommitThreshold: 1,
    eachMessage: async ({ partition, message }) => {
      member.records.push([partition, Number(message.offset), encode(message.value)]);
    },
  });
}

function memberState(request) {
  const { assigned, records, rebalances, error } = members.get(request.name);
  return { assigned, records, rebalances, error };
}

async function memberStop(request) {
  const { consumer } = members.get(request.name);
  members.delete(request.name);
  await consumer.disconnect();
}

const OPERATIONS = {
  about: () => ({ version }),
  produce,
  consume,
  list_offsets: listOffsets,
  metadata,
  create_topic: createTopic,
  delete_topic: request => withAdmin(request, admin => admin.deleteTopics({ topics: [request.topic], timeout: WAIT })),
  create_partitions: request => withAdmin(request, admin => admin.createPartitions({
    topicPartitions: [{ topic: request.topic, count: request.partitions }],
  })),
  describe_configs: describeConfigs,
  alter_configs: alterConfigs,
  delete_records: deleteRecords,
  commit,
  committed,
  list_groups: listGroups,
  describe_group: describeGroup,
  delete_group: request => withAdmin(request, admin => admin.deleteGroups([request.group])),
  member_start: memberStart,
  member_state: memberState,
  member_stop: memberStop,
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const request = JSON.parse(line);
  let reply;
  try {
    const ok = await OPERATIONS[request.op](request);
    reply = { id: request.id, ok: ok === undefined ? null : ok };
  } catch (error) {
    process.stderr.write(`${error.stack}\n`);
    const code = error.code === undefined && error.errors ? error.errors[0].code : error.code;
    reply = { id: request.id, error: { type: error.type || error.name, text: String(error.message), code } };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}).on('close', () => process.exit(0));
