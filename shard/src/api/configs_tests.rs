//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources over their versions.

use super::super::testing::Node;
use super::*;
use ringlog_net::cold::messages::{alter_configs_request, incremental_alter_configs_request};

fn one(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    let keys = keys.map(|keys| keys.iter().map(|key| text(*key)).collect());
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys)
}

fn describing(resources: Vec<DescribeConfigsResource>) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default().with_resources(resources)
}

#[test]
fn a_topic_is_described_in_every_version() {
    for version in 1..=4 {
        let asked = vec![one(TOPIC, "table", Some(&["cleanup.policy", "retention.ms"]))];
        let request = describing(asked).with_include_synonyms(true).with_include_documentation(version >= 3);
        let response = Node::new().ask(version, request);
        let result = &response.results[0];
        assert_eq!((result.error_code, result.resource_type, result.resource_name.as_str()), (0, TOPIC, "table"));
        let rows: Vec<_> = (result.configs.iter())
            .map(|row| (row.name.as_str(), row.value.as_ref().unwrap().as_str(), row.config_source, row.synonyms.len()))
            .collect();
        assert_eq!(rows, [("cleanup.policy", "compact", 1, 2), ("retention.ms", "604800000", 5, 0)], "{version}");
        if version >= 3 {
            assert_eq!((result.configs[0].config_type, result.configs[1].config_type), (7, 5));
            assert!(result.configs[0].documentation.as_ref().is_some_and(|text| !text.is_empty()));
        }
    }
    let plain = Node::new().ask(4, describing(vec![one(TOPIC, "orders", Some(&[]))]));
    let configs = &plain.results[0].configs;
    assert!(configs.len() > 20, "no names are all names");
    assert!(configs.iter().all(|row| row.synonyms.is_empty() && row.documentation.is_none()));
}

#[test]
fn brokers_and_what_is_none() {
    let asked = [
        (BROKER, "1", 0),
        (BROKER, "", 0),
        (BROKER, "2", 42),
        (BROKER, "one", 42),
        (BROKER_LOGGER, "1", 0),
        (BROKER_LOGGER, "", 42),
        (CLIENT_METRICS, "m", 0),
        (CLIENT_METRICS, "", 42),
        (GROUP, "g", 0),
        (GROUP, "", 42),
        (TOPIC, "none", 3),
        (TOPIC, "a/b", 17),
        (3, "x", 42),
    ];
    let request = describing(asked.iter().map(|(kind, name, _)| one(*kind, name, None)).collect());
    let response = Node::new().ask(2, request);
    let codes: Vec<_> = response.results.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, asked.map(|(_, _, code)| code));
    let broker = &response.results[0].configs;
    let rack = broker.iter().find(|row| row.name.as_str() == "broker.rack").unwrap();
    assert_eq!((rack.value.as_ref().unwrap().as_str(), rack.config_source, rack.read_only), ("r1", 4, true));
    assert!(response.results[1].configs.is_empty(), "no dynamic defaults are set");
    let why = response.results[2].error_message.as_ref().unwrap().as_str();
    assert_eq!(why, "Unexpected broker id, expected 1 or empty string, but received 2");
}

#[test]
fn a_resource_named_many_times_is_described_once() {
    let asked = ["1", "01", "+1", "1"].map(|name| one(BROKER, name, None));
    assert_eq!(Node::new().ask(4, describing(asked.into())).results.len(), 1);
    let asked = vec![one(TOPIC, "orders", None), one(TOPIC, "orders", Some(&["retention.ms"]))];
    assert_eq!(Node::new().ask(4, describing(asked)).results.len(), 1);
}

#[test]
fn settings_are_altered_one_by_one() {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let resource = |kind, name: &str, operation| {
        let config = AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_config_operation(operation)
            .with_value(Some(text("7")));
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![config])
    };
    for version in 0..=1 {
        let resources = vec![
            resource(TOPIC, "orders", 0),
            resource(TOPIC, "twice", 0),
            resource(BROKER, "1", 3),
            resource(TOPIC, "twice", 1),
            resource(BROKER_LOGGER, "1", 0),
            resource(GROUP, "g", 0),
            resource(TOPIC, "table", 9),
        ];
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(true);
        let response = Node::new().call(version, request, |target, question| {
            assert_eq!(target, Target::Controller);
            let Question::Control(Command::AlterConfigs { resources, validate_only: true }) = question else {
                panic!("{question:?}");
            };
            let named: Vec<_> = resources.iter().map(|alteration| alteration.resource.clone()).collect();
            assert_eq!(named, [Resource::Topic("orders".into()), Resource::Broker("1".into())]);
            let Change::Alter(changes) = &resources[1].change else { panic!("{resources:?}") };
            assert_eq!(changes, &[("retention.ms".to_string(), 3, Some("7".to_string()))]);
            Answer::Control(Outcome::Altered(vec![Ok(()), Err((ErrorCode::InvalidConfig, "not a list".into()))]))
        });
        let codes: Vec<_> = response.responses.iter().map(|row| row.error_code).collect();
        assert_eq!(codes, [0, 42, 40, 42, 40, 42, 42]);
        assert_eq!(response.responses[0].error_message, None);
        assert_eq!(response.responses[2].error_message.as_ref().unwrap().as_str(), "not a list");
        assert_eq!(response.responses[2].resource_name.as_str(), "1");
    }
}

#[test]
fn settings_are_replaced() {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let resource = |kind, name: &str| {
        let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("7")));
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![config])
    };
    for version in 0..=2 {
        let request = AlterConfigsRequest::default().with_resources(vec![
            resource(BROKER_LOGGER, "1"),
            resource(TOPIC, "orders"),
            resource(BROKER, ""),
        ]);
        let response = Node::new().call(version, request, |_, question| {
            let Question::Control(Command::AlterConfigs { resources, validate_only: false }) = question else {
                panic!("{question:?}");
            };
            let Change::Replace(settings) = &resources[0].change else { panic!("{resources:?}") };
            assert_eq!(settings, &[("retention.ms".to_string(), Some("7".to_string()))]);
            assert_eq!(resources[1].resource, Resource::Broker(String::new()));
            Answer::Control(Outcome::Altered(vec![Ok(()), Ok(())]))
        });
        let codes: Vec<_> = response.responses.iter().map(|row| (row.resource_type, row.error_code)).collect();
        assert_eq!(codes, [(BROKER_LOGGER, 42), (TOPIC, 0), (BROKER, 0)]);
    }
    let refused = Node::new().ask(2, AlterConfigsRequest::default().with_resources(vec![resource(GROUP, "g")]));
    assert_eq!(refused.responses[0].error_code, 42);
}

#[test]
fn resources_with_settings_are_listed() {
    let list = |version, kinds: &[i8]| {
        let request = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
        let response = Node::new().ask(version, request);
        let row = |row: &ConfigResource| format!("{} {}", row.resource_type, row.resource_name.as_str());
        (response.error_code, response.config_resources.iter().map(row).collect::<Vec<_>>())
    };
    assert_eq!(list(0, &[]), (0, vec![]), "client metrics only");
    let all = ["2 __consumer_offsets", "2 orders", "2 table", "4 1", "8 1"].map(String::from).to_vec();
    assert_eq!(list(1, &[]), (0, all));
    assert_eq!(list(1, &[BROKER, BROKER, GROUP]), (0, vec!["4 1".to_string()]));
    assert_eq!(list(1, &[BROKER, 7]), (35, vec![]));
}
