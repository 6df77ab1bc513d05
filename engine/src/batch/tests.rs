//! Batches from every side: as clients write them, cut in pieces, damaged, refused, rewritten, searched.

use super::*;
use crate::codec::{Decoder, Encoder, TargetCodec, effort};
use crate::error::ErrorCode;
use crate::types::{OffsetAndTimestamp, WallMs};

const GOLDEN: &str = include_str!("../../tests/golden/batches.txt");
const NOW: i64 = 1_700_000_500_000;

fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    let parsed: Vec<_> = lines.filter_map(|line| line.split_once(' ').map(|(name, hex)| (name, unhex(hex)))).collect();
    assert_eq!(parsed.len(), 19, "three clients, five codecs, and four large ones");
    parsed
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).expect("hex is ASCII");
            u8::from_str_radix(text, 16).expect("two hex digits")
        })
        .collect()
}

fn rules() -> Rules {
    Rules {
        now: WallMs(NOW),
        max_message_bytes: 1_048_588,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        compacted: false,
        compression: TargetCodec::Producer,
        decompressed_max_bytes: 64 << 20,
        produce_version: 11,
    }
}

/// A batch of `count` records with keys, a second apart.
fn sample(count: i64, codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for i in 0..count {
        let key = format!("key {i}");
        builder.append(NOW - 1000 * (count - i), Some(key.as_bytes()), Some(&[b'v'; 40]), &[(b"h", Some(b"x"))]);
    }
    let mut out = Vec::new();
    builder.finish(0, -1, codec, codec.default_level(), &mut Encoder::default(), &mut out);
    out
}

/// Changes the header and makes the checksum right again.
fn altered(batch: &[u8], alter: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = header_of(batch);
    alter(&mut header);
    sealed(header, &batch[HEADER_LEN..])
}

/// A batch of this header and body with the right length and checksum.
fn sealed(mut header: BatchHeader, body: &[u8]) -> Vec<u8> {
    header.batch_length = (HEADER_LEN + body.len() - LOG_OVERHEAD) as i32;
    header.crc = checksum(&header.encode(), Rope::of(body));
    [&header.encode()[..], body].concat()
}

fn header_of(batch: &[u8]) -> BatchHeader {
    BatchHeader::read(&mut Rope::of(batch)).expect("a header")
}

fn check(batch: &[u8], rules: &Rules) -> Result<Validated, BatchRefusal> {
    validate(Rope::of(batch), rules, &mut Scratch::default())
}

fn code(batch: &[u8], rules: &Rules) -> ErrorCode {
    check(batch, rules).expect_err("a refusal").code
}

/// The batch as it would be appended.
fn appended(validated: &Validated, batch: &[u8], scratch: &Scratch) -> Vec<u8> {
    let mut out = validated.header.encode().to_vec();
    validated.body(Rope::of(batch), scratch).append_to(&mut out);
    assert!(checksum_matches(Rope::of(&out)), "the appended batch has a wrong checksum");
    out
}

type Plain = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn read(batch: &[u8]) -> Vec<Plain> {
    let mut buffer = Vec::new();
    let records = Records::read(Rope::of(batch), &mut Decoder::default(), &mut buffer, 64 << 20).expect("readable");
    records
        .map(|record| {
            let r = record.expect("a record");
            let headers = r.headers.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
            (r.offset, r.timestamp, r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), headers)
        })
        .collect()
}

#[test]
fn a_header_is_its_61_bytes() {
    let header = BatchHeader {
        base_offset: 0x0102030405060708,
        batch_length: 0x090a0b0c,
        leader_epoch: 0x0d0e0f10,
        magic: 0x11,
        crc: 0x12131415,
        attributes: 0x1617,
        last_offset_delta: 0x18191a1b,
        base_timestamp: 0x1c1d1e1f20212223,
        max_timestamp: 0x2425262728292a2b,
        producer_id: 0x2c2d2e2f30313233,
        producer_epoch: 0x3435,
        base_sequence: 0x36373839,
        record_count: 0x3a3b3c3d,
    };
    let mut bytes = header.encode();
    assert!(bytes.iter().copied().eq(1..=61));
    assert_eq!(BatchHeader::parse(&bytes), header);
    stamp(&mut bytes, 7, 9);
    assert_eq!(BatchHeader::parse(&bytes), BatchHeader { base_offset: 7, leader_epoch: 9, ..header });
    assert_eq!((header.total_len(), BatchHeader { batch_length: -13, ..header }.total_len()), (0x090a0b0c + 12, 0));
}

