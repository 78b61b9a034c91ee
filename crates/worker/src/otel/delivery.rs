//! Bringing telemetry to the collector, and what becomes of the worker when there is none: nothing.
//!
//! A collector that is down, slow or in error costs the batch that it was sent, one line of the log per process, and no request's time.

use crate::telemetry::chain;
use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter as OtlpSpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// Sends requests on the worker's runtime. The SDK's threads have none; a client that blocks them would bring a thread of its own.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: Connections,
    timeout: Duration,
    runtime: Handle,
}

type Connections = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Whether it was said that the collector does not take what it is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaint(Arc<AtomicBool>);

/// Spans, and a complaint when they cannot be delivered.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) exporter: OtlpSpanExporter,
    pub(super) complaint: Complaint,
}

/// Metrics, and a complaint when they cannot be delivered.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) exporter: MetricExporter,
    pub(super) complaint: Complaint,
}

impl Client {
    /// A client whose requests are answered within `timeout` or given up. It trusts the public authorities, or instead of them those
    /// that are given.
    pub(super) fn new(
        timeout: Duration,
        trusted: Option<&[CertificateDer<'static>]>,
        runtime: Handle,
    ) -> Result<Self, rustls::Error> {
        let tls = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new();
        let connector = match trusted {
            None => connector.with_provider_and_webpki_roots(tls)?,
            Some(trusted) => connector.with_tls_config(trusting(trusted, tls)?),
        };
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Self {
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
            timeout,
            runtime,
        })
    }
}

fn trusting(
    trusted: &[CertificateDer<'static>],
    tls: CryptoProvider,
) -> Result<ClientConfig, rustls::Error> {
    let mut authorities = RootCertStore::empty();
    for certificate in trusted {
        authorities.add(certificate.clone())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(tls));
    let config = config.with_safe_default_protocol_versions()?;
    Ok(config
        .with_root_certificates(authorities)
        .with_no_client_auth())
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let Self { http, timeout, .. } = self.clone();
        let answering = async move {
            let (head, body) = http.request(request.map(Full::new)).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        // Within: a timer belongs to the runtime that it is made in.
        let answered = async move { tokio::time::timeout(timeout, answering).await };
        // With its causes: whoever shows the error shows its own words only.
        match self.runtime.spawn(answered).await? {
            Ok(answer) => answer.map_err(|error| chain(&*error).into()),
            Err(_) => Err(format!("no answer within {timeout:?}").into()),
        }
    }
}

impl Complaint {
    fn about(&self, delivered: &OTelSdkResult) {
        if let Err(error) = delivered
            && !self.0.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                %error,
                "the telemetry collector does not take what it is sent; it is lost, the worker goes on, and this is not said again"
            );
        }
    }
}

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let delivered = self.exporter.export(batch).await;
        self.complaint.about(&delivered);
        delivered
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Numbers {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let delivered = self.exporter.export(metrics).await;
        self.complaint.about(&delivered);
        delivered
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
