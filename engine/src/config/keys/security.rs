//! The broker settings of Kafka 4.2 about TLS, SASL, authorization: one row each. What acts on
//! them lives elsewhere.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0; where a default is ours, the row says so.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, between, keys, why};

keys! {
    "authorizer.class.name", String, Some(""), Any, ReadOnly, Refused(why::SECURITY),
        "Class that decides who may do what.";
    "delegation.token.expiry.check.interval.ms", Long,
        Some("3600000"), at_least(1), ReadOnly, NoMeaning(why::SECURITY),
        "Milliseconds between two looks for expired tokens.";
    "delegation.token.expiry.time.ms", Long, Some("86400000"), at_least(1), ReadOnly, NoMeaning(why::SECURITY),
        "Life of a delegation token before renewal, ms.";
    "delegation.token.max.lifetime.ms", Long, Some("604800000"), at_least(1), ReadOnly, NoMeaning(why::SECURITY),
        "Longest life of a delegation token, ms.";
    "delegation.token.secret.key", Password, None, Any, ReadOnly, Refused(why::SECURITY),
        "Secret that delegation tokens are signed with.";
    "principal.builder.class", Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), Any, PerBroker, Refused(why::SECURITY),
        "Class that tells who a connection is.";
    "sasl.client.callback.handler.class", Class, None, Any, ReadOnly, Refused(why::SASL),
        "Callback class of a SASL client.";
    "sasl.enabled.mechanisms", List, Some("GSSAPI"), Any, PerBroker, Refused(why::SASL), "SASL mechanisms offered.";
    "sasl.jaas.config", Password, None, Any, PerBroker, Refused(why::SASL), "Login of a SASL listener.";
    "sasl.kerberos.kinit.cmd", String, Some("/usr/bin/kinit"), Any, PerBroker, Refused(why::SASL), "Path of kinit.";
    "sasl.kerberos.min.time.before.relogin", Long, Some("60000"), Any, PerBroker, Refused(why::SASL),
        "Rest between two Kerberos logins, ms.";
    "sasl.kerberos.principal.to.local.rules", List, Some("DEFAULT"), Any, PerBroker, Refused(why::SASL),
        "Rules from Kerberos principals to short names.";
    "sasl.kerberos.service.name", String, None, Any, PerBroker, Refused(why::SASL), "Kerberos service name.";
    "sasl.kerberos.ticket.renew.jitter", Double, Some("0.05"), Any, PerBroker, Refused(why::SASL),
        "Random share of the ticket renewal time.";
    "sasl.kerberos.ticket.renew.window.factor", Double, Some("0.8"), Any, PerBroker, Refused(why::SASL),
        "Share of a ticket's life after which it is renewed.";
    "sasl.login.callback.handler.class", Class, None, Any, ReadOnly, Refused(why::SASL),
        "Callback class of a SASL login.";
    "sasl.login.class", Class, None, Any, ReadOnly, Refused(why::SASL), "Class of a SASL login.";
    "sasl.login.connect.timeout.ms", Int, None, Any, ReadOnly, Refused(why::SASL),
        "How long connecting to the identity provider may take, ms.";
    "sasl.login.read.timeout.ms", Int, None, Any, ReadOnly, Refused(why::SASL),
        "How long reading from the identity provider may take, ms.";
    "sasl.login.refresh.buffer.seconds", Short, Some("300"), Any, PerBroker, Refused(why::SASL),
        "Seconds before expiry by which a credential is refreshed.";
    "sasl.login.refresh.min.period.seconds", Short, Some("60"), Any, PerBroker, Refused(why::SASL),
        "Fewest seconds between two refreshes.";
    "sasl.login.refresh.window.factor", Double, Some("0.8"), Any, PerBroker, Refused(why::SASL),
        "Share of a credential's life after which it is refreshed.";
    "sasl.login.refresh.window.jitter", Double, Some("0.05"), Any, PerBroker, Refused(why::SASL),
        "Random share of that time.";
    "sasl.login.retry.backoff.max.ms", Long, Some("10000"), Any, ReadOnly, Refused(why::SASL),
        "Longest pause between login attempts, ms.";
    "sasl.login.retry.backoff.ms", Long, Some("100"), Any, ReadOnly, Refused(why::SASL),
        "First pause between login attempts, ms.";
    "sasl.mechanism.controller.protocol", String, Some("GSSAPI"), Any, ReadOnly, Refused(why::SASL),
        "SASL mechanism towards the controllers.";
    "sasl.mechanism.inter.broker.protocol", String, Some("GSSAPI"), Any, PerBroker, Refused(why::SASL),
        "SASL mechanism between brokers.";
    "sasl.oauthbearer.assertion.algorithm", String,
        Some("RS256"), Valid::AnyCase(&["ES256", "RS256"]), ReadOnly, Refused(why::SASL),
        "Algorithm that signs an OAuth assertion.";
    "sasl.oauthbearer.assertion.claim.aud", String, None, Any, ReadOnly, Refused(why::SASL),
        "Audience claim of the assertion.";
    "sasl.oauthbearer.assertion.claim.exp.seconds", Int, Some("300"), between(0, 86400), ReadOnly, Refused(why::SASL),
        "Seconds until the assertion expires.";
    "sasl.oauthbearer.assertion.claim.iss", String, None, Any, ReadOnly, Refused(why::SASL),
        "Issuer claim of the assertion.";
    "sasl.oauthbearer.assertion.claim.jti.include", Boolean, Some("false"), Any, ReadOnly, Refused(why::SASL),
        "Whether the assertion carries an id.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds", Int, Some("60"), between(0, 3600), ReadOnly, Refused(why::SASL),
        "Seconds before now from which the assertion is valid.";
    "sasl.oauthbearer.assertion.claim.sub", String, None, Any, ReadOnly, Refused(why::SASL),
        "Subject claim of the assertion.";
    "sasl.oauthbearer.assertion.file", String, None, Any, ReadOnly, Refused(why::SASL), "File with a ready assertion.";
    "sasl.oauthbearer.assertion.private.key.file", String, None, Any, ReadOnly, Refused(why::SASL),
        "File with the key that signs the assertion.";
    "sasl.oauthbearer.assertion.private.key.passphrase", Password, None, Any, ReadOnly, Refused(why::SASL),
        "Passphrase of that key.";
    "sasl.oauthbearer.assertion.template.file", String, None, Any, ReadOnly, Refused(why::SASL),
        "File with headers and claims of the assertion.";
    "sasl.oauthbearer.client.credentials.client.id", String, None, Any, ReadOnly, Refused(why::SASL),
        "OAuth client id.";
    "sasl.oauthbearer.client.credentials.client.secret", Password, None, Any, ReadOnly, Refused(why::SASL),
        "OAuth client secret.";
    "sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), Any, ReadOnly, Refused(why::SASL),
        "Seconds the identity provider's clock may differ.";
    "sasl.oauthbearer.expected.audience", List, Some(""), Any, ReadOnly, Refused(why::SASL),
        "Audiences a token must name.";
    "sasl.oauthbearer.expected.issuer", String, None, Any, ReadOnly, Refused(why::SASL), "Issuer a token must name.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"), Any, ReadOnly, Refused(why::SASL),
        "Milliseconds between two reads of the key set.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, Some("10000"), Any, ReadOnly, Refused(why::SASL),
        "Longest pause between tries to read it, ms.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, Some("100"), Any, ReadOnly, Refused(why::SASL),
        "First pause between tries to read it, ms.";
    "sasl.oauthbearer.jwks.endpoint.url", String, None, Any, ReadOnly, Refused(why::SASL), "Where the key set is.";
    "sasl.oauthbearer.jwt.retriever.class", Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"), Any, ReadOnly, Refused(why::SASL),
        "Class that gets tokens.";
    "sasl.oauthbearer.jwt.validator.class", Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"), Any, ReadOnly, Refused(why::SASL),
        "Class that checks tokens.";
    "sasl.oauthbearer.scope", String, None, Any, ReadOnly, Refused(why::SASL), "Scope asked for.";
    "sasl.oauthbearer.scope.claim.name", String, Some("scope"), Any, ReadOnly, Refused(why::SASL),
        "Claim that holds the scope.";
    "sasl.oauthbearer.sub.claim.name", String, Some("sub"), Any, ReadOnly, Refused(why::SASL),
        "Claim that holds the subject.";
    "sasl.oauthbearer.token.endpoint.url", String, None, Any, ReadOnly, Refused(why::SASL), "Where tokens are issued.";
    "sasl.server.callback.handler.class", Class, None, Any, ReadOnly, Refused(why::SASL),
        "Callback class of a SASL server.";
    "sasl.server.max.receive.size", Int, Some("524288"), Any, ReadOnly, Refused(why::SASL),
        "Largest SASL message accepted, bytes.";
    "security.providers", String, None, Any, ReadOnly, Refused(why::SECURITY), "Classes that add security algorithms.";
    "ssl.allow.dn.changes", Boolean, Some("false"), Any, ReadOnly, Refused(why::TLS),
        "Whether a new key store may change the distinguished name.";
    "ssl.allow.san.changes", Boolean, Some("false"), Any, ReadOnly, Refused(why::TLS),
        "Whether a new key store may change the alternative names.";
    "ssl.cipher.suites", List, Some(""), Any, PerBroker, Refused(why::TLS), "Cipher suites offered.";
    "ssl.client.auth", String,
        Some("none"), Valid::OneOf(&["required", "requested", "none"]), PerBroker, Refused(why::TLS),
        "Whether clients must present a certificate.";
    "ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), Any, PerBroker, Refused(why::TLS), "TLS versions offered.";
    "ssl.endpoint.identification.algorithm", String, Some("https"), Any, PerBroker, Refused(why::TLS),
        "How a peer's host name is checked.";
    "ssl.engine.factory.class", Class, None, Any, PerBroker, Refused(why::TLS), "Class that makes TLS engines.";
    "ssl.key.password", Password, None, Any, PerBroker, Refused(why::TLS), "Password of the private key.";
    "ssl.keymanager.algorithm", String, Some("SunX509"), Any, PerBroker, Refused(why::TLS),
        "Algorithm of the key manager.";
    "ssl.keystore.certificate.chain", Password, None, Any, PerBroker, Refused(why::TLS), "Certificate chain in PEM.";
    "ssl.keystore.key", Password, None, Any, PerBroker, Refused(why::TLS), "Private key in PEM.";
    "ssl.keystore.location", String, None, Any, PerBroker, Refused(why::TLS), "File of the key store.";
    "ssl.keystore.password", Password, None, Any, PerBroker, Refused(why::TLS), "Password of the key store.";
    "ssl.keystore.type", String, Some("JKS"), Any, PerBroker, Refused(why::TLS), "Format of the key store.";
    "ssl.principal.mapping.rules", String, Some("DEFAULT"), Any, ReadOnly, Refused(why::TLS),
        "Rules from distinguished names to short names.";
    "ssl.protocol", String, Some("TLSv1.3"), Any, PerBroker, Refused(why::TLS), "TLS protocol of a context.";
    "ssl.provider", String, None, Any, PerBroker, Refused(why::TLS), "Security provider of TLS.";
    "ssl.secure.random.implementation", String, None, Any, PerBroker, Refused(why::TLS),
        "Source of random numbers of TLS.";
    "ssl.trustmanager.algorithm", String, Some("PKIX"), Any, PerBroker, Refused(why::TLS),
        "Algorithm of the trust manager.";
    "ssl.truststore.certificates", Password, None, Any, PerBroker, Refused(why::TLS), "Trusted certificates in PEM.";
    "ssl.truststore.location", String, None, Any, PerBroker, Refused(why::TLS), "File of the trust store.";
    "ssl.truststore.password", Password, None, Any, PerBroker, Refused(why::TLS), "Password of the trust store.";
    "ssl.truststore.type", String, Some("JKS"), Any, PerBroker, Refused(why::TLS), "Format of the trust store.";
}