#[test]
fn sequences_wrap_to_zero() {
    let header = BatchHeader { base_sequence: i32::MAX - 1, last_offset_delta: 1, ..Default::default() };
    assert_eq!(header.last_sequence(), i32::MAX);
    assert_eq!(BatchHeader { last_offset_delta: 2, ..header }.last_sequence(), 0);
    assert_eq!(BatchHeader { last_offset_delta: 12, ..header }.last_sequence(), 10);
    assert_eq!(sequence_after(41, 1), 42);
}

#[test]
fn the_builder_writes_varints_of_every_length() {
    for value in [0, -1, 63, -64, 64, 8191, 8192, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
        let mut out = Vec::new();
        build::put_varint(&mut out, value);
        assert_eq!(out.len(), build::varint_len(value), "{value}");
        assert_eq!(Rope::of(&out).read_varlong(), Ok(value));
    }
}

#[test]
fn every_client_and_codec_is_taken_as_it_is() {
    let mut scratch = Scratch::default();
    for (name, batch) in golden() {
        assert!(checksum_matches(Rope::of(&batch)), "{name}");
        let validated = validate(Rope::of(&batch), &rules(), &mut scratch).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(validated.verdict, Verdict::AsIs, "{name}");
        assert_eq!(appended(&validated, &batch, &scratch), batch, "{name}");
        let records = read(&batch);
        if name.starts_with("java-big") {
            assert!(records[0].3.as_ref().is_some_and(|v| v.len() >= 40_000 && v.iter().all(|b| *b == b'a')), "{name}");
            assert_eq!(records[1], (1, 6, Some(b"k".to_vec()), Some(b"end".to_vec()), vec![]), "{name}");
            assert_eq!((records.len(), validated.max_timestamp_at), (2, 1), "{name}");
            continue;
        }
        let (times, value) = if name.starts_with("librdkafka") { (3, "value ") } else { (1, "value ") };
        let value = [value.repeat(7), "value".to_owned()].concat().repeat(times);
        let headers = vec![(b"h1".to_vec(), Some(b"x".to_vec())), (b"h2".to_vec(), None)];
        assert_eq!(
            records,
            [
                (0, 1_700_000_000_000, Some(b"key".to_vec()), Some(value.into_bytes()), headers),
                (1, 1_700_000_000_123, None, Some(vec![]), vec![]),
                (2, 1_699_999_999_999, Some(b"tomb".to_vec()), None, vec![]),
            ],
            "{name}"
        );
        assert_eq!(validated.max_timestamp_at, 1, "{name}");
        assert_eq!(validated.header.has_producer(), !name.starts_with("librdkafka"), "{name}");
    }
}

#[test]
fn pieces_change_nothing() {
    let mut scratch = Scratch::default();
    for (name, batch) in golden().into_iter().filter(|(name, _)| name.starts_with("java-") && !name.contains("big")) {
        let whole = check(&batch, &rules());
        for i in 0..batch.len() {
            for j in [i, (i + 1).min(batch.len()), (i + 9).min(batch.len()), batch.len()] {
                let pieces = [&batch[..i], &batch[i..j], &batch[j..]];
                assert_eq!(validate(Rope::new(&pieces), &rules(), &mut scratch), whole, "{name} cut at {i} and {j}");
            }
        }
        let bytes: Vec<&[u8]> = batch.chunks(1).collect();
        assert_eq!(validate(Rope::new(&bytes), &rules(), &mut scratch), whole, "{name} byte by byte");
        let mut buffer = Vec::new();
        let records = Records::read(Rope::new(&bytes), &mut scratch.decoder, &mut buffer, 10_000).expect("readable");
        assert_eq!(records.filter(Result::is_ok).count(), 3, "{name}");
    }
}

