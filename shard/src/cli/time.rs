//! Points in time as a person writes them on the command line, turned into Kafka's milliseconds. UTC unless told.

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since the Unix epoch: a plain number, `2026-05-01T12:00:00.250Z` (also with `+02:00`, without a
/// zone, or only the date), or how long ago: `90s`, `15m`, `2h`, `7d`.
pub(super) fn parse(text: &str, now_ms: i64) -> Result<i64, String> {
    let refusal = || {
        format!(
            "`{text}` is not a time; write 2026-05-01T12:00:00Z, milliseconds since 1970, or how long ago: 90s, 15m, 2h, 7d"
        )
    };
    if let Ok(ms) = text.parse::<i64>() {
        return if ms >= 0 { Ok(ms) } else { Err(refusal()) };
    }
    if let Some(ago) = duration_ms(text) {
        return Ok(now_ms.saturating_sub(ago).max(0));
    }
    date_time_ms(text).filter(|ms| *ms >= 0).ok_or_else(refusal)
}

pub(super) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// As the name of a folder: `20260501-120000` and milliseconds, UTC.
pub(super) fn compact(ms: i64) -> String {
    let (days, clock) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil_from_days(days);
    let (seconds, milli) = (clock / 1000, clock % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{milli:03}")
}

fn duration_ms(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        b'd' => DAY_MS,
        _ => return None,
    };
    number(&text[..text.len() - 1])?.checked_mul(unit)
}

fn date_time_ms(text: &str) -> Option<i64> {
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    Some(days * DAY_MS + clock.map_or(Some(0), clock_ms)?)
}

/// `12:00`, `12:00:00`, `12:00:00.25`, each with `Z`, `+02:00`, `+0200` or nothing (UTC).
fn clock_ms(text: &str) -> Option<i64> {
    let (clock, zone_ms) = if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        (clock, 0)
    } else if let Some(at) = text.find(['+', '-']) {
        let zone = text[at + 1..].replace(':', "");
        if zone.len() != 4 || !zone.is_ascii() {
            return None;
        }
        let minutes = within(&zone[..2], 23)? * 60 + within(&zone[2..], 59)?;
        (&text[..at], if text.as_bytes()[at] == b'-' { -minutes } else { minutes } * 60_000)
    } else {
        (text, 0)
    };
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (within(parts.next()?, 23)?, within(parts.next()?, 59)?);
    let (second, fraction) = match parts.next() {
        Some(seconds) => seconds.split_once('.').unwrap_or((seconds, "0")),
        None => ("0", "0"),
    };
    number(fraction)?;
    let milli = number(&format!("{fraction:0<3}")[..3])?;
    Some(((hour * 60 + minute) * 60 + within(second, 59)?) * 1000 + milli - zone_ms)
}

fn within(text: &str, most: i64) -> Option<i64> {
    number(text).filter(|n| *n <= most)
}

/// Digits only: no sign, no spaces.
fn number(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * march_month + 2) / 5 + 1, (march_month + 2) % 12 + 1);
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn every_way_to_write_a_time() {
        let noon = 1_777_636_800_000; // 2026-05-01T12:00:00Z
        for text in [
            "1777636800000",
            "2026-05-01T12:00:00Z",
            "2026-05-01T12:00:00.000",
            "2026-05-01 12:00",
            "2026-05-01T14:00:00+02:00",
            "2026-05-01T06:30:00-0530",
        ] {
            assert_eq!(parse(text, NOW), Ok(noon), "{text}");
        }
        assert_eq!(parse("2026-05-01", NOW), Ok(noon - DAY_MS / 2));
        assert_eq!(parse("2026-05-01T12:00:00.25Z", NOW), Ok(noon + 250));
        assert_eq!(parse("90s", NOW), Ok(NOW - 90_000));
        assert_eq!(parse("2h", NOW), Ok(NOW - 7_200_000));
        assert_eq!(parse("99999d", NOW), Ok(0));
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "-5",
            "h",
            "yesterday",
            "2026-02-30",
            "2026-13-01",
            "2026-05-01T25:00",
            "2026-05-01T12:00:00+2",
            "1969-12-31",
        ] {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
        assert!(parse("999999999999999999d", NOW).is_err());
    }

    #[test]
    fn days_and_dates_are_inverse_over_four_centuries() {
        for day in -1000..160_000 {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
        assert_eq!(civil_from_days(11_016), (2000, 2, 29));
    }
}
