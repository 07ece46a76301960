//! The transport's side of every call: its own task, its cancellation, its log lines, its panics.

use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::managed::panicked;
use super::messages::diagnostics;
use super::{Call, Service};
use crate::proto::tfplugin6 as proto;
use crate::server::{ConnectionId, PanicReport, run_call};
use crate::{Diagnostic, Provider};

/// A request, for log lines and messages.
trait Ask: Send + 'static {
    /// The log key of what the call is about.
    const KEY: &'static str = "tf_resource_type";

    /// The type or function the call is about; empty for the provider as a whole.
    fn about(&self) -> &str;
}

/// An answer that can carry what went wrong.
trait Answer: Default + Send + 'static {
    fn failed(diagnostic: Diagnostic) -> Self;

    /// Errors and warnings in the answer.
    fn counts(&self) -> (usize, usize);
}

fn count(messages: &[proto::Diagnostic]) -> (usize, usize) {
    let of = |severity: proto::diagnostic::Severity| {
        messages.iter().filter(|message| message.severity == severity as i32).count()
    };
    (of(proto::diagnostic::Severity::Error), of(proto::diagnostic::Severity::Warning))
}

macro_rules! messages {
    ($($rpc:ident $(.$about:ident)? $(as $key:literal)?;)*) => {$(
        impl Ask for proto::$rpc::Request {
            $(const KEY: &'static str = $key;)?

            fn about(&self) -> &str {
                messages!(@about self $(.$about)?)
            }
        }

        impl Answer for proto::$rpc::Response {
            fn failed(diagnostic: Diagnostic) -> Self {
                #[allow(clippy::needless_update, reason = "some answers have other fields")]
                Self { diagnostics: diagnostics(diagnostic.into()), ..Self::default() }
            }

            fn counts(&self) -> (usize, usize) {
                count(&self.diagnostics)
            }
        }
    )*};
    (@about $request:ident) => { { let _ = $request; "" } };
    (@about $request:ident .$about:ident) => { &$request.$about };
}

messages! {
    get_metadata;
    get_provider_schema;
    get_resource_identity_schemas;
    get_functions;
    validate_provider_config;
    validate_resource_config.type_name;
    validate_data_resource_config.type_name as "tf_data_source_type";
    configure_provider;
    upgrade_resource_state.type_name;
    plan_resource_change.type_name;
    import_resource_state.type_name;
    read_data_source.type_name as "tf_data_source_type";
}

impl Ask for proto::call_function::Request {
    const KEY: &'static str = "tf_function";

    fn about(&self) -> &str {
        &self.name
    }
}

impl Answer for proto::call_function::Response {
    fn failed(diagnostic: Diagnostic) -> Self {
        let text = format!("{}: {}", diagnostic.summary, diagnostic.detail);
        Self { result: None, error: Some(proto::FunctionError { text, function_argument: None }) }
    }

    fn counts(&self) -> (usize, usize) {
        (usize::from(self.error.is_some()), 0)
    }
}

impl Ask for proto::read_resource::Request {
    fn about(&self) -> &str {
        &self.type_name
    }
}

impl Answer for proto::read_resource::Response {
    fn failed(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: diagnostics(diagnostic.into()), ..Self::default() }
    }

    fn counts(&self) -> (usize, usize) {
        count(&self.diagnostics)
    }
}

impl Ask for proto::apply_resource_change::Request {
    fn about(&self) -> &str {
        &self.type_name
    }
}

impl Answer for proto::apply_resource_change::Response {
    fn failed(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: diagnostics(diagnostic.into()), ..Self::default() }
    }

    fn counts(&self) -> (usize, usize) {
        count(&self.diagnostics)
    }
}