#[test]
fn headers_that_lie_are_refused_with_kafkas_codes() {
    use ErrorCode::*;
    let batch = sample(3, Codec::None);
    let is = |alter: fn(&mut BatchHeader), expected| {
        let altered = altered(&batch, alter);
        assert_eq!(code(&altered, &rules()), expected, "{:?}", header_of(&altered));
    };
    is(|h| h.magic = 1, InvalidRecord);
    is(|h| h.magic = 3, InvalidRecord);
    is(|h| h.base_offset = 5, InvalidRecord);
    is(|h| h.record_count = 0, InvalidRecord);
    is(|h| h.record_count = -1, InvalidRecord);
    is(|h| h.record_count = 4, InvalidRecord);
    is(|h| h.last_offset_delta = -1, InvalidRecord);
    is(|h| (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1), InvalidRecord);
    is(|h| (h.record_count, h.last_offset_delta) = (4, 3), InvalidRecord);
    is(|h| (h.record_count, h.last_offset_delta) = (2, 1), InvalidRecord);
    is(|h| h.attributes |= attribute::CONTROL, InvalidRecord);
    is(|h| h.attributes |= attribute::LOG_APPEND_TIME, InvalidTimestamp);
    is(|h| h.attributes |= 5, UnsupportedCompressionType);
    is(|h| h.attributes |= 1, InvalidRecord);
    is(|h| (h.producer_id, h.base_sequence) = (1, -1), InvalidRecord);
    let mut short = batch.clone();
    short[8..12].copy_from_slice(&40i32.to_be_bytes());
    assert_eq!(code(&short, &rules()), CorruptMessage);
    short[8..12].copy_from_slice(&i32::MIN.to_be_bytes());
    assert_eq!(code(&short, &rules()), CorruptMessage);
    for len in 0..batch.len() {
        assert_eq!(code(&batch[..len], &rules()), InvalidRecord, "cut at {len}");
    }
    assert_eq!(code(&[&batch[..], &batch].concat(), &rules()), InvalidRecord);
    for at in CRC_START..batch.len() {
        let mut damaged = batch.clone();
        damaged[at] ^= 1;
        let refused = code(&damaged, &rules());
        let codec_or_crc = at == 22 && refused == UnsupportedCompressionType;
        assert!(refused == CorruptMessage || codec_or_crc, "byte {at}: {refused}");
    }
    let zstd = sample(3, Codec::Zstd);
    assert_eq!(code(&zstd, &Rules { produce_version: 6, ..rules() }), UnsupportedCompressionType);
    assert!(check(&zstd, &Rules { produce_version: 7, ..rules() }).is_ok());
    let exactly = Rules { max_message_bytes: batch.len() as u32, ..rules() };
    assert!(check(&batch, &exactly).is_ok());
    assert_eq!(code(&batch, &Rules { max_message_bytes: exactly.max_message_bytes - 1, ..exactly }), MessageTooLarge);
}

#[test]
fn records_that_lie_are_refused() {
    let header = BatchHeader { magic: MAGIC, record_count: 1, producer_id: -1, ..Default::default() };
    // length, attributes, timestamp delta, offset delta, key, value, headers
    let good: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    let bad: [&[u8]; 14] = [
        &[12, 0, 0, 0, 1, 1, 0, 0],
        &[16, 0, 0, 0, 1, 1, 0, 0],
        &[1, 0, 0, 0, 1, 1, 0],
        &[12, 0, 0, 0, 1, 1, 1],
        &[12, 0, 0, 0, 1, 1, 2],
        &[12, 0, 0, 0, 4, 1, 0],
        &[12, 0, 0, 0, 1, 40, 0],
        &[16, 0, 0, 0, 1, 1, 2, 1, 1],
        &[16, 0, 0, 0, 1, 1, 2, 4, 1],
        &[18, 0, 0, 0, 1, 1, 4, 0, 1, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0],
        &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0],
        &[26, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 0, 1],
        &[],
    ];
    assert_eq!(check(&sealed(header, good), &rules()).map(|v| v.max_timestamp_at), Ok(0));
    for body in bad {
        for codec in Codec::ALL {
            let mut compressed = Vec::new();
            Encoder::default().compress(codec, codec.default_level(), body, &mut compressed);
            let batch = sealed(BatchHeader { attributes: codec.id(), ..header }, &compressed);
            assert_eq!(code(&batch, &rules()), ErrorCode::InvalidRecord, "{body:?} in {codec}");
            let bytes: Vec<&[u8]> = batch.chunks(1).collect();
            let in_pieces = validate(Rope::new(&bytes), &rules(), &mut Scratch::default());
            assert_eq!(in_pieces.map_err(|e| e.code), Err(ErrorCode::InvalidRecord), "{body:?} in pieces");
        }
    }
}

