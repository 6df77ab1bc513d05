//! `listeners`, `advertised.listeners` and the protocol map: where to listen, and what to tell clients. Pure text work;
//! names are not resolved and nothing is opened.

use super::{ConfigError, Notice};

/// One address to listen on, with what clients are told to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Upper case, as in Kafka.
    pub name: String,
    /// Empty: every address. IPv6 without brackets.
    pub host: String,
    /// 0: one the system chooses.
    pub port: u16,
    /// None: the machine's own name, which only the caller knows.
    pub advertised_host: Option<String>,
    /// 0: the port that was bound.
    pub advertised_port: u16,
}

/// The texts of the settings concerned, each as it is in force.
pub(crate) struct ListenerSettings<'a> {
    pub(crate) listeners: &'a [String],
    pub(crate) advertised: Option<&'a [String]>,
    pub(crate) protocol_map: &'a str,
    /// Whether the map was given: without one Kafka gives controller listeners PLAINTEXT.
    pub(crate) map_is_explicit: bool,
    pub(crate) controller_names: &'a [String],
    pub(crate) inter_broker: Option<&'a str>,
}

/// NAME, host, port.
type EndPoint = (String, String, u16);

/// The listeners to open. What is wrong goes to `errors`, what is only not opened to `notices`.
pub(crate) fn listeners(
    settings: &ListenerSettings<'_>,
    errors: &mut Vec<ConfigError>,
    notices: &mut Vec<Notice>,
) -> Vec<Listener> {
    let is_controller = |name: &str| settings.controller_names.iter().any(|c| c.eq_ignore_ascii_case(name));
    let all = end_points("listeners", settings.listeners, errors);
    check_distinct("listeners", &all, errors);
    let advertised = settings.advertised.map(|texts| end_points("advertised.listeners", texts, errors));
    check_protocols(settings, &all, &is_controller, errors);
    if let Some(advertised) = &advertised {
        check_advertised(advertised, &all, errors);
    }
    for (name, ..) in all.iter().filter(|(name, ..)| is_controller(name)) {
        notices.push(Notice::new("listeners", format!("{name} is not opened: one node needs no controller listener")));
    }
    let open: Vec<_> = all.into_iter().filter(|(name, ..)| !is_controller(name)).collect();
    if open.is_empty() && errors.is_empty() {
        errors
            .push(ConfigError::new("listeners", "no listener for clients is left; add one such as PLAINTEXT://:9092"));
    }
    if let Some(name) = settings.inter_broker
        && !open.iter().any(|(open, ..)| open.eq_ignore_ascii_case(name))
    {
        let message = format!("{name} is not among the listeners for clients");
        errors.push(ConfigError::new("inter.broker.listener.name", message));
    }
    open.into_iter().map(|end_point| with_advertised(end_point, advertised.as_deref())).collect()
}

fn with_advertised((name, host, port): EndPoint, advertised: Option<&[EndPoint]>) -> Listener {
    let told = advertised.and_then(|list| list.iter().find(|(told, ..)| *told == name));
    let (advertised_host, advertised_port) = match told {
        Some((_, host, port)) => (host.clone(), *port),
        None => (host.clone(), port),
    };
    let advertised_host = Some(advertised_host).filter(|host| !is_wildcard(host));
    Listener { name, host, port, advertised_host, advertised_port }
}

fn is_wildcard(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

fn end_points(key: &str, texts: &[String], errors: &mut Vec<ConfigError>) -> Vec<EndPoint> {
    let mut found = Vec::new();
    for text in texts {
        match end_point(text) {
            Some(end_point) => found.push(end_point),
            None => errors.push(ConfigError::new(
                key,
                format!("{text} is not an address; write NAME://host:port, such as PLAINTEXT://:9092"),
            )),
        }
    }
    found
}

/// Reads `NAME://host:port`. An IPv6 host stands in brackets.
fn end_point(text: &str) -> Option<EndPoint> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = host_and_port(address)?;
    if name.is_empty() || name.len() > 249 {
        return None;
    }
    Some((name.to_ascii_uppercase(), host, port))
}

/// Reads `host:port`. An IPv6 host stands in brackets.
pub(crate) fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|inner| inner.contains(':'))?,
        None => Some(host).filter(|host| !host.contains(':'))?,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '%' | ':');
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if host.len() > 255 || !host.chars().all(allowed) || !digits {
        return None;
    }
    Some((host.to_string(), port.parse().ok()?))
}

/// Kafka's rules: each name once; each port once, but for an IPv4 and an IPv6 address.
fn check_distinct(key: &str, all: &[EndPoint], errors: &mut Vec<ConfigError>) {
    for (at, (name, host, port)) in all.iter().enumerate() {
        for (other_name, other_host, other_port) in &all[..at] {
            if name == other_name {
                errors.push(ConfigError::new(key, format!("Each listener must have a different name: {name}")));
            }
            let two_families =
                host.contains(':') != other_host.contains(':') && !host.is_empty() && !other_host.is_empty();
            if port == other_port && *port != 0 && !two_families {
                errors.push(ConfigError::new(key, format!("Each listener must have a different port: {port}")));
            }
        }
    }
}

