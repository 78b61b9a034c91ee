//! OpenTelemetry's variables, as its specification has them.

use super::Reader;
use super::mistakes::without_password;
use axum::http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;

/// What is exported by OTLP. Where to, with which headers and how often, the SDK reads from its own variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signals {
    /// Whether there is an endpoint for traces.
    pub traces: bool,
    /// Whether there is one for metrics.
    pub metrics: bool,
    /// Whether the traces that begin here are limited in number: no sampler is named (`OTEL_TRACES_SAMPLER`).
    pub limited: bool,
    /// How long the collector may take to answer (`OTEL_EXPORTER_OTLP_TIMEOUT`).
    pub timeout: Duration,
    /// Whom to trust in place of the public authorities when the collector is reached by TLS (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub trusted: Option<Vec<CertificateDer<'static>>>,
    /// What the service is called in place of its app's name (`OTEL_SERVICE_NAME`).
    pub service_name: Option<String>,
}

/// What the conventions say.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

impl Reader<'_> {
    pub(super) fn signals(&mut self) -> Option<Signals> {
        let disabled = match self.given("OTEL_SDK_DISABLED") {
            Some(found) => found.eq_ignore_ascii_case("true"),
            None => false,
        };
        let common = self.endpoint("OTEL_EXPORTER_OTLP_ENDPOINT");
        let traces = self.endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let metrics = self.endpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        let spoken = [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        ]
        .map(|variable| self.protocol(variable));
        let trusted = self.certificates("OTEL_EXPORTER_OTLP_CERTIFICATE");
        let timeout = match self.given("OTEL_EXPORTER_OTLP_TIMEOUT") {
            Some(_) => self.milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", 0),
            None => Some(EXPORT_TIMEOUT),
        };
        let common = common?;
        for protocol in spoken {
            protocol?;
        }
        Some(Signals {
            traces: (common || traces?) && !disabled,
            metrics: (common || metrics?) && !disabled,
            limited: self.given("OTEL_TRACES_SAMPLER").is_none(),
            timeout: timeout?,
            trusted: trusted?,
            service_name: self.given("OTEL_SERVICE_NAME"),
        })
    }

    /// Whether an endpoint is set.
    fn endpoint(&mut self, variable: &'static str) -> Option<bool> {
        let Some(found) = self.given(variable) else {
            return Some(false);
        };
        let is_http = found.parse().is_ok_and(|uri: Uri| {
            uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if is_http {
            return Some(true);
        }
        let expected = "an http:// or https:// URL".into();
        self.refuse(variable, Some(without_password(&found)), expected)
    }

    /// The certificates of the file that is named, if one is.
    fn certificates(
        &mut self,
        variable: &'static str,
    ) -> Option<Option<Vec<CertificateDer<'static>>>> {
        let Some(found) = self.given(variable) else {
            return Some(None);
        };
        let file = CertificateDer::pem_file_iter(&found);
        let certificates =
            file.and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Some(Some(certificates)),
            _ => self.refuse(variable, Some(found), "a file of PEM certificates".into()),
        }
    }

    /// The one protocol that is spoken, or none in particular.
    fn protocol(&mut self, variable: &'static str) -> Option<()> {
        match self.given(variable) {
            Some(found) if found != "http/protobuf" => {
                self.refuse(variable, Some(found), "http/protobuf".into())
            }
            _ => Some(()),
        }
    }
}