#[test]
fn times_and_keys_are_judged_record_by_record() {
    let mut builder = BatchBuilder::new();
    for (timestamp, key) in
        [(NOW, Some(&b"k"[..])), (NOW + 11, Some(b"k")), (-1, None), (NOW - 101, None), (NOW + 10, None)]
    {
        builder.append(timestamp, key, None, &[]);
    }
    let mut batch = Vec::new();
    builder.finish(0, -1, Codec::None, 0, &mut Encoder::default(), &mut batch);
    let strict = Rules { before_max_ms: 100, after_max_ms: 10, ..rules() };
    let refusal = check(&batch, &strict).expect_err("refused");
    let late = |index, timestamp| RecordError {
        index,
        problem: RecordProblem::Timestamp { timestamp, earliest: NOW - 100, latest: NOW + 10 },
    };
    assert_eq!(refusal.code, ErrorCode::InvalidTimestamp);
    assert_eq!(refusal.record_errors, [late(1, NOW + 11), late(3, NOW - 101)]);
    let keyless = |index| RecordError { index, problem: RecordProblem::NoKey };
    let refusal = check(&batch, &Rules { compacted: true, ..rules() }).expect_err("refused");
    assert_eq!((refusal.code, refusal.record_errors), (ErrorCode::InvalidRecord, [2, 3, 4].map(keyless).to_vec()));
    let refusal = check(&batch, &Rules { compacted: true, ..strict }).expect_err("refused");
    assert_eq!(refusal.code, ErrorCode::InvalidTimestamp);
    assert_eq!(refusal.record_errors, [late(1, NOW + 11), keyless(2), keyless(3), keyless(4)]);
    let append_time = Rules { timestamp_type: TimestampType::LogAppendTime, ..strict };
    assert!(check(&batch, &append_time).is_ok(), "with the log's clock the producer's times do not matter");
    let far = Rules { now: WallMs(i64::MIN), before_max_ms: i64::MAX, after_max_ms: i64::MAX, ..rules() };
    assert_eq!(code(&batch, &far), ErrorCode::InvalidTimestamp);
}

#[test]
fn a_refusal_names_a_bounded_number_of_records() {
    let mut builder = BatchBuilder::new();
    for _ in 0..20_000 {
        builder.append(NOW, None, None, &[]);
    }
    let mut batch = Vec::new();
    builder.finish(0, -1, Codec::Zstd, 3, &mut Encoder::default(), &mut batch);
    let refusal = check(&batch, &Rules { compacted: true, ..rules() }).expect_err("refused");
    assert_eq!(refusal.record_errors.len(), MAX_RECORD_ERRORS);
}

#[test]
fn the_logs_clock_is_stamped_in_the_header_alone() {
    let append_time = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let mut scratch = Scratch::default();
    for codec in Codec::ALL {
        let batch = sample(5, codec);
        let validated = validate(Rope::of(&batch), &append_time, &mut scratch).expect("valid");
        assert_eq!((validated.verdict, validated.max_timestamp_at), (Verdict::NewHeader, 0), "{codec}");
        assert_eq!(validated.log_append_time(), NOW);
        let stored = appended(&validated, &batch, &scratch);
        assert_eq!(stored[HEADER_LEN..], batch[HEADER_LEN..]);
        assert!(read(&stored).iter().all(|r| r.1 == NOW), "{codec}");
    }
    let validated = check(&sample(5, Codec::None), &rules()).expect("valid");
    assert_eq!((validated.log_append_time(), validated.max_timestamp_at), (-1, 4));
}