fn check_advertised(advertised: &[EndPoint], all: &[EndPoint], errors: &mut Vec<ConfigError>) {
    const KEY: &str = "advertised.listeners";
    for (at, (name, host, _)) in advertised.iter().enumerate() {
        if matches!(host.as_str(), "0.0.0.0" | "::") {
            let message = format!("{host} cannot be told to clients; use an address they can reach");
            errors.push(ConfigError::new(KEY, message));
        }
        if !all.iter().any(|(listener, ..)| listener == name) {
            errors.push(ConfigError::new(KEY, format!("{name} is not among `listeners`")));
        }
        if advertised[..at].iter().any(|(other, ..)| other == name) {
            errors.push(ConfigError::new(KEY, format!("{name} is advertised twice")));
        }
    }
}

/// Every listener in use must be mapped to PLAINTEXT; entries for names not in use promise nothing.
fn check_protocols(
    settings: &ListenerSettings<'_>,
    all: &[EndPoint],
    is_controller: &dyn Fn(&str) -> bool,
    errors: &mut Vec<ConfigError>,
) {
    const KEY: &str = "listener.security.protocol.map";
    let mut map = Vec::new();
    for entry in settings.protocol_map.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.split_once(':') {
            Some((name, protocol)) => map.push((name.trim(), protocol.trim())),
            None => errors.push(ConfigError::new(KEY, format!("{entry} is not written NAME:PROTOCOL"))),
        }
    }
    for (name, ..) in all {
        match map.iter().rev().find(|(mapped, _)| mapped.eq_ignore_ascii_case(name)) {
            Some((_, "PLAINTEXT")) => {}
            Some((_, protocol)) => errors.push(ConfigError::new(
                KEY,
                format!("{name} is mapped to {protocol}, which is not there yet; only PLAINTEXT is"),
            )),
            None if is_controller(name) && !settings.map_is_explicit => {}
            None => errors.push(ConfigError::new(KEY, format!("No security protocol defined for listener {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::split_list;
    use super::*;

    const MAP: &str = "PLAINTEXT:PLAINTEXT,SSL:SSL,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT";

    fn read(listeners_text: &str, advertised: Option<&str>) -> Result<Vec<Listener>, Vec<ConfigError>> {
        let (texts, told) = (split_list(listeners_text), advertised.map(split_list));
        let settings = ListenerSettings {
            listeners: &texts,
            advertised: told.as_deref(),
            protocol_map: MAP,
            map_is_explicit: true,
            controller_names: &["CONTROLLER".to_string()],
            inter_broker: None,
        };
        let (mut errors, mut notices) = (Vec::new(), Vec::new());
        let open = listeners(&settings, &mut errors, &mut notices);
        if errors.is_empty() { Ok(open) } else { Err(errors) }
    }

    fn listener(name: &str, host: &str, port: u16, told: Option<&str>, told_port: u16) -> Listener {
        Listener {
            name: name.into(),
            host: host.into(),
            port,
            advertised_host: told.map(str::to_string),
            advertised_port: told_port,
        }
    }

    #[test]
    fn addresses_of_every_kind() {
        assert_eq!(read("PLAINTEXT://:9092", None), Ok(vec![listener("PLAINTEXT", "", 9092, None, 9092)]));
        assert_eq!(read("plaintext://0.0.0.0:0", None), Ok(vec![listener("PLAINTEXT", "0.0.0.0", 0, None, 0)]));
        assert_eq!(
            read("PLAINTEXT://[::1]:9092", None),
            Ok(vec![listener("PLAINTEXT", "::1", 9092, Some("::1"), 9092)])
        );
        assert_eq!(
            read(
                "PLAINTEXT://:9092,INSIDE://10.0.0.1:9094,CONTROLLER://:9093",
                Some("PLAINTEXT://kafka.example:19092,CONTROLLER://kafka.example:9093")
            ),
            Ok(vec![
                listener("PLAINTEXT", "", 9092, Some("kafka.example"), 19092),
                listener("INSIDE", "10.0.0.1", 9094, Some("10.0.0.1"), 9094)
            ])
        );
    }

    #[test]
    fn what_stops_the_start() {
        for (texts, told) in [
            ("SSL://:9093", None),
            ("OTHER://:9093", None),
            ("PLAINTEXT://:9092,PLAINTEXT://:9094", None),
            ("PLAINTEXT://:9092,INSIDE://:9092", None),
            ("PLAINTEXT://127.0.0.1:9092,INSIDE://10.0.0.1:9092", None),
            ("PLAINTEXT://:9092", Some("PLAINTEXT://0.0.0.0:9092")),
            ("PLAINTEXT://:9092", Some("INSIDE://a:9092")),
            ("CONTROLLER://:9093", None),
            ("PLAINTEXT", None),
            ("PLAINTEXT://:", None),
            ("PLAINTEXT://:70000", None),
            ("PLAINTEXT://::1:9092", None),
            ("PLAINTEXT://[a]:9092", None),
            ("PLAINTEXT://a b:9092", None),
            ("", None),
        ] {
            assert!(read(texts, told).is_err(), "{texts} {told:?}");
        }
        assert!(read("PLAINTEXT://127.0.0.1:9092,INSIDE://[::1]:9092", None).is_ok());
    }
}
