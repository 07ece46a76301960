//! Fulcio, Rekor and GitHub's source of tokens on loopback, as strict with requests as the real ones are.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Authority, Issue, Key, Oddity, base64,
    bundle::{dsse_body, encoding, record_body},
    der::pem,
    key::{digest_signed_by, key_of, signed_by},
};

/// What a token says.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Who: `sub`.
    pub subject: String,
    /// An address that was verified: that is the identity, then.
    pub email: Option<String>,
    /// The workflow of a job on GitHub: that is the identity, then.
    pub workflow: Option<String>,
    /// The repository of that job, which may be another one than the workflow's.
    pub repository: Option<String>,
    /// For whom.
    pub audience: String,
    /// Until when.
    pub expires: Timestamp,
}

impl Claims {
    /// A workflow of GitHub's, in a job of its own repository.
    #[must_use]
    pub fn of_workflow(workflow: &str) -> Self {
        Self {
            subject: "repo:acme/shop:ref:refs/heads/main".to_owned(),
            email: None,
            workflow: Some(workflow.to_owned()),
            repository: workflow.split_once("/.github/").map(|(repository, _)| repository.to_owned()),
            audience: "sigstore".to_owned(),
            expires: Timestamp::now() + jiff::Span::new().minutes(5),
        }
    }

    /// Somebody with an address.
    #[must_use]
    pub fn of_person(email: &str) -> Self {
        Self {
            subject: "CgkxMjM0NTY3ODkSBmdpdGh1Yg".to_owned(),
            email: Some(email.to_owned()),
            workflow: None,
            repository: None,
            ..Self::of_workflow("")
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Nothing.
    #[default]
    None,
    /// The authority answers that it cannot.
    FulcioFails,
    /// The authority certifies another key.
    FulcioCertifiesAnotherKey,
    /// The authority's certificates were seen by no log.
    FulcioSkipsItsLog,
    /// The log answers that it cannot.
    RekorFails,
    /// The log answers with something else that was entered.
    RekorAnswersWithAnotherEntry,
    /// An answer that does not end.
    RekorFloods,
    /// The authority sends on to another place.
    FulcioRedirects,
}

struct Services {
    authority: Authority,
    issuer: String,
    tokens: Key,
    request_token: String,
    workflow: Mutex<Option<Claims>>,
    switch: Mutex<Switch>,
    complaints: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

/// The three services at one address. They end with it.
pub struct Fake {
    services: Arc<Services>,
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts them. `issuer` is whose tokens are believed.
    #[must_use]
    pub fn start(issuer: &str) -> Self {
        let services = Arc::new(Services {
            authority: Authority::new(),
            issuer: issuer.to_owned(),
            tokens: Key::of_tokens(),
            request_token: "asks-for-tokens".to_owned(),
            workflow: Mutex::default(),
            switch: Mutex::default(),
            complaints: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/api/v2/signingCert", post(fulcio))
            .route("/api/v1/signingCert", post(old_fulcio))
            .route("/api/v1/log/entries", post(rekor))
            .route("/token", get(github))
            .with_state(Arc::clone(&services));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let served = axum::serve(listener, router);
                served.with_graceful_shutdown(async { drop(stopped.await) }).await.unwrap();
            });
        });
        Self { services, address, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The authority behind it.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.services.authority
    }

    /// A token of the issuer that is believed.
    #[must_use]
    pub fn token(&self, claims: &Claims) -> String {
        self.services.token(claims)
    }

    /// What a job on GitHub has in its environment, to get a token that says this.
    #[must_use]
    pub fn github(&self, claims: &Claims) -> [(&'static str, String); 2] {
        *self.services.workflow.lock().unwrap() = Some(claims.clone());
        [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", self.url())),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", self.services.request_token.clone()),
        ]
    }

    /// From now on, this goes wrong.
    pub fn switch(&self, switch: Switch) {
        *self.services.switch.lock().unwrap() = switch;
    }

    /// What was wrong with requests.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.services.complaints.lock().unwrap().clone()
    }

    /// Which of the services were asked, in this order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.services.asked.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A request that is refused, with the status and the reason.
struct Refused(StatusCode, String);

type Answer = Result<Response, Refused>;

/// What a token is believed to say.
struct Believed {
    identity: String,
    /// For whose code: a URI.
    source_repository: Option<String>,
    /// What has to be signed to prove that the key is there.
    challenge: String,
}

impl Services {
    fn token(&self, claims: &Claims) -> String {
        let mut body = json!({
            "iss": self.issuer,
            "sub": claims.subject,
            "aud": claims.audience,
            "iat": Timestamp::now().as_second() - 10,
            "exp": claims.expires.as_second(),
        });
        if let Some(email) = &claims.email {
            body["email"] = json!(email);
            body["email_verified"] = json!(true);
        }
        if let Some(workflow) = &claims.workflow {
            body["job_workflow_ref"] = json!(workflow);
        }
        if let Some(repository) = &claims.repository {
            body["repository"] = json!(repository);
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(&body));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.tokens.sign(message.as_bytes())))
    }