#[test]
fn a_wrong_max_timestamp_is_set_right() {
    let batch = altered(&sample(5, Codec::Lz4), |h| h.max_timestamp = NOW + 1_000_000);
    let scratch = Scratch::default();
    let validated = check(&batch, &rules()).expect("valid");
    assert_eq!(validated.verdict, Verdict::NewHeader);
    assert_eq!(appended(&validated, &batch, &scratch), sample(5, Codec::Lz4));
}

#[test]
fn every_codec_is_rewritten_to_every_other() {
    let mut scratch = Scratch::default();
    let expected = read(&sample(500, Codec::None));
    for source in Codec::ALL {
        for target in Codec::ALL {
            let batch =
                altered(&sample(500, source), |h| (h.producer_id, h.producer_epoch, h.base_sequence) = (9, 1, 70));
            let rules = Rules { compression: TargetCodec::fixed(target), ..rules() };
            let validated = validate(Rope::of(&batch), &rules, &mut scratch).expect("valid");
            let kept = if source == target { Verdict::AsIs } else { Verdict::Rewritten };
            assert_eq!(validated.verdict, kept, "{source} to {target}");
            let stored = appended(&validated, &batch, &scratch);
            assert_eq!((stored.len(), validated.header.codec()), (validated.header.total_len(), Some(target)));
            assert_eq!(read(&stored), expected, "{source} to {target}");
            let unchanged = BatchHeader { batch_length: 0, crc: 0, attributes: 0, ..validated.header };
            assert_eq!(unchanged, BatchHeader { batch_length: 0, crc: 0, attributes: 0, ..header_of(&batch) });
        }
    }
    let grown = Rules { compression: TargetCodec::fixed(Codec::None), max_message_bytes: 10_000, ..rules() };
    assert_eq!(code(&sample(500, Codec::Zstd), &grown), ErrorCode::MessageTooLarge);
}

/// Old clients write offset deltas that do not count up; so does a crooked one.
#[test]
fn offset_deltas_that_do_not_count_up_are_renumbered() {
    for codec in Codec::ALL {
        for delta in [0u8, 7, 0x7f] {
            let mut body = Vec::new();
            for i in 0..200u8 {
                body.extend_from_slice(&[16, 0, i % 60 * 2, delta, 1, 4, b'a', i, 0]);
            }
            let mut compressed = Vec::new();
            Encoder::default().compress(codec, codec.default_level(), &body, &mut compressed);
            let header = BatchHeader {
                magic: MAGIC,
                attributes: codec.id(),
                last_offset_delta: 199,
                record_count: 200,
                base_timestamp: 1000,
                producer_id: -1,
                ..Default::default()
            };
            let batch = sealed(header, &compressed);
            let mut scratch = Scratch::default();
            let validated = validate(Rope::of(&batch), &rules(), &mut scratch).expect("valid");
            assert_eq!((validated.verdict, validated.header.codec()), (Verdict::Rewritten, Some(codec)));
            let stored = read(&appended(&validated, &batch, &scratch));
            for (i, record) in stored.iter().enumerate() {
                let value = Some(vec![b'a', i as u8]);
                assert_eq!(*record, (i as i64, 1000 + i as i64 % 60, None, value, vec![]), "{codec}");
            }
            assert_eq!((stored.len(), validated.header.max_timestamp), (200, 1059));
        }
    }
}

