//! The transport's side of every call: its own task, its cancellation, its log lines, its panics.

use std::time::Instant;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::messages::diagnostics;
use super::read_state_bytes::Stored;
use super::write_state_bytes::{Received, receive};
use super::{Call, Service};
use crate::proto::tfplugin6 as proto;
use crate::server::{AfterStop, Claim, ConnectionId, answer_call};
use crate::{Diagnostic, Provider};

/// A request, for log lines and messages.
trait Ask: Send + 'static {
    /// The log key of what the call is about.
    const KEY: &'static str = "tf_resource_type";
    /// What becomes of a call that does not heed a stop. Waiting is for those whose result must not be lost: what was applied, closed,
    /// written, unlocked or deleted.
    const AFTER_STOP: AfterStop = AfterStop::Leave;

    /// The type or function the call is about; empty for the provider as a whole.
    fn about(&self) -> &str;
}

/// An answer that can carry what went wrong.
trait Answer: Send + 'static {
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
    ($($rpc:ident $(.$about:ident)? $(as $key:literal)? $(=> $after:ident)?;)*) => {$(
        impl Ask for proto::$rpc::Request {
            $(const KEY: &'static str = $key;)?
            $(const AFTER_STOP: AfterStop = AfterStop::$after;)?

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
    upgrade_resource_identity.type_name;
    move_resource_state.target_type_name;
    generate_resource_config.type_name;
    validate_ephemeral_resource_config.type_name as "tf_ephemeral_resource_type";
    open_ephemeral_resource.type_name as "tf_ephemeral_resource_type";
    renew_ephemeral_resource.type_name as "tf_ephemeral_resource_type";
    close_ephemeral_resource.type_name as "tf_ephemeral_resource_type" => Wait;
    validate_list_resource_config.type_name as "tf_list_resource_type";
    validate_action_config.action_type as "tf_action_type";
    plan_action.action_type as "tf_action_type";
    validate_state_store_config.type_name as "tf_state_store_type";
    lock_state.type_name as "tf_state_store_type";
    unlock_state.type_name as "tf_state_store_type" => Wait;
    get_states.type_name as "tf_state_store_type";
    delete_state.type_name as "tf_state_store_type" => Wait;
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
    const AFTER_STOP: AfterStop = AfterStop::Wait;

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

impl Ask for proto::configure_state_store::Request {
    const KEY: &'static str = "tf_state_store_type";

    fn about(&self) -> &str {
        &self.type_name
    }
}

impl Answer for proto::configure_state_store::Response {
    fn failed(diagnostic: Diagnostic) -> Self {
        Self::refused(diagnostic.into())
    }

    fn counts(&self) -> (usize, usize) {
        count(&self.diagnostics)
    }
}

impl Ask for proto::read_state_bytes::Request {
    const KEY: &'static str = "tf_state_store_type";

    fn about(&self) -> &str {
        &self.type_name
    }
}

impl Answer for Stored {
    fn failed(diagnostic: Diagnostic) -> Self {
        Self::refused(diagnostic.into())
    }

    fn counts(&self) -> (usize, usize) {
        count(&self.diagnostics)
    }
}

impl Ask for Received {
    const KEY: &'static str = "tf_state_store_type";
    const AFTER_STOP: AfterStop = AfterStop::Wait;

    fn about(&self) -> &str {
        self.type_name()
    }
}

impl Answer for proto::write_state_bytes::Response {
    fn failed(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: diagnostics(diagnostic.into()) }
    }

    fn counts(&self) -> (usize, usize) {
        count(&self.diagnostics)
    }
}

fn span<P: Provider>(rpc: &'static str, request_id: &str) -> tracing::Span {
    tracing::info_span!(
        "rpc",
        tf_req_id = %request_id,
        tf_rpc = rpc,
        tf_provider_addr = P::ADDRESS,
        tf_proto_version = "6.11",
        tf_resource_type = tracing::field::Empty,
        tf_data_source_type = tracing::field::Empty,
        tf_function = tracing::field::Empty,
        tf_ephemeral_resource_type = tracing::field::Empty,
        tf_list_resource_type = tracing::field::Empty,
        tf_action_type = tracing::field::Empty,
        tf_state_store_type = tracing::field::Empty,
    )
}

impl<P: Provider> Service<P> {
    /// What a call that answers with a stream begins with.
    fn begin_stream<Q>(rpc: &'static str, request: &Request<Q>) -> (Call, tracing::Span) {
        let request_id = uuid::Uuid::new_v4().to_string();
        let span = span::<P>(rpc, &request_id);
        let call = Call {
            connection: ConnectionId::of(request),
            cancel: CancellationToken::new(),
            request_id,
            claim: Claim::default(),
        };
        (call, span)
    }

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
        let span = span::<P>(rpc, &request_id);
        if !about.is_empty() {
            span.record(Q::KEY, about.as_str());
        }
        let started = Instant::now();
        let service = self.clone();
        let answer = async move {
            tracing::trace!("received request");
            let claim = Claim::default();
            let held = claim.clone();
            let answer = answer_call(&self.0.stop, Q::AFTER_STOP, &claim, move |cancel| {
                let call = Call { connection, cancel, request_id, claim: held };
                handler(service, call, request)
            })
            .await
            .unwrap_or_else(|unfinished| {
                let what = if about.is_empty() { rpc } else { about.as_str() };
                A::failed(unfinished.into_diagnostic(what))
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

#[tonic::async_trait]
impl<P: Provider> proto::provider_server::Provider for Service<P> {
    calls! {
        get_metadata = "GetMetadata", |service, _call, _request| service.metadata();
        get_provider_schema = "GetProviderSchema", |service, _call, _request| service.schema().clone();
        get_resource_identity_schemas = "GetResourceIdentitySchemas", |service, _call, _request| {
            service.identity_schemas()
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
        upgrade_resource_identity = "UpgradeResourceIdentity", |service, _call, request| {
            Self::upgrade_resource_identity(&service, request)
        };
        move_resource_state = "MoveResourceState", |service, _call, request| {
            Self::move_resource_state(&service, request)
        };
        generate_resource_config = "GenerateResourceConfig", |service, _call, request| {
            Self::generate_resource_config(&service, &request)
        };
        validate_ephemeral_resource_config = "ValidateEphemeralResourceConfig", |service, _call, request| {
            Self::validate_ephemeral_resource_config(&service, &request)
        };
        open_ephemeral_resource = "OpenEphemeralResource", |service, call, request| {
            Self::open_ephemeral_resource(&service, call, request).await
        };
        renew_ephemeral_resource = "RenewEphemeralResource", |service, call, request| {
            Self::renew_ephemeral_resource(&service, call, request).await
        };
        close_ephemeral_resource = "CloseEphemeralResource", |service, call, request| {
            Self::close_ephemeral_resource(&service, call, request).await
        };
        validate_list_resource_config = "ValidateListResourceConfig", |service, _call, request| {
            Self::validate_list_resource_config(&service, &request)
        };
        validate_action_config = "ValidateActionConfig", |service, _call, request| {
            Self::validate_action_config(&service, &request)
        };
        plan_action = "PlanAction", |service, call, request| Self::plan_action(&service, call, request).await;
        validate_state_store_config = "ValidateStateStoreConfig", |service, _call, request| {
            Self::validate_state_store_config(&service, &request)
        };
        configure_state_store = "ConfigureStateStore", |service, call, request| {
            Self::configure_state_store(&service, call, request).await
        };
        lock_state = "LockState", |service, call, request| Self::lock_state(&service, call, request).await;
        unlock_state = "UnlockState", |service, call, request| Self::unlock_state(&service, call, request).await;
        get_states = "GetStates", |service, call, request| Self::get_states(&service, call, request).await;
        delete_state = "DeleteState", |service, call, request| Self::delete_state(&service, call, request).await;
    }

    async fn list_resource(
        &self,
        request: Request<proto::list_resource::Request>,
    ) -> Result<Response<BoxStream<'static, Result<proto::list_resource::Event, Status>>>, Status> {
        let (call, span) = Self::begin_stream("ListResource", &request);
        span.record("tf_list_resource_type", request.get_ref().type_name.as_str());
        Ok(Response::new(span.in_scope(|| Self::list_resource(self, call, request.into_inner()))))
    }

    async fn invoke_action(
        &self,
        request: Request<proto::invoke_action::Request>,
    ) -> Result<Response<BoxStream<'static, Result<proto::invoke_action::Event, Status>>>, Status> {
        let (call, span) = Self::begin_stream("InvokeAction", &request);
        span.record("tf_action_type", request.get_ref().action_type.as_str());
        Ok(Response::new(span.in_scope(|| Self::invoke_action(self, call, request.into_inner()))))
    }

    async fn read_state_bytes(
        &self,
        request: Request<proto::read_state_bytes::Request>,
    ) -> Result<Response<BoxStream<'static, Result<proto::read_state_bytes::ResponseChunk, Status>>>, Status>
    {
        let stored = self
            .run("ReadStateBytes", request, |service, call, request| async move {
                Self::read_state_bytes(&service, call, request).await
            })
            .await?;
        Ok(stored.map(|stored| futures::stream::iter(stored.chunks().map(Ok)).boxed()))
    }

    async fn write_state_bytes(
        &self,
        request: Request<tonic::Streaming<proto::write_state_bytes::RequestChunk>>,
    ) -> Result<Response<proto::write_state_bytes::Response>, Status> {
        let (metadata, extensions, chunks) = request.into_parts();
        // Before the handler: one that never gets the whole has nothing to undo. It counts as a call all the same, and a stop
        // ends it, since a client that has stalled would hold it for ever.
        let receiving = self.0.stop.begin();
        let received = tokio::select! {
            biased;
            received = receive(chunks) => received,
            () = receiving.cancel().cancelled() => Received::stopped(),
        };
        drop(receiving);
        let request = Request::from_parts(metadata, extensions, received);
        self.run("WriteStateBytes", request, |service, call, request| async move {
            Self::write_state_bytes(&service, call, request).await
        })
        .await
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