    /// What is believed of a token.
    fn believed(&self, token: &str) -> Result<Believed, String> {
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the token has other than three parts".to_owned());
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        if !self.tokens.signed(format!("{head}.{body}").as_bytes(), &decode(signature)?) {
            return Err("the token is not signed by its issuer".to_owned());
        }
        let claims: Value = serde_json::from_slice(&decode(body)?).map_err(|error| error.to_string())?;
        if claims["iss"] != self.issuer.as_str() || claims["aud"] != "sigstore" {
            return Err(format!("expected audience \"sigstore\" got {}", claims["aud"]));
        }
        if claims["exp"].as_i64().is_none_or(|expires| expires <= Timestamp::now().as_second()) {
            return Err("token is expired".to_owned());
        }
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        let subject = text("sub").ok_or("the token has no subject")?;
        let source_repository = text("repository").map(|name| format!("https://github.com/{name}"));
        let (identity, challenge) = match (text("job_workflow_ref"), text("email")) {
            (Some(workflow), _) => (format!("https://github.com/{workflow}"), subject),
            (None, Some(email)) if claims["email_verified"] == true => (email.clone(), email),
            (None, _) => return Err("the token has no verified address".to_owned()),
        };
        Ok(Believed { identity, source_repository, challenge })
    }

    fn is(&self, switch: Switch) -> bool {
        *self.switch.lock().unwrap() == switch
    }

    fn asked(&self, service: &str) {
        self.asked.lock().unwrap().push(service.to_owned());
    }