#[test]
fn a_heavy_batch_is_left_to_a_helper() {
    let mut builder = BatchBuilder::new();
    for _ in 0..16 {
        builder.append(NOW, None, Some(&vec![0; 1 << 20]), &[]);
    }
    let mut batch = Vec::new();
    builder.finish(0, -1, Codec::Zstd, 3, &mut Encoder::default(), &mut batch);
    assert!(batch.len() < 10_000);
    let mut scratch = Scratch::default();
    let mut within = |rules: &Rules, budget| validate_within(Rope::of(&batch), rules, &mut scratch, budget);
    assert_eq!(within(&rules(), 1 << 20), Ok(None));
    let whole = within(&rules(), usize::MAX).expect("valid").expect("done");
    assert_eq!(within(&rules(), 17 << 20), Ok(Some(whole)));
    let recompress = Rules { compression: TargetCodec::fixed(Codec::Lz4), ..rules() };
    assert_eq!(within(&recompress, 17 << 20), Ok(None), "compressing weighs more");
    let small = Rules { decompressed_max_bytes: 1 << 20, ..rules() };
    assert_eq!(within(&small, 17 << 20).map_err(|e| e.code), Err(ErrorCode::MessageTooLarge));
    assert!(scratch.decoder.held() < 4 << 20, "holds {} bytes", scratch.decoder.held());
    let plain = sample(1000, Codec::None);
    assert!(validate_within(Rope::of(&plain), &rules(), &mut scratch, 0).is_ok_and(|v| v.is_some()));
    fn movable<T: Send>(_: &T) {}
    movable(&(scratch, rules()));
}

/// What compressing takes decides whether it is done at once: the same batch, for topics of different codecs and levels.
#[test]
fn compressing_anew_is_weighed() {
    const BUDGET: usize = 1 << 20;
    let batch = |bytes: usize| {
        let mut builder = BatchBuilder::new();
        builder.append(NOW, None, Some(&vec![b'v'; bytes]), &[]);
        let mut out = Vec::new();
        builder.finish(0, -1, Codec::None, 0, &mut Encoder::default(), &mut out);
        out
    };
    let levels = [
        (Codec::Snappy, 0),
        (Codec::Lz4, Codec::Lz4.default_level()),
        (Codec::Lz4, 12),
        (Codec::Gzip, 1),
        (Codec::Gzip, Codec::Gzip.default_level()),
        (Codec::Gzip, 9),
        (Codec::Zstd, -5),
        (Codec::Zstd, Codec::Zstd.default_level()),
        (Codec::Zstd, 9),
        (Codec::Zstd, 22),
    ];
    let mut scratch = Scratch::default();
    for (codec, level) in levels {
        let rules = Rules { compression: TargetCodec::Fixed { codec, level }, ..rules() };
        let most = BUDGET / effort(codec, level);
        let mut done = |bytes| {
            let batch = batch(bytes);
            let done = validate_within(Rope::of(&batch), &rules, &mut scratch, BUDGET).expect("valid");
            done.map(|validated| (validated.verdict, scratch.take_body().len()))
        };
        let (verdict, len) = done(most - 64).unwrap_or_else(|| panic!("{codec} {level}: {most} bytes are little work"));
        assert!(verdict == Verdict::Rewritten && len > 0);
        assert_eq!(done(most), None, "{codec} {level}: with its record's lengths it is over");
    }
    let stored = Rules { compression: TargetCodec::fixed(Codec::None), ..rules() };
    assert!(validate_within(Rope::of(&batch(BUDGET / 2)), &stored, &mut scratch, 0).is_ok_and(|v| v.is_some()));
}