impl<P: Provider> Service<P> {
    /// Runs a handler in a task of its own, with a request id in every log line, and turns a panic into an answer.
    async fn run<Q, A, H, F>(
        &self,
        rpc: &'static str,
        request: Request<Q>,
        handler: H,
    ) -> Result<Response<A>, Status>
    where
        Q: Ask,
        A: Answer,
        H: FnOnce(Self, Call, Q) -> F + Send + 'static,
        F: Future<Output = A> + Send,
    {
        let connection = ConnectionId::of(&request);
        let request = request.into_inner();
        let request_id = uuid::Uuid::new_v4().to_string();
        let about = request.about().to_owned();
        let span = tracing::info_span!(
            "rpc",
            tf_req_id = %request_id,
            tf_rpc = rpc,
            tf_provider_addr = P::ADDRESS,
            tf_proto_version = "6.11",
            tf_resource_type = tracing::field::Empty,
            tf_data_source_type = tracing::field::Empty,
            tf_function = tracing::field::Empty,
        );
        if !about.is_empty() {
            span.record(Q::KEY, about.as_str());
        }
        let started = Instant::now();
        let service = self.clone();
        let answer = async move {
            tracing::trace!("received request");
            let answer = run_call(&self.0.stop, move |cancel| {
                let call = Call { connection, cancel, request_id };
                handler(service, call, request)
            })
            .await
            .unwrap_or_else(|report: PanicReport| {
                let what = if about.is_empty() { rpc } else { about.as_str() };
                A::failed(panicked(what, &report))
            });
            let (errors, warnings) = answer.counts();
            let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::trace!(
                tf_req_duration_ms = elapsed,
                diagnostic_error_count = errors,
                diagnostic_warning_count = warnings,
                "served request"
            );
            answer
        }
        .instrument(span)
        .await;
        Ok(Response::new(answer))
    }
}

/// Every call that is implemented, with what answers it. Written in the form that
/// `async_trait` gives to methods, which is expanded before this macro is.
macro_rules! calls {
    ($($method:ident = $rpc:literal, |$service:ident, $call:ident, $request:ident| $answer:expr;)*) => {$(
        fn $method<'life0, 'async_trait>(
            &'life0 self,
            request: Request<proto::$method::Request>,
        ) -> BoxFuture<'async_trait, Result<Response<proto::$method::Response>, Status>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            self.run($rpc, request, |$service, $call, $request| async move { $answer })
            .boxed()
        }
    )*};
}

/// What is not here (identities, ephemeral resources, list resources, actions, state stores, moves) is announced
/// nowhere and answers `Unimplemented`.
#[tonic::async_trait]
impl<P: Provider> proto::provider_server::Provider for Service<P> {
    calls! {
        get_metadata = "GetMetadata", |service, _call, _request| service.metadata();
        get_provider_schema = "GetProviderSchema", |service, _call, _request| service.schema().clone();
        // No resource has an identity yet.
        get_resource_identity_schemas = "GetResourceIdentitySchemas", |_service, _call, _request| {
            proto::get_resource_identity_schemas::Response::default()
        };
        get_functions = "GetFunctions", |service, _call, _request| {
            proto::get_functions::Response { functions: service.functions(), diagnostics: Vec::new() }
        };
        validate_provider_config = "ValidateProviderConfig", |service, _call, request| {
            Self::validate_provider_config(&service, &request)
        };
        validate_resource_config = "ValidateResourceConfig", |service, _call, request| {
            Self::validate_resource_config(&service, &request)
        };
        validate_data_resource_config = "ValidateDataResourceConfig", |service, _call, request| {
            Self::validate_data_resource_config(&service, &request)
        };
        configure_provider = "ConfigureProvider", |service, call, request| {
            Self::configure_provider(&service, call, request).await
        };
        upgrade_resource_state = "UpgradeResourceState", |service, _call, request| {
            Self::upgrade_resource_state(&service, request)
        };
        read_resource = "ReadResource", |service, call, request| Self::read_resource(&service, call, request).await;
        plan_resource_change = "PlanResourceChange", |service, call, request| {
            Self::plan_resource_change(&service, call, request).await
        };
        apply_resource_change = "ApplyResourceChange", |service, call, request| {
            Self::apply_resource_change(&service, call, request).await
        };
        import_resource_state = "ImportResourceState", |service, call, request| {
            Self::import_resource_state(&service, call, request).await
        };
        read_data_source = "ReadDataSource", |service, call, request| {
            Self::read_data_source(&service, call, request).await
        };
        call_function = "CallFunction", |service, _call, request| Self::call_function(&service, &request);
    }

    /// Trips the tokens of the calls in flight and returns at once: the process keeps serving.
    async fn stop_provider(
        &self,
        _request: Request<proto::stop_provider::Request>,
    ) -> Result<Response<proto::stop_provider::Response>, Status> {
        tracing::debug!("Terraform asks the calls in flight to stop");
        self.0.stop.stop();
        Ok(Response::new(proto::stop_provider::Response::default()))
    }
}