    fn answer(&self, result: Answer, shape: impl FnOnce(StatusCode, &str) -> Value) -> Response {
        result.unwrap_or_else(|Refused(status, reason)| {
            self.complaints.lock().unwrap().push(reason.clone());
            json_response(status, &shape(status, &reason))
        })
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

#[expect(clippy::needless_pass_by_value, reason = "so it can be handed to `map_err`")]
fn bad(reason: impl ToString) -> Refused {
    Refused(StatusCode::BAD_REQUEST, reason.to_string())
}

fn body<'a, T: Deserialize<'a>>(headers: &HeaderMap, body: &'a [u8]) -> Result<T, Refused> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is no JSON".to_owned()));
    }
    serde_json::from_slice(body).map_err(bad)
}

/// The bytes between the lines of a text.
fn unframed(label: &str, text: &str) -> Option<Vec<u8>> {
    let text = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let text = text.strip_suffix(&format!("-----END {label}-----"))?;
    BASE64.decode(text.split_ascii_whitespace().collect::<String>()).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CertificateRequest {
    credentials: Credentials,
    public_key_request: PublicKeyRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Credentials {
    oidc_identity_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKeyRequest {
    public_key: PublicKey,
    proof_of_possession: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKey {
    algorithm: String,
    content: String,
}

async fn fulcio(State(services): State<Arc<Services>>, headers: HeaderMap, bytes: Bytes) -> Response {
    services.asked("fulcio");
    if services.is(Switch::FulcioFails) {
        let value = json!({ "code": 14, "message": "error communicating with CA backend", "details": [] });
        return json_response(StatusCode::SERVICE_UNAVAILABLE, &value);
    }
    if services.is(Switch::FulcioRedirects) {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/api/v1/log/entries")]).into_response();
    }
    let answer = || {
        let asked: CertificateRequest = body(&headers, &bytes)?;
        let PublicKeyRequest { public_key, proof_of_possession } = asked.public_key_request;
        if !["PUBLIC_KEY_ALGORITHM_UNSPECIFIED", "ECDSA"].contains(&public_key.algorithm.as_str()) {
            return Err(bad(format!("invalid value for enum field algorithm: {:?}", public_key.algorithm)));
        }
        let spki = unframed("PUBLIC KEY", &public_key.content).ok_or(bad("the public key is no PEM"))?;
        let proof = BASE64.decode(proof_of_possession).map_err(bad)?;
        let chain = services.certify(&asked.credentials.oidc_identity_token, &spki, &proof)?;
        let value = json!({ "signedCertificateEmbeddedSct": { "chain": { "certificates": chain } } });
        Ok(json_response(StatusCode::OK, &value))
    };
    services.answer(answer(), |_, reason| json!({ "code": 3, "message": reason, "details": [] }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldRequest {
    public_key: OldKey,
    signed_email_address: String,
}

#[derive(Deserialize)]
struct OldKey {
    content: String,
}

/// The first version of the same, which cosign uses.
async fn old_fulcio(State(services): State<Arc<Services>>, headers: HeaderMap, bytes: Bytes) -> Response {
    services.asked("fulcio");
    let answer = || {
        let asked: OldRequest = body(&headers, &bytes)?;
        let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = said.and_then(|said| said.strip_prefix("Bearer ")).ok_or(bad("there is no token"))?;
        let [spki, proof] = [asked.public_key.content, asked.signed_email_address]
            .map(|text| BASE64.decode(text).map_err(bad));
        // cosign sends the text of PEM, in base64 once more.
        let spki = unframed("PUBLIC KEY", &String::from_utf8_lossy(&spki?))
            .ok_or(bad("the public key is no PEM"))?;
        let chain = services.certify(token, &spki, &proof?)?.concat();
        let kind = [(header::CONTENT_TYPE, "application/pem-certificate-chain")];
        Ok((StatusCode::CREATED, kind, chain).into_response())
    };
    services.answer(answer(), |_, reason| json!({ "code": 3, "message": reason, "details": [] }))
}

impl Services {
    /// A certificate and what is above it, in PEM.
    fn certify(&self, token: &str, spki: &[u8], proof: &[u8]) -> Result<Vec<String>, Refused> {
        // The real one does not say more either, and says it with this status.
        let believed = self.believed(token).map_err(|reason| {
            self.complaints.lock().unwrap().push(reason);
            bad("There was an error processing the identity token")
        })?;
        if !signed_by(spki, believed.challenge.as_bytes(), proof) {
            return Err(bad("the signature supplied in the request could not be verified"));
        }
        let another = Key::generate().spki();
        let oddity = if self.is(Switch::FulcioSkipsItsLog) { Oddity::NoSct } else { Oddity::None };
        let leaf = self.authority.issue(&Issue {
            identity: &believed.identity,
            issuer: &self.issuer,
            source_repository: believed.source_repository.as_deref(),
            key: if self.is(Switch::FulcioCertifiesAnotherKey) { &another } else { spki },
            from: Timestamp::now(),
            oddity,
        });
        let whole = [leaf.as_slice()].into_iter().chain(self.authority.chain());
        Ok(whole.map(|der| pem("CERTIFICATE", der)).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proposed {
    api_version: String,
    kind: String,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    proposed_content: ProposedContent,
    /// cosign sends that there are none.
    #[serde(default, rename = "signatures")]
    _signatures: Option<()>,
}

/// What is entered where only a hash is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordSpec {
    data: RecordData,
    signature: RecordSignature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordData {
    hash: RecordHash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordHash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecordSignature {
    content: String,
    public_key: OldKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposedContent {
    envelope: String,
    verifiers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

async fn rekor(State(services): State<Arc<Services>>, headers: HeaderMap, bytes: Bytes) -> Response {
    services.asked("rekor");
    if services.is(Switch::RekorFails) {
        let value = json!({ "code": 500, "message": "error adding entry to the transparency log" });
        return json_response(StatusCode::INTERNAL_SERVER_ERROR, &value);
    }
    if services.is(Switch::RekorFloods) {
        return (StatusCode::CREATED, " ".repeat(64 * 1024 * 1024)).into_response();
    }
    let answer = || {
        let asked: Proposed = body(&headers, &bytes)?;
        let entered = match (asked.kind.as_str(), asked.api_version.as_str()) {
            ("dsse", "0.0.1") => services.entered_envelope(asked.spec)?,
            ("hashedrekord", "0.0.1") => entered_record(asked.spec)?,
            (kind, version) => return Err(bad(format!("{kind} {version} is not entered here"))),
        };
        let entry = services.authority.log.enter(entered.as_bytes(), Timestamp::now());
        Ok(json_response(StatusCode::CREATED, &entry.in_answer()))
    };
    services.answer(answer(), |status, reason| json!({ "code": status.as_u16(), "message": reason }))
}

/// The body of an entry about something of which only the hash is given.
fn entered_record(spec: Value) -> Result<String, Refused> {
    let RecordSpec { data: RecordData { hash }, signature } = serde_json::from_value(spec).map_err(bad)?;
    let digits = hash.value.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let (Some(bytes), "sha256") = (bytes, hash.algorithm.as_str()) else {
        return Err(bad("invalid value for hash"));
    };
    let [content, framed] =
        [&signature.content, &signature.public_key.content].map(|text| BASE64.decode(text).map_err(bad));
    let (content, framed) = (content?, framed?);
    let certificate =
        unframed("CERTIFICATE", &String::from_utf8_lossy(&framed)).ok_or(bad("no certificate"))?;
    let key = key_of(&certificate).ok_or(bad("the certificate has no key"))?;
    if !digest_signed_by(key, &bytes, &content) {
        return Err(bad("verifying signature: invalid signature when validating ASN.1 encoded signature"));
    }
    Ok(record_body(&hash.value, &base64(&content), &base64(&framed)))
}

impl Services {
    /// The body of an entry about an envelope.
    fn entered_envelope(&self, spec: Value) -> Result<String, Refused> {
        let Spec { proposed_content: ProposedContent { envelope: text, verifiers }, .. } =
            serde_json::from_value(spec).map_err(bad)?;
        let envelope: Envelope = serde_json::from_str(&text).map_err(bad)?;
        let ([signature], [verifier]) = (envelope.signatures.as_slice(), verifiers.as_slice()) else {
            return Err(bad("expected one signature and one verifier"));
        };
        let [payload, sig, framed] =
            [&envelope.payload, &signature.sig, verifier].map(|text| BASE64.decode(text).map_err(bad));
        let (payload, sig, framed) = (payload?, sig?, framed?);
        let certificate =
            unframed("CERTIFICATE", &String::from_utf8_lossy(&framed)).ok_or(bad("no certificate"))?;
        let key = key_of(&certificate).ok_or(bad("the certificate has no key"))?;
        if !signed_by(key, &encoding(&envelope.payload_type, &payload), &sig) {
            return Err(bad("could not verify envelope: accepted signatures do not match threshold"));
        }
        let another = self.is(Switch::RekorAnswersWithAnotherEntry);
        let payload = if another { b"another".to_vec() } else { payload };
        Ok(dsse_body(&text, &payload, &sig, &base64(&framed)))
    }
}

async fn github(
    State(services): State<Arc<Services>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    services.asked("github");
    let answer = || {
        let expected = format!("bearer {}", services.request_token);
        let said =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !said.eq_ignore_ascii_case(&expected) {
            return Err(Refused(StatusCode::UNAUTHORIZED, "the job's token is missing".to_owned()));
        }
        if query.as_deref() != Some("api-version=2.0&audience=sigstore") {
            return Err(bad(format!("the query is {query:?}")));
        }
        let claims = services.workflow.lock().unwrap().clone().ok_or(bad("there is no job"))?;
        Ok(json_response(StatusCode::OK, &json!({ "count": 1, "value": services.token(&claims) })))
    };
    services.answer(answer(), |_, reason| json!({ "message": reason }))
}