/// Damage under a right checksum: whatever passes can be read back, in full and in order.
#[test]
fn damaged_records_are_refused_or_readable() {
    let mut state = 2463534242u64;
    let mut roll = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut scratch = Scratch::default();
    let limited = Rules { decompressed_max_bytes: 200_000, ..rules() };
    let (mut passed, mut refused) = (0, 0);
    for codec in Codec::ALL {
        let batch = sample(12, codec);
        for round in 0..6000 {
            let mut damaged = batch.clone();
            for _ in 0..1 + roll(3) {
                let at = CRC_START + roll(batch.len() - CRC_START);
                damaged[at] = roll(256) as u8;
            }
            let header = BatchHeader { attributes: codec.id(), ..header_of(&damaged) };
            let damaged = sealed(header, &damaged[HEADER_LEN..]);
            let rules = if round % 2 == 0 {
                limited
            } else {
                Rules { compression: TargetCodec::fixed(Codec::Snappy), ..limited }
            };
            let pieces: Vec<&[u8]> = damaged.chunks(1 + roll(200)).collect();
            match validate(Rope::new(&pieces), &rules, &mut scratch) {
                Ok(validated) => {
                    passed += 1;
                    let stored = read(&appended(&validated, &damaged, &scratch));
                    assert!(stored.iter().enumerate().all(|(i, r)| r.0 == i as i64), "{codec}");
                    assert_eq!(stored.len(), validated.header.record_count as usize);
                }
                Err(_) => refused += 1,
            }
            // Reading without validation must not panic either.
            let mut buffer = Vec::new();
            if let Ok(records) = Records::read(Rope::of(&damaged), &mut scratch.decoder, &mut buffer, 200_000) {
                records.flatten().for_each(|record| assert!(record.headers.count() <= damaged.len() * 100));
            }
            let _ = seek_timestamp(Rope::of(&damaged), NOW - 3000, 0, &mut scratch.decoder, 200_000);
        }
    }
    assert!(passed > 500 && refused > 5000, "{passed} passed, {refused} refused");
}

#[test]
fn records_are_found_by_time() {
    let mut builder = BatchBuilder::new();
    let mut decoder = Decoder::default();
    for codec in Codec::ALL {
        let mut batch = Vec::new();
        for timestamp in [100, 300, 200, 300, 250] {
            builder.append(timestamp, None, None, &[]);
        }
        let header = builder.finish(50, 4, codec, codec.default_level(), &mut Encoder::default(), &mut batch);
        assert_eq!((header.max_timestamp, header.last_offset()), (300, 54));
        let mut seek = |target, from| {
            seek_timestamp(Rope::of(&batch), target, from, &mut decoder, 1000)
                .expect("readable")
                .map(|f| (f.offset, f.timestamp))
        };
        let at = 50;
        assert_eq!(seek(0, at), Some((at, 100)));
        assert_eq!(seek(101, at), Some((at + 1, 300)));
        assert_eq!(seek(101, at + 2), Some((at + 2, 200)));
        assert_eq!(seek(251, at + 2), Some((at + 3, 300)));
        assert_eq!(seek(301, 0), None);
        assert_eq!(seek(0, at + 5), None);
        let latest = offset_of_max_timestamp(Rope::of(&batch), &mut decoder, 1000).expect("readable");
        assert_eq!(latest, Some(OffsetAndTimestamp { offset: 51, timestamp: 300, leader_epoch: 4 }));
        let stamped =
            altered(&batch, |h| (h.attributes, h.max_timestamp) = (h.attributes | attribute::LOG_APPEND_TIME, 900));
        let found = seek_timestamp(Rope::of(&stamped), 900, 52, &mut decoder, 1000).expect("readable");
        assert_eq!(found, Some(OffsetAndTimestamp { offset: 52, timestamp: 900, leader_epoch: 4 }));
    }
}

#[test]
fn a_builder_starts_afresh_after_each_batch() {
    let mut builder = BatchBuilder::new();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    builder.append(5, None, Some(b"x"), &[]);
    builder.producer(3, 4, 5).attributes(attribute::TRANSACTIONAL | attribute::CONTROL | 3);
    assert_eq!((builder.len(), builder.size()), (1, HEADER_LEN + 8));
    let header = builder.finish(10, 2, Codec::None, 0, &mut Encoder::default(), &mut first);
    assert!(header.is_transactional() && header.is_control() && header.codec() == Some(Codec::None));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence, header.next_offset()), (3, 4, 5, 11));
    assert_eq!((first.len(), builder.is_empty()), (header.total_len(), true));
    builder.append(-1, None, None, &[]);
    let header = builder.finish(11, 2, Codec::None, 0, &mut Encoder::default(), &mut second);
    assert_eq!((header.attributes, header.has_producer(), header.max_timestamp), (0, false, -1));
    assert_eq!(read(&second), [(11, -1, None, None, vec![])]);
}
